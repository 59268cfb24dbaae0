"""Programs that do a part of what a box does, with the same name spaces, and how to start them."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

BWRAP = (
    "bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--",
)  # fmt: skip
UNSHARE = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--fork", "--mount-proc", "--")
FIREJAIL = (
    "firejail", "--quiet", "--noprofile", "--net=none", "--ipc-namespace", "--private-dev", "--read-only=/", "--",
)  # fmt: skip

ENVIRONMENT = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
PROGRAM = "true"


def spawn(argv: tuple[str, ...]) -> int:
    """Start a program with /dev/null as stdin, stdout and stderr."""
    actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    return os.posix_spawnp(argv[0], argv, ENVIRONMENT, file_actions=actions)


def run(argv: tuple[str, ...]) -> None:
    """Run a program to its end, which must be a success."""
    _, status = os.waitpid(spawn(argv), 0)
    if status:
        raise OSError(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")


def available() -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The commands that work here, by name; and why the others do not."""
    candidates = {"bwrap": BWRAP, "unshare": UNSHARE, "firejail": FIREJAIL, "plain fork and exec": ()}
    found: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for name, prefix in candidates.items():
        try:
            run((*prefix, PROGRAM))
        except OSError as error:
            missing[name] = error.strerror or str(error)
        else:
            found[name] = (*prefix, PROGRAM)
    crun = _crun()
    if isinstance(crun, str):
        missing["crun"] = crun
    else:
        found["crun"] = crun
    return found, missing


def _crun() -> tuple[str, ...] | str:
    """Crun with a bundle of this host's own tree, or why it cannot be used."""
    if shutil.which("crun") is None:
        return "not installed (it is in the guest)"
    bundle = Path(tempfile.gettempdir(), f"cbx-bench-bundle-{os.getpid()}")
    bundle.mkdir(mode=0o700)
    # pivot_root refuses the root itself (EBUSY): the same tree, mounted once more.
    root = bundle / "root"
    root.mkdir()
    if subprocess.run(["mount", "--bind", "/", str(root)], check=False).returncode:
        clean_up()
        return "the host's tree cannot be mounted once more"
    namespaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
    ]
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": [PROGRAM],
            "env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "resources": {"memory": {"limit": 512 << 20}}},
    }
    (bundle / "config.json").write_text(json.dumps(config), encoding="ascii")
    argv = ("crun", "run", "--bundle", str(bundle), f"cbx-bench-{os.getpid()}")
    try:
        run(argv)
    except OSError as error:
        clean_up()
        return error.strerror or str(error)
    return argv


def clean_up() -> None:
    """Remove what crun needed: never a tree that is still mounted there."""
    bundle = Path(tempfile.gettempdir(), f"cbx-bench-bundle-{os.getpid()}")
    root = bundle / "root"
    if _is_bind(root):
        subprocess.run(["umount", str(root)], check=True)
    if bundle.is_dir():
        (bundle / "config.json").unlink(missing_ok=True)
        if root.is_dir():
            root.rmdir()
        bundle.rmdir()


def _is_bind(path: Path) -> bool:
    """A bind mount from the same file system has the device of its parent: only the mount table tells."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return any(line.split()[4] == str(path) for line in table.splitlines())
