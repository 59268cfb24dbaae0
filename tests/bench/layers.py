"""What overlays cost for 10,000 files: metadata by mount option, diff, commit beside rsync, undo, rollback."""

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

from figures import Report, in_turns, print_samples
from world import World

from cbx_sandbox.checkpoint import layers as layer_store
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.commit import commit
from cbx_sandbox.checkpoint.diff import diff
from cbx_sandbox.checkpoint.undo import undo
from cbx_sandbox.linux import mountinfo
from cbx_sandbox.linux.credentials import Submitter

DIRECTORIES = FILES = 100  # each directory has so many files, of 4 KiB
_SCRIPT = 'mount -t overlay overlay -o "$1" "$2" && cd "$2" && exec sh -c "$3"'
# As jobs have it, and what else there is: metacopy copies no contents. Without volatile each file is synced: minutes.
OPTIONS = {
    "chown -R, as jobs have it": "redirect_dir=on,metacopy=off,volatile",
    "chown -R, metacopy": "redirect_dir=on,metacopy=on,volatile",
}


def layers(_world: World, report: Report, runs: int) -> None:
    """`chown -R` of 10,000 files through an overlay by its options, beside none; and the diff of 10,000 changes."""
    base = tempfile.mkdtemp(prefix="cbx-bench-", dir="/var/tmp")
    try:
        live = _tree(f"{base}/live")
        numbers = itertools.count(1)
        few = max(3, runs // 10)
        variants = {
            name: lambda options=options: _overlaid(base, live, next(numbers), options, "chown -R 1:1 .")
            for name, options in OPTIONS.items()
        }
        variants["chown -R, no overlay"] = lambda: subprocess.run(
            ["chown", "-R", f"{next(numbers)}:1", live], check=True
        )
        samples = in_turns(variants, few)
        report.samples |= samples
        print_samples("layers: 10,000 files, ext4 or what /var/tmp is on", samples, "chown -R, no overlay")
        jobs = statistics.median(samples["chown -R, as jobs have it"]) / 1000
        report.goal("chown -R of 10,000 files through an overlay", jobs, 1.0, "s")
        _diff(base, live, report, few)
        _commit(base, live, report, few)
        _large(base, report, few)
    finally:
        shutil.rmtree(base)


def _begun(base: str, live: str, line: str, number: int) -> sessions.Session:
    """A checkpoint of ``live`` in which ``line`` was run."""
    (layer,) = layer_store.place([live], f"{base}/state", mountinfo.read(), checkpoint=number, redirect_dir=True)
    layer_store.create(layer)
    session = sessions.begin([layer], Submitter(0, 0), checkpoint=number)
    _mounted(base, live, layer.upper, layer.work, "redirect_dir=on,metacopy=off,volatile", line)
    return session


def _diff(base: str, live: str, report: Report, runs: int) -> None:
    session = _begun(base, live, "for f in */*; do echo x >> $f; done", 1)
    if len(diff(session)) != DIRECTORIES * FILES:
        raise SystemExit("bench: the diff is not what was changed")
    samples = in_turns({"diff of 10,000 changes": lambda: diff(session)}, runs)
    report.samples |= samples
    print_samples("layers: looking at them", samples, "diff of 10,000 changes")
    report.goal("diff of 10,000 changes", statistics.median(samples["diff of 10,000 changes"]) / 1000, 0.5, "s")


def _commit(base: str, live: str, report: Report, runs: int) -> None:
    """10,000 changed files into the live tree, and out again; what a job wrote is on no disk before, for nobody."""
    samples: dict[str, list[float]] = {}
    source = f"{base}/source"
    for number in range(10, 10 + runs):
        for options in (["-a"], ["-a", "--fsync"]):
            _changed(live, source)
            with _timed(samples, "rsync " + " ".join(options)):
                subprocess.run(["rsync", *options, f"{source}/", live], check=True)
        session = _begun(base, live, "for f in */*; do echo x >> $f; done", number)
        changes = diff(session)
        with _timed(samples, "commit"):
            result = commit(session, changes, keep=True)
        if result.summary.changed != DIRECTORIES * FILES:
            raise SystemExit("bench: the commit is not what was changed")
        with _timed(samples, "undo"):
            undo(session)
        sessions.discard(session)
        session = _begun(base, live, "for f in */*; do echo x >> $f; done", number)
        with _timed(samples, "rollback"):
            sessions.discard(session)
    report.samples |= {f"{name} of 10,000 files": found for name, found in samples.items()}
    print_samples("layers: 10,000 changed files", samples, "commit")
    median = {name: statistics.median(found) for name, found in samples.items()}
    report.goal("commit of 10,000 files", median["commit"] / 1000, 1.0, "s")
    report.goal("commit of 10,000 files, as part of rsync --fsync", median["commit"] / median["rsync -a --fsync"], 0.2)
    report.goal("rollback of 10,000 files", median["rollback"] / 1000, 0.5, "s")


def _changed(live: str, source: str) -> None:
    """A copy of ``live`` with every file longer, on disk no more than a job's layer is."""
    shutil.rmtree(source, ignore_errors=True)
    subprocess.run(["cp", "-a", live, source], check=True)
    os.sync()
    subprocess.run(["sh", "-c", "for f in */*; do echo x >> $f; done"], cwd=source, check=True)


def _large(base: str, report: Report, runs: int) -> None:
    """A new file of 1 GB: the commit beside the sync that its data needs anyway."""
    live = f"{base}/large"
    os.mkdir(live)
    samples: dict[str, list[float]] = {}
    for number in range(1000, 1000 + min(runs, 3)):
        session = _begun(base, live, "head -c 1073741824 /dev/zero > large", number)
        changes = diff(session)
        with _timed(samples, "sync"):
            sessions.sync(session)
        with _timed(samples, "commit"):
            commit(session, changes)
        os.unlink(f"{live}/large")
    report.samples |= {f"{name} of 1 GB": found for name, found in samples.items()}
    print_samples("layers: a new file of 1 GB", samples, "commit")
    report.goal("commit of 1 GB, beside its sync", statistics.median(samples["commit"]), 20.0, "ms")


@contextlib.contextmanager
def _timed(samples: dict[str, list[float]], name: str) -> Iterator[None]:
    before = time.perf_counter()
    yield
    samples.setdefault(name, []).append((time.perf_counter() - before) * 1000)


def _tree(path: str) -> str:
    for directory in range(DIRECTORIES):
        os.makedirs(f"{path}/{directory}")
        for file in range(FILES):
            with open(f"{path}/{directory}/{file}", "wb") as made:
                made.write(b"x" * 4096)
    os.sync()
    return path


def _overlaid(base: str, live: str, number: int, options: str, line: str) -> None:
    """A new layer each time: what is copied up once costs nothing more."""
    for name in ("upper", "work"):
        os.makedirs(f"{base}/{number}/{name}")
    _mounted(base, live, f"{base}/{number}/upper", f"{base}/{number}/work", options, line)


def _mounted(base: str, live: str, upper: str, work: str, options: str, line: str) -> None:
    merged = f"{base}/merged"
    os.makedirs(merged, exist_ok=True)
    every = f"lowerdir={live},upperdir={upper},workdir={work},index=off,{options}"
    subprocess.run(["unshare", "-m", "sh", "-c", _SCRIPT, "sh", every, merged, line], check=True)
