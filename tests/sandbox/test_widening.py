"""What was learned joins the lock set and loosens nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cbx_sandbox import lockset, runner
from cbx_sandbox.errors import DeniedError
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.policy import Identity, LockMode
from cbx_sandbox.shell.fingerprint import fingerprint
from cbx_sandbox.shell.learned import Lesson, Run
from cbx_sandbox.shell.tiers import SHORT, Tier

USER = Identity(1000, 1000, (1000,), "user", "/home/user")
DIRECTORIES = (
    "/", "/etc", "/etc/app", "/tmp", "/tmp/x", "/home", "/home/user", "/home/user/.cache", "/srv", "/srv/data",
    "/srv/data/sub", "/work", "/work/project", "/work/project/src", "/work/other",
)  # fmt: skip
FACTS = StaticFacts(
    env={"PATH": "/usr/bin:/bin", "HOME": "/home/user"},
    files={**dict.fromkeys(DIRECTORIES, "dir"), "/etc/app/conf": "file", "/work/project/src/a": "file"},
)
LINES = (
    "ls", "make", "./tool", "echo x > out", "sed -i s/a/b/ src/a", "rm -rf src", "echo x > /etc/app/conf",
    "cd src; make", "touch /etc/new", "curl https://example.org | sh", "touch /srv/data/sub/x", "curl -X POST https://example.org",
)  # fmt: skip


def plan(line, directories=(), *, root=True, closed=(), **options):
    """The plan of a line whose earlier runs wrote unforeseen in these directories."""
    request = runner.Request(
        identity=USER, cwd="/work/project", environment={"PATH": "/usr/bin:/bin"}, line=line,
        options=runner.Options(**options), submitter_is_root=root,
    )  # fmt: skip
    facts = replace(FACTS, closed=frozenset(closed))
    mark = fingerprint(runner.analysed(request, facts), facts.cwd)
    lessons = {mark: Lesson().after(Run(), missed=True, directories=directories)} if directories else {}
    host = runner.HostReport(landlock=3)
    return runner.plan(request, facts, runner.Defaults(), host, lessons=lessons)


def locked(planned):
    return [grant.path for grant in planned.policy.grants]


def commits(planned, path):
    """Whether a change of this path reaches the live tree without anybody looking at it."""
    over = [grant for grant in planned.policy.grants if lockset.beneath(path, grant.path)]
    if any(grant.direct for grant in over):
        return True
    if not over and not planned.policy.overlay_all:
        return False
    outcome = {
        "job": "1", "reason": "exited", "exit_code": 0, "signal": None, "frozen": True, "unkillable": 0,
        "wall_seconds": 1.0, "usage": {},
    }  # fmt: skip
    return runner.decide(planned, outcome, [path])[0] is runner.Fate.COMMIT


@pytest.mark.parametrize("line", ["./tool", "make", "echo x > out"])
def test_a_learned_directory_is_locked_below_an_overlay(line):
    """In a tier that has overlays."""
    planned = plan(line, ["/srv/data"])
    assert locked(planned) == ["/srv/data", "/work/project"]
    assert {(grant.mode, grant.overlay) for grant in planned.policy.grants} == {(LockMode.U, True)}
    assert planned.policy.tier is Tier.SEQUENTIAL_REQUIRED
    assert [reason.code for reason in planned.reasons].count("learned") == 1
    assert locked(plan(line)) == ["/work/project"], "the control"


def test_what_does_not_exist_any_more_is_rounded_up():
    """To a directory that does, unless that holds the files of many."""
    assert locked(plan("./tool", ["/srv/data/gone/deep"])) == ["/srv/data", "/work/project"]
    assert locked(plan("./tool", ["/srv/gone"])) == ["/work/project"]


@pytest.mark.parametrize("directory", ["/", "/etc", "/tmp", "/home", "/home/user", "/run/x", "/proc"])
def test_what_holds_the_files_of_many_is_not_locked(directory):
    """Nor what every box has of its own; the miss raises the tier all the same."""
    planned = plan("make", [directory])
    assert locked(planned) == ["/work/project"]
    assert planned.policy.tier is Tier.SEQUENTIAL_REQUIRED


def test_a_user_locks_only_what_he_may_write():
    """A lock keeps others out."""
    assert locked(plan("./tool", ["/srv/data"], root=False)) == ["/srv/data", "/work/project"]
    assert locked(plan("./tool", ["/srv/data"], root=False, closed=["/srv/data"])) == ["/work/project"]


def test_a_command_that_was_taken_for_safe_gets_no_more_than_it_was_seen_to_write():
    """And that is held; without a directory to lock it stays SAFE."""
    planned = plan("ls", ["/srv/data"])
    assert (planned.policy.tier, locked(planned)) == (Tier.SEQUENTIAL_REQUIRED, ["/srv/data"])
    assert not commits(planned, "/srv/data/x")
    assert plan("ls", ["/etc"]).policy.tier is Tier.SAFE_PARALLEL


def test_what_was_predicted_is_committed_as_before():
    """Also where a learned directory lies around it."""
    planned = plan("touch /srv/data/sub/x", ["/srv/data"])
    assert locked(planned) == ["/srv/data"]
    assert commits(planned, "/srv/data/sub/x")
    assert not commits(planned, "/srv/data/y")


directories = st.lists(st.sampled_from([*DIRECTORIES, "./src", "~/.cache"]), max_size=4)
tiers = st.none() | st.sampled_from(list(SHORT.values()))
places = st.sampled_from(DIRECTORIES).map(lambda directory: directory.rstrip("/") + "/name")


@given(st.sampled_from(LINES), directories, tiers, st.lists(places, min_size=1, max_size=4))
def test_nothing_is_loosened(line, learned, tier, paths):
    """Whatever was learned: no laxer tier, no more written directly, nothing more committed unseen, no more network."""
    try:
        without = plan(line, tier=tier)
    except DeniedError:
        with pytest.raises(DeniedError):
            plan(line, learned, tier=tier)
        return
    planned = plan(line, learned, tier=tier)
    assert planned.policy.tier.rank >= without.policy.tier.rank
    direct = {grant.path for grant in planned.policy.grants if grant.direct}
    assert direct <= {grant.path for grant in without.policy.grants if grant.direct}
    assert planned.policy.network is without.policy.network
    assert planned.policy.limits == without.policy.limits
    for path in paths:
        assert commits(without, path) or not commits(planned, path)
