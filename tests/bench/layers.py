"""What working in an overlay and looking at it costs for 10,000 files: diff, and metadata by mount option."""

import itertools
import os
import shutil
import statistics
import subprocess
import tempfile

from figures import Report, in_turns, print_samples
from world import World

from cbx_sandbox.checkpoint import layers as layer_store
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.diff import diff
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
    finally:
        shutil.rmtree(base)


def _diff(base: str, live: str, report: Report, runs: int) -> None:
    state = f"{base}/state"
    (layer,) = layer_store.place([live], state, mountinfo.read(), checkpoint=1, redirect_dir=True)
    layer_store.create(layer)
    session = sessions.begin([layer], Submitter(0, 0), checkpoint=1)
    options = "redirect_dir=on,metacopy=off,volatile"
    _mounted(base, live, layer.upper, layer.work, options, "for f in */*; do echo x >> $f; done")
    if len(diff(session)) != DIRECTORIES * FILES:
        raise SystemExit("bench: the diff is not what was changed")
    samples = in_turns({"diff of 10,000 changes": lambda: diff(session)}, runs)
    report.samples |= samples
    print_samples("layers: looking at them", samples, "diff of 10,000 changes")
    report.goal("diff of 10,000 changes", statistics.median(samples["diff of 10,000 changes"]) / 1000, 0.5, "s")


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
