"""Rollback always works and leaves no trace; a held checkpoint outlives the process that began it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import Session, State
from tests.root.checkpoint.workloads import SETUP, WORKLOADS

pytestmark = pytest.mark.root


@pytest.mark.parametrize("workload", WORKLOADS)
def test_leaves_no_trace(box, workload):
    """After any workload the live tree is what it was, and nothing is left of the layer. Twice is no error."""
    box.shell(SETUP)
    before = harness.manifest(box.live)
    session = box.run(WORKLOADS[workload])
    checkpoint.diff(session, leaves=True)
    checkpoint.discard(session)
    checkpoint.discard(session)
    assert harness.manifest(box.live) == before
    assert os.listdir(f"{box.state}/layers") == []


def test_hostile_layer(box):
    """Immutable files, closed directories, devices, odd names, symlinks that lead out: all goes, nothing else."""
    session = box.run("echo 1 > f; mkdir -p c/d; echo x > c/d/x; ln -s / root; ln -s /etc c/etc; mknod z c 1 5")
    upper = session.layers[0].upper
    os.chmod(f"{upper}/c/d", 0)
    subprocess.run(["chattr", "+i", f"{upper}/f", f"{upper}/c/d/x", f"{upper}/c/d"], check=True)
    harness.write(os.fsdecode(os.fsencode(upper) + b"/bad\xff\n-rf"))
    with pytest.raises(OSError):  # the control: who does not expect that is stopped by it
        shutil.rmtree(f"{upper}/c/d")
    checkpoint.discard(session)
    assert os.listdir(f"{box.state}/layers") == []
    assert os.listdir("/etc")


def test_five_thousand_levels(box):
    """A tree deeper than any path can name is listed, discarded, and committed, with few descriptors."""
    code = "import os\nfor i in range(5000):\n    os.mkdir('d' * 20); os.chdir('d' * 20)\nopen('end', 'w').write('x')\n"
    with open(f"{box.base}/deep.py", "w") as file:
        file.write(code)
    job = f"{sys.executable} {box.base}/deep.py"
    before = len(os.listdir("/proc/self/fd"))
    session = box.run(job)
    assert len(checkpoint.diff(session)) >= 5001
    checkpoint.discard(session)
    session = box.run(job)
    assert checkpoint.commit(session).state is State.COMMITTED
    session = box.run("rm -r d*")
    changes = [change for change in checkpoint.diff(session) if not change.implied]
    assert len(changes) == 1
    assert checkpoint.count_beneath(session, changes[0]) == 5000
    assert checkpoint.commit(session).state is State.COMMITTED
    assert os.listdir(box.live) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_full_disk(mounted):
    """Rollback needs no space."""
    where = mounted("tmpfs")
    with harness.box(where) as box:
        box.shell("echo a > a")
        session = box.run("head -c 5000 /dev/zero > some; dd if=/dev/zero of=big bs=1M 2>/dev/null; :")
        checkpoint.diff(session)
        checkpoint.discard(session)
        assert os.listdir(box.live) == ["a"]
        assert os.listdir(f"{box.state}/layers") == []


def test_held_across_processes(box):
    """A session that was stored is all that another process needs to list, commit or discard."""
    box.shell("echo a > a")
    session = box.run("echo job >> a; mkdir n; echo n > n/n")
    checkpoint.sync(session)
    stored = json.dumps(session.to_json())
    assert Session.from_json(json.loads(stored)) == session
    code = (
        "import json, sys\n"
        "from cbx_sandbox.checkpoint.commit import commit\n"
        "from cbx_sandbox.checkpoint.diff import diff\n"
        "from cbx_sandbox.checkpoint.session import Session\n"
        "session = Session.from_json(json.load(sys.stdin))\n"
        "print([change.path.decode() for change in diff(session) if not change.implied])\n"
        "print(commit(session).state)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=stored, capture_output=True, text=True, check=True)
    assert done.stdout == "['a', 'n', 'n/n']\ncommitted\n"


def test_remove_everything_is_listed(box):
    """``rm -rf`` of the whole tree: one change for each top-level name, each with the count beneath; or to the leaf."""
    box.shell(SETUP)
    session = box.run("rm -rf -- * .??*")
    changes = [change for change in checkpoint.diff(session) if not change.implied]
    assert sorted(change.path for change in changes) == sorted(map(os.fsencode, os.listdir(box.live)))
    beneath = {change.path: checkpoint.count_beneath(session, change) for change in changes}
    assert beneath[b"d"] == 6
    leaves = [change for change in checkpoint.diff(session, leaves=True) if not change.implied]
    everything = sum(len(names) + len(directories) for _, directories, names in os.walk(box.live))
    assert len(leaves) == len({change.path for change in leaves}) == everything


def test_fresh_layers_only(box):
    """A layer is never used twice: creating it again is an error."""
    session = box.begin()
    with pytest.raises(FileExistsError):
        checkpoint.create(session.layers[0])
