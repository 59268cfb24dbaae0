"""What this host really enforces, found by trying it: small jobs that break the rule, and what became of them.

Nothing is concluded from versions or configuration alone: a kernel that has a feature may not let us use it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

from cbx_sandbox.box import attacks, placing, plan, probe_confinement, trial
from cbx_sandbox.box.finding import FIXES, MISSING, UNKNOWN, Finding, judged, python
from cbx_sandbox.errors import CbxError, DeniedError
from cbx_sandbox.policy import Grant, Limits, LockMode, Placement
from cbx_sandbox.shell.tiers import Tier


def probe() -> list[Finding]:
    """Try every guarantee; without root most of them stay unknown."""
    if os.geteuid() != 0:
        fix = "run `sudo cbx-sandbox doctor`"
        return [Finding(name, UNKNOWN, "only root can try it", fix) for name, _ in _PROBES]
    try:
        with _bench() as (bench, directory):
            return [_try(name, probe_, bench, directory) for name, probe_ in _PROBES]
    except (OSError, CbxError) as error:
        return [Finding("launcher", MISSING, str(error), "cbx needs root, cgroup v2 and Linux 5.14 or later")]


def attack() -> list[attacks.Result]:
    """Attack every layer from within boxes. Raises DeniedError without root, CbxError if no box can be built."""
    if os.geteuid() != 0:
        raise DeniedError(
            "cannot attack boxes: only root can have them made", hint="run `sudo cbx-sandbox doctor --attack`"
        )
    try:
        with _bench() as (bench, directory):
            return attacks.attempt(bench, directory)
    except OSError as error:
        raise CbxError(f"cannot attack boxes: {error}") from error


@contextlib.contextmanager
def _bench() -> Iterator[tuple[trial.Bench, str]]:
    directory = tempfile.mkdtemp(prefix="cbx-doctor-", dir=_scratch())
    try:
        with trial.Bench(f"cbx-doctor-{os.getpid()}", directory) as bench:
            yield bench, directory
    finally:
        shutil.rmtree(directory)


def _scratch() -> str:
    # Where layers will lie: what the file system there can do is what matters.
    state = os.environ.get("CBX_STATE_DIR", "/var/lib/cbx")
    return state if os.path.isdir(state) else os.path.dirname(state) or "/"


Probe = Callable[[trial.Bench, str], Finding]


def _try(name: str, probe_: Probe, bench: trial.Bench, directory: str) -> Finding:
    try:
        return probe_(bench, directory)
    except (OSError, CbxError) as error:
        return Finding(name, MISSING, str(error), FIXES.get(name, ""))


@contextlib.contextmanager
def _sacrifice(directory: str, name: str) -> Iterator[str]:
    path = os.path.join(directory, name)
    os.mkdir(path)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _read_only(bench: trial.Bench, directory: str) -> Finding:
    with _sacrifice(directory, "read-only") as path:
        run = bench.run(python(f"open({path + '/x'!r}, 'w')"))
        holds = run.outcome["exit_code"] == 1 and not os.listdir(path)
    return judged("read-only-host", holds=holds, held="a job could not create a file", broken="a job wrote a file")


def _overlay(bench: trial.Bench, directory: str) -> Finding:
    with _sacrifice(directory, "lower") as lower, _sacrifice(directory, "layer") as layer:
        for name in ("upper", "work"):
            os.mkdir(f"{layer}/{name}")
        grant = Grant(lower, LockMode.U, overlay=True)
        places = [plan.OverlayPlace(lower, layer, redirect=True)]
        run = bench.run(
            python("open('x', 'w')"), Tier.SEQUENTIAL_REQUIRED, grants=(grant,), places=places, workdir=lower
        )
        holds = run.outcome["exit_code"] == 0 and os.listdir(f"{layer}/upper") == ["x"] and not os.listdir(lower)
    return judged("overlay", holds=holds, held="a write went to the layer alone", broken=f"it did not: {run.error}")


def _shifted(bench: trial.Bench, directory: str) -> Finding:
    with _sacrifice(directory, "shifted") as layer:
        for name in ("upper", "work"):
            os.mkdir(f"{layer}/{name}")
        places = [plan.OverlayPlace("/", layer, redirect=False)]
        code = "import os; open('/cbx-doctor', 'w'); print(open('/proc/self/uid_map').read())"
        run = bench.run(python(code), Tier.DANGEROUS_ISOLATED, places=places, shifted=True)
        made = f"{layer}/upper/cbx-doctor"
        holds = os.path.exists(made) and os.stat(made).st_uid == 0 and not os.path.exists("/cbx-doctor")
    held = "root inside was nobody outside, its file in the layer has the right owner"
    return judged("shifted-ids", holds=holds, held=held, broken=f"an id-mapped overlay over / failed: {run.error}")


def _no_network(bench: trial.Bench, _: str) -> Finding:
    run = bench.run(python("print([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])"))
    holds = run.output.strip() == "['lo']"
    return judged("no-network", holds=holds, held="a job saw loopback only", broken=f"a job saw {run.output.strip()}")


def _memory(bench: trial.Bench, _: str) -> Finding:
    limits = Limits(memory=64 << 20, timeout=60)
    run = bench.run(python("x = bytearray(256 << 20)"), limits=limits)
    holds = run.outcome["reason"] == "oom"
    held = "256 MiB under a limit of 64 MiB ended with reason oom"
    return judged("memory-limit", holds=holds, held=held, broken=bench.why("memory", "a job got more than its limit"))


def _swap(bench: trial.Bench, _: str) -> Finding:
    why = bench.ready.missing.get("swap")
    return judged("swap-limit", holds=why is None, held="set with the memory limit", broken=why or "")


def _cpu(bench: trial.Bench, _: str) -> Finding:
    code = "import time; end = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass"
    run = bench.run(python(code), limits=Limits(cpus=0.25, timeout=60))
    share = run.outcome["usage"]["cpu_seconds"] / run.outcome["wall_seconds"]
    held = f"a busy loop under 0.25 CPU used {share:.2f}"
    return judged("cpu-limit", holds=share < 0.5, held=held, broken=bench.why("cpus", held))


def _pids(bench: trial.Bench, _: str) -> Finding:
    code = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    for made in range(40):\n"
        "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "except OSError: pass\n"
        "print(made)"
    )
    run = bench.run(python(code), limits=Limits(pids=10, timeout=60))
    holds = run.output.strip().isdigit() and int(run.output) < 12
    held = f"{run.output.strip()} forks under a limit of 10"
    return judged("process-limit", holds=holds, held=held, broken=bench.why("pids", held))


def _io(bench: trial.Bench, _: str) -> Finding:
    why = bench.ready.missing.get("io")
    if why is None and bench.ready.hybrid:
        return Finding("io-limit", MISSING, "cgroup v1 limits direct I/O only, not buffered writes", FIXES["io-limit"])
    return judged("io-limit", holds=why is None, held="io.max can be set", broken=why or "")


def _placed(bench: trial.Bench, _: str) -> Finding:
    by, cpus = bench.ready.placement["by"], bench.ready.placement["cpus"]
    code = "import os\ntry: os.sched_setaffinity(0, range(1024))\nexcept OSError: pass\nprint(os.sched_getaffinity(0))"
    run = bench.run(python(code), placement=Placement(cpus=tuple(cpus[:1])))
    holds = run.output.strip() == f"{{{cpus[0]}}}"
    held = f"a job on CPU {cpus[0]} could not go elsewhere: {by}"
    return judged("cpus-allowed", holds=holds, held=held, broken=f"a job on CPU {cpus[0]} had {run.output.strip()}")


def _io_weight(bench: trial.Bench, _: str) -> Finding:
    why = bench.ready.placement["missing"].get(placing.IO_WEIGHT)
    return judged("io-weight", holds=why is None, held="every disk goes by weights", broken=why or "")


def _cleanup(bench: trial.Bench, _: str) -> Finding:
    code = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)"
    )
    run = bench.run(python(code))
    holds = run.outcome["unkillable"] == 0 and not run.leaks
    return judged("process-cleanup", holds=holds, held="a daemon of a job ended with it", broken=str(run.leaks))


_PROBES: tuple[tuple[str, Probe], ...] = (
    ("read-only-host", _read_only),
    ("landlock-writes", probe_confinement.writes),
    ("overlay", _overlay),
    ("shifted-ids", _shifted),
    ("no-network", _no_network),
    ("memory-limit", _memory),
    ("swap-limit", _swap),
    ("cpu-limit", _cpu),
    ("process-limit", _pids),
    ("io-limit", _io),
    ("cpus-allowed", _placed),
    ("io-weight", _io_weight),
    ("process-cleanup", _cleanup),
    ("terminal-injection-refused", probe_confinement.terminal),
    ("seccomp", probe_confinement.seccomp),
    ("own-keyring", probe_confinement.session_keyring),
    ("landlock-scopes", probe_confinement.scopes),
    ("landlock-no-tcp", probe_confinement.no_tcp),
    ("no-deputies", probe_confinement.deputies),
)
