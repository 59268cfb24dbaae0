"""Where this machine gets Debian from, so that the guest is made from the same place."""

import re
from collections.abc import Iterator
from pathlib import Path

GUEST = "bookworm"
_ONE_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")


def read_sources(etc_apt: Path = Path("/etc/apt")) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (URI, suite, components) of each binary source, from files in either of apt's two formats."""
    parts = etc_apt / "sources.list.d"
    for path in (etc_apt / "sources.list", *sorted(parts.glob("*.list"))):
        if path.is_file():
            yield from _parse_lines(path.read_text())
    for path in sorted(parts.glob("*.sources")):
        yield from _parse_stanzas(path.read_text())


def _parse_lines(text: str) -> Iterator[tuple[str, str, list[str]]]:
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.split("#")[0].strip()):
            yield match["uri"], match["suite"], match["components"].split()


def _parse_stanzas(text: str) -> Iterator[tuple[str, str, list[str]]]:
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        joined = re.sub(r"\n[ \t]+", " ", stanza)
        pairs = (line.partition(":") for line in joined.splitlines() if ":" in line)
        fields = {name.strip().lower(): value.split() for name, _, value in pairs}
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield uri, suite, fields.get("components", [])


def guest_sources(etc_apt: Path = Path("/etc/apt"), codename: str = GUEST) -> str:
    """The guest's sources.list, in the one-line format.

    `codename` is the host's release: its archive's address serves the guest's release too. The address is taken from
    the suites whose names tell Debian's own archive from others' that happen to be configured beside it.
    """
    archive = security = None
    for uri, suite, components in read_sources(etc_apt):
        if "main" in components and suite == codename:
            archive = archive or _resolve(uri)
        elif "main" in components and suite == f"{codename}-security":
            security = security or _resolve(uri)
    if archive is None:
        raise LookupError(f"no source for Debian's {codename} in {etc_apt}: the guest is built from the host's mirror")
    lines = [f"deb {archive} {suite} main" for suite in (GUEST, f"{GUEST}-updates", f"{GUEST}-backports")]
    if security:
        lines.append(f"deb {security} {GUEST}-security main")
    return "\n".join(lines) + "\n"


def _resolve(uri: str) -> str:
    """Cloud images name a file that lists mirrors, which does not exist in the guest's root."""
    method, _, path = uri.partition(":")
    if method != "mirror+file":
        return uri
    mirrors = Path("/" + path.lstrip("/")).read_text().split()
    return next(word for word in mirrors if "://" in word)


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    fields = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", GUEST).strip('"')
