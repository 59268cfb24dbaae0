"""Any sequence of operations in a layer, listed and committed, gives what it gives natively."""

import os
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State

pytestmark = pytest.mark.root

SETUP = """
mkdir -p a/b c; echo 1 > f; echo 2 > a/f; echo 3 > a/b/g; ln -s f l; : > c/e; mkfifo a/p
touch -d 2001-01-01 f a/f a/b/g c/e; touch -h -d 2001-01-01 l; touch -d 2001-01-01 a/p a/b a c
"""
PATHS = st.sampled_from(["f", "l", "a", "a/f", "a/b", "a/b/g", "c", "c/e", "n", "n/m", "a/n", "c/n"])
# Links between files that existed are left out: an overlay breaks them (test_links tells how).
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PATHS),
    st.tuples(st.just("append"), PATHS),
    st.tuples(st.just("mkdir"), PATHS),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("symlink"), PATHS),
    st.tuples(st.just("fifo"), PATHS),
    st.tuples(st.just("chmod"), PATHS),
    st.tuples(st.just("xattr"), PATHS),
    st.tuples(st.just("touch"), PATHS),
    st.tuples(st.just("move"), PATHS, PATHS),
    st.tuples(st.just("move"), PATHS, PATHS),
)
LINES = {
    "write": "[ -p {0} ] || echo {n} > {0}",
    "append": "[ -p {0} ] || echo {n} >> {0}",
    "mkdir": "mkdir {0}",
    "remove": "rm -rf {0}",
    "symlink": "ln -sT to{n} {0}",
    "fifo": "mkfifo {0}",
    "chmod": "[ -L {0} ] || chmod 7{n} {0}",
    "xattr": "setfattr -h -n trusted.k{n} -v v {0}",
    "touch": "touch -h -c -d '2002-02-02 02:02:{n}' {0}",
    "move": "mv -T -- {0} {1}",
}


def script(operations):
    lines = [LINES[name].format(*arguments, n=10 + index) for index, (name, *arguments) in enumerate(operations)]
    return "\n".join(f"{{ {line}; }} 2>/dev/null" for line in lines) + "\n:"


@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "plain"])
@given(operations=st.lists(OPERATIONS, min_size=1, max_size=12))
@example(operations=[("move", "f", "l"), ("move", "a", "f")])  # a directory takes the place of what was moved away
@example(operations=[("move", "f", "a/f"), ("move", "a", "c/n")])  # over a file whose directory moves as well
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sequence(redirect, operations):
    """The live tree after the commit equals the native result; before it, and after a rollback, it is untouched."""
    with harness.box(harness.SCRATCH, redirect=redirect) as box:
        box.shell(SETUP)
        native = f"{box.base}/native"
        harness.copy_bytes(box.live, native)
        before = harness.manifest(box.live)
        start = time.time_ns() - 20_000_000
        line = script(operations)
        session = box.run(line)
        first = checkpoint.diff(session)
        assert checkpoint.diff(session) == first
        paths = [change.path for change in first]
        assert len(set(paths)) == len(paths)
        assert harness.manifest(box.live) == before
        result = checkpoint.commit(session, first, allow_privileged=True)
        assert result.state in {State.COMMITTED, State.EMPTY}, result.conflicts
        box.shell(line, cwd=native)
        wanted, got = harness.manifest(native, times_since=start), harness.manifest(box.live, times_since=start)
        if result.state is State.EMPTY:
            wanted, got = ({p: v[:7] for p, v in tree.items()} for tree in (wanted, got))
        assert got == wanted, line
        assert not os.listdir(f"{box.state}/layers")
