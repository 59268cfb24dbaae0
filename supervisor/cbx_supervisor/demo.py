"""The demonstration: seven commands through the real command line, each result checked against what it should be.

It works on a copy of the project's own tree, with a supervisor of its own in a temporary directory, so that it touches
no installation, and leaves nothing behind. ``make run`` starts it; it needs root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from cbx_supervisor import paths

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # s for the supervisor to end; an emulated guest is slow
COMMAND = 600.0  # s for one command, likewise
DELETED = ("docs", "sandbox", "supervisor")
BUSY_SECONDS = 3

Tree = dict[str, tuple[int, int, str]]  # path: mode, time of change (ns), digest of the content


class Unexpected(Exception):  # noqa: N818  # reads as what it is where it is raised
    """Something is not as it should be."""


def expect(found: object, wanted: object, what: str) -> None:
    """Raise Unexpected unless the two are equal."""
    if found != wanted:
        raise Unexpected(f"{what} is {found!r}, expected {wanted!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """What one command of the command line did."""

    status: int
    output: str
    result: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One row of the table: options and command for ``run``, what is expected, and a check of what it left behind."""

    title: str
    arguments: tuple[str, ...]
    tier: str
    reason: str
    status: int
    check: Callable[[Demo, Finished, Tree], str]


class Demo:
    """A copy of the tree, and a supervisor of its own."""

    def __init__(self, directory: str) -> None:
        self.tree = os.path.join(directory, "project")
        runtime, state = os.path.join(directory, "run"), os.path.join(directory, "state")
        # Nothing of the caller's but what every program needs: PYTHON* variables would move compiled files elsewhere.
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": os.environ.get("HOME", "/root"),
            "LANG": "C.UTF-8",
            "CBX_RUNTIME_DIR": runtime,
            "CBX_STATE_DIR": state,
        }
        self.groups = paths.from_environment(self.environment, uid=os.getuid()).cgroup
        self.program = os.path.join(os.path.dirname(sys.executable), "cbx-sandbox")
        if not os.access(self.program, os.X_OK):
            raise Unexpected(f"{self.program} is not installed; run `make setup`")

    def call(self, *arguments: str) -> Finished:
        """Call the command line as a whole process, in the copy."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        last = output.rstrip("\n").rpartition("\n")[2]
        result = json.loads(last) if last.startswith("{") else {}
        if "--json" in arguments and not result:
            raise Unexpected(f"{arguments[0]} gave no result: {done.stderr.decode(errors='replace').strip()}")
        return Finished(done.returncode, output, result)

    def snapshot(self) -> Tree:
        """Every path of the copy with its mode, time of change and content."""
        return dict(_walk(self.tree, ""))

    def perform(self, step: Step) -> str:
        """Run one step; return what was checked."""
        before = self.snapshot()
        done = self.call("run", "--json", *step.arguments)
        expect(done.result.get("tier"), step.tier, "the tier")
        expect(done.result["reason"], step.reason, "the reason")
        expect(done.result["leaks"], [], "what leaked")
        expect(done.status, step.status, "the exit status")
        return step.check(self, done, before)

    def stop(self) -> None:
        """End the supervisor, if one was started, and see to it that nothing of it stays."""
        pid = self.call("status", "--json").result["supervisor"]["pid"]
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            _until(lambda: not _alive(pid), "the supervisor does not end")
        finally:
            os.close(handle)
        _until(lambda: not self.left_groups(), f"control groups stay: {', '.join(self.left_groups())}")

    def left_groups(self) -> list[str]:
        """Control groups of this supervisor's that are still there."""
        return [str(path) for depth in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}{self.groups}")]


def _walk(directory: str, prefix: str) -> Iterator[tuple[str, tuple[int, int, str]]]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        path = prefix + entry.name
        status = entry.stat(follow_symlinks=False)
        content = b""
        if entry.is_symlink():
            content = os.fsencode(os.readlink(entry.path))
        elif stat.S_ISREG(status.st_mode):
            content = Path(entry.path).read_bytes()
        yield path, (status.st_mode, status.st_mtime_ns, hashlib.sha256(content).hexdigest())
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, path + "/")


def _alive(pid: int) -> bool:
    try:
        # A process whose parent has not collected it yet is dead, too.
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Unexpected(otherwise)
        time.sleep(0.02)


# ── what each step must have done ──


def _unchanged(demo: Demo, before: Tree) -> str:
    after = demo.snapshot()
    differing = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    expect(differing, [], "the list of changed paths")
    return f"all {len(after)} paths of the tree are as before"


