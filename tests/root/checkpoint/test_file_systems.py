"""Any sequence of operations, natively and through layers, on other file systems and across two of them; and undone."""

import contextlib
import os
import subprocess
import tempfile
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State
from tests.root.checkpoint.test_sequences import OPERATIONS, SETUP, script

from cbx_sandbox.checkpoint.undo import redo, undo

pytestmark = pytest.mark.root

EXAMPLES = 100 if os.environ.get("CBX_CRASH") else 5
KINDS = [("xfs",), ("btrfs",), ("ext4", "xfs"), ("btrfs", "ext4-root")]
MOUNTED = """
set -e; cd "$0"; mkdir -p merged; line=$1; shift
for options; do
  i=$((i + 1)); mkdir -p merged/$i; mount -t overlay overlay -o "$options" merged/$i
done
cd merged; exec sh -c "$line"
"""


class Trees:
    """A tree on each of some file systems, a native copy of each beside it, and one checkpoint over all of them."""

    def __init__(self, places, closing) -> None:
        self.base = tempfile.mkdtemp(prefix="cbx-test-", dir=harness.SCRATCH)
        closing.callback(harness.remove, self.base)
        self.live, self.native = [], []
        os.mkdir(f"{self.base}/native")
        for index, place in enumerate(places, 1):
            own = tempfile.mkdtemp(prefix="cbx-test-", dir=place)
            closing.callback(harness.remove, own)
            os.mkdir(f"{own}/live")
            subprocess.run(["sh", "-c", SETUP], cwd=f"{own}/live", check=True)
            harness.copy_bytes(f"{own}/live", f"{own}/native")
            os.symlink(f"{own}/native", f"{self.base}/native/{index}")
            self.live.append(f"{own}/live")
            self.native.append(f"{own}/native")
        os.mkdir(f"{self.base}/state", 0o700)

    def begin(self, closing):
        layers = harness.placed(self.live, f"{self.base}/state", 1, redirect=True)
        for layer in layers:
            checkpoint.create(layer)
        session = checkpoint.begin(layers, harness.ROOT, checkpoint=1)
        closing.callback(checkpoint.discard, session)
        return session

    def inside(self, session, line) -> None:
        """Run ``line`` over the overlays, which are directories called 1, 2, and so on."""
        options = [
            f"lowerdir={layer.target},upperdir={layer.upper},workdir={layer.work},"
            f"redirect_dir={'on' if layer.redirect_dir else 'off'},index=off,metacopy=off,volatile"
            for layer in session.layers
        ]
        subprocess.run(["unshare", "-m", "sh", "-c", MOUNTED, self.base, line, *options], check=True)

    def natively(self, line) -> None:
        subprocess.run(["sh", "-c", line], cwd=f"{self.base}/native", check=True)


def manifests(roots, since=None):
    return [harness.manifest(root, times_since=since) for root in roots]


def spread(operations, picks, count):
    """The same operations with each path in one of ``count`` trees."""
    where = iter(picks * len(operations) * 2)
    return [(name, *(f"{next(where) % count + 1}/{path}" for path in paths)) for name, *paths in operations]


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@given(
    operations=st.lists(OPERATIONS, min_size=1, max_size=12),
    picks=st.lists(st.integers(0, 1), min_size=1, max_size=5),
)
@example(
    operations=[("write", "f"), ("write", "a/n"), ("remove", "a/n")], picks=[0]
)  # nothing is left in a but its time
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_like_native_and_back(mounted, kinds, operations, picks):
    """Committed, the trees are what the operations make of them natively; undone, what they were; and done again."""
    line = script(spread(operations, picks, len(kinds)))
    with contextlib.ExitStack() as closing:
        trees = Trees([mounted(kind) for kind in kinds], closing)
        before = manifests(trees.live)
        start = time.time_ns() - 20_000_000
        session = trees.begin(closing)
        trees.inside(session, line)
        assert manifests(trees.live) == before
        result = checkpoint.commit(session, allow_privileged=True, keep=True)
        assert result.state in {State.COMMITTED, State.EMPTY}, (line, result.conflicts)
        if result.state is State.EMPTY:
            assert manifests(trees.live) == before
            return
        trees.natively(line)
        wanted = manifests(trees.native, start)
        assert manifests(trees.live, start) == wanted, line
        undo(session)
        assert manifests(trees.live) == before, line
        redo(session)
        assert manifests(trees.live, start) == wanted, line
