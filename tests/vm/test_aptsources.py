"""The guest is made from wherever the host gets Debian, whichever way that is written down."""

from pathlib import Path

import pytest
from tests.vm.aptsources import guest_sources

STANZAS = """\
# the archive
Types: deb deb-src
URIs: https://mirror.test/debian/
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc:def
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://mirror.test/security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://off.test/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: https://other.test/things
Suites: nodistro
Components: main
"""
LINES = """\
# deb https://commented.test/debian bookworm main
deb-src https://mirror.test/debian/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://mirror.test/debian/ bookworm main contrib # the archive
deb https://other.test/docker bookworm stable
deb https://mirror.test/security bookworm-security main
"""
EXPECTED = """\
deb https://mirror.test/debian/ bookworm main
deb https://mirror.test/debian/ bookworm-updates main
deb https://mirror.test/debian/ bookworm-backports main
deb https://mirror.test/security bookworm-security main
"""


@pytest.fixture
def etc_apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822_sources(etc_apt):
    (etc_apt / "sources.list.d/debian.sources").write_text(STANZAS)
    assert guest_sources(etc_apt) == EXPECTED


def test_one_line_sources(etc_apt):
    (etc_apt / "sources.list").write_text(LINES)
    assert guest_sources(etc_apt) == EXPECTED


def test_one_line_sources_in_parts(etc_apt):
    (etc_apt / "sources.list").write_text("")
    (etc_apt / "sources.list.d/debian.list").write_text(LINES)
    assert guest_sources(etc_apt) == EXPECTED


def test_list_of_mirrors_in_a_file(etc_apt):
    (etc_apt / "mirrors").write_text("https://mirror.test/debian/\tpriority:1\nhttps://far.test/debian\n")
    stanzas = STANZAS.replace("https://mirror.test/debian/", f"mirror+file://{etc_apt}/mirrors")
    (etc_apt / "sources.list.d/debian.sources").write_text(stanzas)
    assert guest_sources(etc_apt) == EXPECTED


def test_host_of_another_release_has_the_guest_s_in_its_archive_too(etc_apt):
    (etc_apt / "sources.list").write_text(LINES.replace("bookworm", "trixie"))
    assert guest_sources(etc_apt, codename="trixie") == EXPECTED


def test_no_archive_is_an_error(etc_apt):
    with pytest.raises(LookupError, match="no source for Debian's bookworm"):
        guest_sources(etc_apt)