def _check_search(demo: Demo, done: Finished, before: Tree) -> str:
    outside = subprocess.run(
        ["grep", "-rn", "def main", "."], cwd=demo.tree, env=demo.environment, capture_output=True, check=True
    )
    found = sorted(done.output.splitlines()[:-1])
    expect(found, sorted(outside.stdout.decode().splitlines()), "what grep found")
    return f"{len(found)} lines, the same as outside; {_unchanged(demo, before)}"


def _check_build(demo: Demo, _done: Finished, before: Tree) -> str:
    after = demo.snapshot()
    sources = [path for path in before if path.endswith(".py") and path.startswith(("sandbox/", "supervisor/"))]
    made = [path for path in after if path.endswith(".pyc")]
    expect(len(made), len(sources), "the number of compiled files")
    # Directories change with their entries; what was there stays what it was.
    others = [path for path in before if before[path] != after.get(path) and not stat.S_ISDIR(before[path][0])]
    expect(others, [], "the list of other changed files")
    return f"{len(made)} modules compiled in place, no other file changed"


def _check_edit(demo: Demo, done: Finished, before: Tree) -> str:
    after = demo.snapshot()
    changed = [path for path in before.keys() | after.keys() if before.get(path, "")[-1] != after.get(path, "")[-1]]
    expect(changed, ["LICENSE"], "the list of changed files")
    original = (ROOT / "LICENSE").read_text(encoding="utf-8")
    text = Path(demo.tree, "LICENSE").read_text(encoding="utf-8")
    wanted = "".join(line.replace("GNU", "gnu", 1) for line in original.splitlines(keepends=True))
    expect(text == wanted, True, "whether the edit is in the file")
    expect(done.result["checkpoint"]["state"], "committed", "the state of the checkpoint")
    return "written in an overlay, then committed: LICENSE has the edit, nothing else changed"


def _check_failed_edit(demo: Demo, done: Finished, before: Tree) -> str:
    expect(done.result["checkpoint"]["state"], "rolled-back", "the state of the checkpoint")
    return f"rolled back: {_unchanged(demo, before)}"


def _check_deletion(demo: Demo, done: Finished, before: Tree) -> str:
    expect(done.result["checkpoint"]["state"], "held", "the state of the checkpoint")
    _unchanged(demo, before)
    number = str(done.result["checkpoint"]["id"])
    diff = demo.call("checkpoint", "diff", "--name-status", number)
    expect(diff.status, 0, "the exit status of checkpoint diff")
    listed = {line.split("\t")[-1].lstrip("/") for line in diff.output.splitlines() if line.startswith("D\t")}
    doomed = [path for path in before if path.split("/")[0] in DELETED]
    unlisted = [path for path in doomed if f"{demo.tree}/{path}".lstrip("/") not in listed]
    expect(unlisted, [], "the list of deleted paths that are not in the diff")
    expect(demo.call("checkpoint", "rollback", number).status, 0, "the exit status of checkpoint rollback")
    state = demo.call("checkpoint", "show", "--json", number).result["state"]
    expect(state, "rolled-back", "the state of the checkpoint")
    return f"held; the diff lists all {len(doomed)} deletions; rolled back: {_unchanged(demo, before)}"


def _check_hog(_demo: Demo, done: Finished, _before: Tree) -> str:
    usage = done.result["usage"]
    peak = usage["memory_peak_bytes"]
    expect(usage["oom_kills"] > 0, True, "whether the kernel counted a kill")
    expect(peak <= 64 << 20, True, "whether it stayed within 64 MiB")
    return f"ended by the kernel at {peak >> 20} MiB of 64; {done.result['message']}"


def _check_loop(_demo: Demo, done: Finished, _before: Tree) -> str:
    usage = done.result["usage"]
    share = usage["cpu_seconds"] / usage["wall_seconds"]
    expect("cpu-limit" in done.result["guarantees"]["in_force"], True, "whether the limit is in force")
    expect(share < 0.55, True, f"whether {share:.2f} CPU is within 0.5")
    # On a busy host the loop may get less than its limit: then nothing had to be held back.
    held_back = f"held back for {usage['throttled_seconds']:.2f} s"
    return f"{usage['cpu_seconds']:.2f} s of CPU in {usage['wall_seconds']:.2f} s: {share:.2f} CPU, {held_back}"


SAFE, CONDITIONAL = "SAFE_PARALLEL", "CONDITIONAL_PARALLEL"
SEQUENTIAL, DANGEROUS = "SEQUENTIAL_REQUIRED", "DANGEROUS_ISOLATED"

