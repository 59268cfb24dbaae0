"""The guest's image and the state of it booted, made once and kept outside the tree.

Each is kept under a hash of what it is made from, so a change of any of that makes a new one and nothing needs to be
cleared by hand. `python -m tests.vm.image` makes both.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm import aptsources, machine
from tests.vm.guest import Guest

HERE = Path(__file__).parent
ROOTFS = HERE / "rootfs"
REPO = HERE.parents[1]
KEEP_UNUSED = 3 * 86400  # seconds
GUEST_PYTHON = (3, 11)  # Debian 12's

# Read once before the state is saved, so that each guest restored from it finds them in its page cache.
WARM_UP = """
/opt/venv/bin/python -c 'import pytest, hypothesis, msgspec, structlog, click, json, asyncio, subprocess, sqlite3'
unshare --mount --pid --fork true; systemd-run --quiet --wait true; git --version; bwrap --version; sync
"""


def cache_folder() -> Path:
    return Path(os.environ.get("CBX_VM_CACHE", "/var/cache/cbx-vm"))


def requirements() -> list[str]:
    """What the project and its tests depend on."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


def image_key() -> str:
    parts = [path.name.encode() + path.read_bytes() for path in sorted(ROOTFS.iterdir()) if path.is_file()]
    return _digest(*parts, "\n".join(requirements()).encode())


def state_key() -> str:
    """A saved state fits only the machine, the version of QEMU and the image that it was saved from."""
    version = subprocess.run([machine.find_qemu(), "--version"], check=True, capture_output=True).stdout
    return _digest(image_key().encode(), version, Path(machine.__file__).read_bytes(), WARM_UP.encode())


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def ensure() -> Path:
    """The folder of the image; builds it if there is none, but not on a host that could not run it."""
    machine.find_qemu()
    machine.find_virtiofsd()
    return _cached(f"image-{image_key()}", build_image)


def ensure_saved() -> Path:
    """The folder of the saved state; boots the image and saves it if there is none."""
    image = ensure()
    return _cached(f"state-{state_key()}", lambda folder: save_state(image, folder))


def restored() -> Guest:
    """A guest that starts in seconds."""
    return Guest(ensure(), saved=ensure_saved())


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder under a temporary name and rename it when it is whole; whoever comes at the same time waits."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    if not folder.exists():
        with _locked(cache / ".lock"):
            if not folder.exists():
                _prune(cache)
                unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
                make(unfinished)
                unfinished.rename(folder)
    os.utime(folder)  # prune() goes by this
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prune(cache: Path) -> None:
    """Remove what nobody used for days, and, the lock being held, what an interrupted run left unfinished."""
    for folder in (*cache.glob("image-*"), *cache.glob("state-*"), *cache.glob("unfinished-*")):
        if folder.name.startswith("unfinished-") or time.time() - folder.stat().st_mtime > KEEP_UNUSED:
            shutil.rmtree(folder, ignore_errors=True)


def build_image(folder: Path) -> None:
    if os.geteuid() != 0:
        raise PermissionError("building the guest's image needs root")
    if sys.version_info[:2] != GUEST_PYTHON:
        raise RuntimeError("the guest's wheels are built by this python, which has to be 3.11, as in Debian 12")
    (folder / "sources.list").write_text(aptsources.guest_sources(codename=aptsources.host_codename()))
    _build_wheels(folder)
    _logged(folder, [str(ROOTFS / "build.sh"), str(folder)])


def _build_wheels(folder: Path) -> None:
    """On the host, where pip is configured and a compiler is; the versions are those of the host's own environment."""
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    freeze = subprocess.run([*pip, "freeze", "--exclude-editable"], check=True, capture_output=True, text=True)
    (folder / "constraints.txt").write_text(freeze.stdout)
    wanted = ["-c", str(folder / "constraints.txt"), "-r", str(folder / "requirements.txt")]
    _logged(folder, [*pip, "wheel", "--use-pep517", "-w", str(folder / "wheels"), *wanted])


def _logged(folder: Path, argv: list[str]) -> None:
    log = folder / "build.log"
    with log.open("ab") as file:
        result = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    if result.returncode:
        text = log.read_text(errors="replace")[-4000:]
        raise RuntimeError(
            f"cannot build the guest's image: {Path(argv[0]).name} ended with {result.returncode}\n{text}"
        )


def save_state(image: Path, folder: Path) -> None:
    with Guest(image) as guest:
        guest.wait_booted()
        status, output = guest.run(WARM_UP)
        if status:
            raise RuntimeError(f"cannot warm the guest up: {output}")
        guest.save(folder)


def main() -> None:
    for what, make in (("image", ensure), ("booted state", ensure_saved)):
        began = time.monotonic()
        folder = make()
        size = sum(path.stat().st_blocks * 512 for path in folder.iterdir()) >> 20
        print(f"{what}: {folder} ({size} MiB, {time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    main()
