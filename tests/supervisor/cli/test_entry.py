"""The script that starts everything: it finds its Python and its package wherever and however it was installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "supervisor" / "bin" / "cbx-sandbox"


@pytest.fixture(params=["plain", "with space", "ünïcode'\"$x"])
def prefix(tmp_path, request):
    """An installation whose Python prints what it was called with."""
    prefix = tmp_path / request.param
    bin_ = prefix / "bin"
    bin_.mkdir(parents=True)
    shutil.copy(SCRIPT, bin_ / "cbx-sandbox")
    (bin_ / "cbx-sandbox").chmod(0o755)
    (bin_ / "python3").write_text('#!/bin/sh\nfor word; do printf "%s|" "$word"; done\n')
    (bin_ / "python3").chmod(0o755)
    return prefix


def package(root):
    """Put the client's package somewhere."""
    module = root / "cbx_supervisor" / "client" / "run.py"
    module.parent.mkdir(parents=True)
    module.touch()
    return root


def library(prefix):
    """Return where a virtual environment has its packages."""
    path = prefix / "lib" / "python3.11" / "site-packages"
    path.mkdir(parents=True)
    return path


def call(path, *arguments, cwd="/", **options):
    """Return the words that Python was started with."""
    run = subprocess.run([path, *arguments], cwd=cwd, capture_output=True, text=True, check=True, **options)
    return run.stdout.split("|")[:-1]


def test_a_wheel_is_found_beside_the_script(prefix):
    """The package's directory is the first argument after the code, the command's words follow untouched."""
    package(library(prefix))
    words = call(prefix / "bin" / "cbx-sandbox", "run", "-q", "--", "echo", "a b", "", "*")
    assert words[:3] == ["-I", "-S", "-c"]
    assert Path(words[4]).resolve() == (prefix / "lib/python3.11/site-packages").resolve()
    assert words[5:] == ["-q", "--", "echo", "a b", "", "*"]


def test_the_version_that_the_packages_are_for_is_preferred(prefix):
    """Where several interpreters share a directory, as in /usr/local."""
    package(library(prefix))
    named = prefix / "bin" / "python3.11"
    named.write_text("#!/bin/sh\nprintf 'named|'\n")
    named.chmod(0o755)
    assert call(prefix / "bin" / "cbx-sandbox", "show", "12") == ["named"]


def test_an_editable_install_is_found_by_its_pth_file(prefix, tmp_path):
    """The last line of which need not end."""
    source = package(tmp_path / "source tree")
    (library(prefix) / "_editable_impl_cbx.pth").write_text(f"{tmp_path}/elsewhere\n{source}")
    assert call(prefix / "bin" / "cbx-sandbox", "run", "x")[4:] == [str(source), "x"]


def test_other_verbs_go_the_usual_way(prefix):
    """With site-packages, still isolated."""
    package(library(prefix))
    assert call(prefix / "bin" / "cbx-sandbox", "show", "12") == ["-I", "-m", "cbx_supervisor.cli.main", "show", "12"]
    assert call(prefix / "bin" / "cbx-sandbox") == ["-I", "-m", "cbx_supervisor.cli.main"]


def test_it_works_by_a_link_by_a_relative_path_by_path_and_by_sh(prefix, tmp_path):
    """However it is called."""
    package(library(prefix))
    script = prefix / "bin" / "cbx-sandbox"
    link = tmp_path / "link to it"
    link.symlink_to(script)
    second = tmp_path / "second"
    second.symlink_to("link to it")
    environment = {**os.environ, "PATH": f"{prefix / 'bin'}:{os.environ['PATH']}"}
    assert call(link, "run", "x")[5:] == ["x"]
    assert call(second, "run", "x")[5:] == ["x"]
    assert call("./cbx-sandbox", "run", "x", cwd=script.parent)[5:] == ["x"]
    assert call("sh", "cbx-sandbox", "run", "x", cwd=script.parent)[5:] == ["x"]
    assert call("cbx-sandbox", "run", "x", env=environment)[5:] == ["x"]


def test_without_its_package_it_says_so(prefix):
    """125 and what to do, not an error of the shell's or of Python's."""
    run = subprocess.run([prefix / "bin" / "cbx-sandbox", "run", "x"], capture_output=True, text=True, check=False)
    assert run.returncode == 125
    assert "cannot find or read its installation" in run.stderr
    assert "sudo" in run.stderr