STEPS = (
    Step("search", ("--", "grep", "-rn", "def main", "."), SAFE, "exited", 0, _check_search),
    Step(
        "build",
        ("--", "python3", "-m", "compileall", "-q", "sandbox", "supervisor"),
        CONDITIONAL,
        "exited",
        0,
        _check_build,
    ),
    Step("edit", ("--", "sed", "-i", "s/GNU/gnu/", "LICENSE"), SEQUENTIAL, "exited", 0, _check_edit),
    Step(
        "failing edit",
        ("-c", "sed -i s/gnu/GNU/ LICENSE && test -e nowhere"),
        SEQUENTIAL,
        "exited",
        1,
        _check_failed_edit,
    ),
    Step("deletion", ("--", "rm", "-rf", *DELETED), DANGEROUS, "exited", 0, _check_deletion),
    Step("memory hog", ("-m", "64M", "--", "tail", "/dev/zero"), SAFE, "oom", 137, _check_hog),
    Step(
        "busy loop",
        ("--cpus", "0.5", "--timeout", f"{BUSY_SECONDS}s", "-c", "while :; do :; done"),
        SAFE,
        "timeout",
        124,
        _check_loop,
    ),
)


# ── the whole of it ──


def copy_project(target: str) -> int:
    """Copy the files of the project's tree to ``target``, make it a git repository, return how many they are."""
    names = _tracked()
    for name in names:
        destination = os.path.join(target, name)
        os.makedirs(os.path.dirname(destination), exist_ok=True)
        shutil.copy2(ROOT / name, destination, follow_symlinks=False)
    # The project root is what has a .git; git itself may not be there, as in a minimal guest.
    if shutil.which("git") is None:
        os.mkdir(os.path.join(target, ".git"))
    else:
        subprocess.run(["git", "init", "-q", target], check=True)
    return len(names)


def _tracked() -> list[str]:
    """Names of the files under version control, or all of the sources where that cannot be asked."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"]
        listed = subprocess.run(command, check=True, capture_output=True).stdout
        names = [os.fsdecode(name) for name in listed.split(b"\0") if name]
        return [name for name in names if os.path.lexists(ROOT / name)]
    top = [ROOT / "LICENSE", *ROOT.glob("*.md"), *(path for name in DELETED for path in (ROOT / name).rglob("*"))]
    return [str(path.relative_to(ROOT)) for path in top if path.is_file() and "__pycache__" not in path.parts]


def run(directory: str) -> int:
    """All steps; the number of those that did not do what they should."""
    demo = Demo(directory)
    say(f"A copy of {copy_project(demo.tree)} files in {demo.tree}, with a supervisor of its own.\n")
    say(f"{'step':<13} {'tier':<21} {'result':<13} {'seconds':>7}  command, and what was checked")
    failures = 0
    try:
        for step in STEPS:
            failures += not _show(demo, step)
    finally:
        failures += not _stopped(demo)
    return failures


def _show(demo: Demo, step: Step) -> bool:
    began = time.monotonic()
    try:
        checked, result = demo.perform(step), f"{step.reason}, {step.status}"
    except (Unexpected, subprocess.SubprocessError, KeyError, TypeError) as error:
        checked, result = f"NOT AS EXPECTED: {error}", "FAILED"
    seconds = time.monotonic() - began
    say(f"{step.title:<13} {step.tier:<21} {result:<13} {seconds:>7.2f}  run {shlex.join(step.arguments)}")
    say(f"{'':<58}{checked}")
    return result != "FAILED"


def _stopped(demo: Demo) -> bool:
    try:
        demo.stop()
    except (Unexpected, KeyError, OSError) as error:
        say(f"NOT AS EXPECTED: {error}")
        return False
    return True


def say(text: str, stream: TextIO = sys.stdout) -> None:
    """Print one line at once: some steps take seconds."""
    stream.write(text + "\n")
    stream.flush()


def main() -> int:
    """Run the demonstration; 0 if everything was as expected."""
    if os.getuid() != 0:
        say("demo: it needs root, for namespaces and control groups: sudo make run", sys.stderr)
        return 1
    directory = tempfile.mkdtemp(prefix="cbx-demo-")
    try:
        failures = run(directory)
    except Unexpected as error:
        say(f"demo: {error}", sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if os.path.exists(directory):
        say(f"NOT AS EXPECTED: {directory} cannot be removed")
        failures += 1
    say(f"\n{failures} not as expected" if failures else "\nEverything is as expected, and nothing is left behind.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
