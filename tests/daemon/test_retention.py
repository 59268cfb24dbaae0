"""Held checkpoints over time: pinned, labelled, counted, too old, too many; and those that were committed."""

import json
import os

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

HOLD = (("tier", b"SEQUENTIAL_REQUIRED"), ("commit", b"hold"))


def run(supervisor, project, line, *more):
    fields = (*more, ("cwd", os.fsencode(project)), ("rw", os.fsencode(project)))
    return supervisor.run(line, *fields).end()["result"]


def held(supervisor, project, line="echo new > file"):
    result = run(supervisor, project, line, *HOLD)
    assert result["checkpoint"]["state"] == "held", result
    return result["checkpoint"]["id"]


def test_what_nobody_decides_on_is_rolled_back_after_its_time(made, project):
    """But for what is pinned; it is said, and in the audit trail. Before its time nothing goes, also at a restart."""
    made.start()
    first, pinned = held(made, project), held(made, project)
    assert made.http("POST", f"/v1/checkpoints/{pinned}/mark", {"pinned": True})[1]["expires"] is None
    assert made.get(f"/v1/checkpoints/{first}")["expires"] is not None
    made.stop()
    made.start(RETENTION_HELD_DAYS="1")
    made.stop()
    made.start(RETENTION_HELD_DAYS="0.00001")
    until(lambda: made.get(f"/v1/checkpoints/{first}")["state"] == "rolled-back")
    found = made.get(f"/v1/checkpoints/{first}")
    assert "nobody decided for 1e-05 days" in found["message"]
    assert made.get(f"/v1/checkpoints/{pinned}")["state"] == "held"
    assert os.listdir(made.paths.layers) == [str(pinned)]
    actions = [(entry["action"], entry["subject"]) for entry in made.get("/v1/audit")["entries"]]
    assert ("expired", f"checkpoint {first}") in actions
    assert made.http("POST", f"/v1/checkpoints/{pinned}/commit", {})[0] == 200
    assert (project / "file").read_text() == "new\n"


def test_a_full_disk_is_refused_with_numbers(made, project):
    """Before anything starts; what needs no layers runs, and so does everything where there is room."""
    made.start(RETENTION_FREE_MB_MIN="999999999")
    refused = run(made, project, "echo x > file", *HOLD)
    assert (refused["state"], refused["status"]) == ("not-started", 75), refused
    assert "999999999 MiB have to be" in json.dumps(refused)
    assert run(made, project, "true", ("tier", b"SAFE_PARALLEL"))["status"] == 0
    assert os.listdir(made.paths.layers) == []
    made.stop()
    made.start()
    held(made, project)


def test_filters_labels_and_what_it_takes(supervisor, project):
    """Each finds what it should, and only that; the bytes are those on disk."""
    small = held(supervisor, project)
    large = held(supervisor, project, "dd if=/dev/urandom of=big bs=1M count=3 status=none")
    done = run(supervisor, project, "echo y > other", ("tier", b"SEQUENTIAL_REQUIRED"))["checkpoint"]["id"]
    assert supervisor.http("POST", f"/v1/checkpoints/{small}/mark", {"label": "look at me"})[1]["label"] == "look at me"

    def listed(query):
        return [found["id"] for found in supervisor.get(f"/v1/checkpoints?{query}")["checkpoints"]]

    assert listed("") == [done, large, small]
    assert listed("state=held") == [large, small]
    assert listed("state=committed,rolled-back") == [done]
    assert listed("label=look%20at%20me") == [small]
    assert listed("pinned=true") == []
    assert listed("limit=1") == [done]
    assert listed(f"job={supervisor.get(f'/v1/checkpoints/{large}')['job']}") == [large]
    usage = supervisor.get("/v1/checkpoints/usage")
    held_ones = [entry["id"] for entry in usage["checkpoints"] if entry["state"] == "held"]
    assert held_ones == [large, small]
    assert 3 << 20 <= usage["checkpoints"][0]["bytes"] < 4 << 20
    assert usage["users"] == {"0": usage["bytes"]}
    # What a commit has replaced counts as long as it can be undone.
    big = held(supervisor, project, "head -c 2M /dev/zero | tr '\\0' b > big")
    supervisor.post(f"/v1/checkpoints/{big}/commit")
    over = held(supervisor, project, "echo small > big")
    supervisor.post(f"/v1/checkpoints/{over}/commit")
    kept = {entry["id"]: entry for entry in supervisor.get("/v1/checkpoints/usage")["checkpoints"]}
    assert (kept[over]["state"], kept[over]["bytes"] >= 2 << 20) == ("committed", True)
    supervisor.http("POST", f"/v1/checkpoints/{over}/remove", {})
    assert over not in {entry["id"] for entry in supervisor.get("/v1/checkpoints/usage")["checkpoints"]}
    assert supervisor.http("POST", f"/v1/checkpoints/{done}/mark", {"pinned": True})[0] == 400
    assert supervisor.http("POST", f"/v1/checkpoints/{small}/mark", {"label": "x" * 500})[0] == 400


@pytest.mark.parametrize("form", ["text", "list", "name-status", "stat", "tree", "json"])
def test_a_committed_checkpoint_still_tells_what_it_changed(supervisor, project, form):
    """The same as before the commit, but for contents; also after a restart."""
    (project / "old").write_text("old\n")
    (project / "d").mkdir()
    (project / "d/x").write_text("x\n")
    number = held(supervisor, project, "echo new > file; rm old; mv d moved; chmod 700 moved; mkdir $'odd\\377\\n'")
    path = f"/v1/checkpoints/{number}/diff?format={'list' if form == 'text' else form}"
    before = supervisor.http("GET", path)
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})[0] == 200
    supervisor.stop()
    supervisor.start()
    after = supervisor.http("GET", f"/v1/checkpoints/{number}/diff?format={form}")
    assert after == before
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/rollback", {})[0] == 400


def test_a_diff_of_some_paths(supervisor, project):
    """A path stands for what is beneath it; one without a change shows nothing."""
    number = held(supervisor, project, "mkdir d; echo 1 > d/1; echo 2 > two")

    def names(*paths):
        query = "&".join(["format=name-status", *(f"path={project}/{path}" for path in paths)])
        return supervisor.http("GET", f"/v1/checkpoints/{number}/diff?{query}")[1].decode().split()[1::2]

    assert names() == [f"{project}/{name}" for name in ("two", "d", "d/1")]
    assert names("d") == [f"{project}/{name}" for name in ("d", "d/1")]
    assert names("d/1", "two") == [f"{project}/{name}" for name in ("two", "d/1")]
    assert names("nothing") == []
    assert supervisor.http("GET", f"/v1/checkpoints/{number}/diff?path=relative")[0] == 400
