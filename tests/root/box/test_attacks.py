"""What `doctor --attack` tries: stopped by every kind of box, and noticed where it is not."""

import os

import pytest
from tests.root.box.harness import native, read

from cbx_sandbox.box import attacks, trial
from cbx_sandbox.box.finding import python

pytestmark = [pytest.mark.root, pytest.mark.vm]

# Those that do no harm outside a box, on a machine that others use, and that every host answers alike.
OUTSIDE = (
    "write a file of the host", "core_pattern", "vm.drop_caches", "signal a process of the host",
    "open a process of the host", "a port of the host's loopback", "an abstract socket of the host",
    "a named socket of the host", "any outside a user namespace",
)  # fmt: skip


@pytest.fixture
def tried(tmp_path, own_mounts):
    """Make all attacks; what each was answered with, by its name."""

    def look():
        with trial.Bench(f"cbx-test-attack-{os.getpid()}", str(tmp_path)) as bench:
            return {result.attack.name: result for result in attacks.attempt(bench, str(tmp_path))}

    return look


def test_every_attack_is_stopped(tried, tmp_path):
    """In every kind of box that forbids it; what they aim at is untouched."""
    results = tried()
    assert len(results) == len(attacks.ATTACKS)
    assert not {name: result.answers for name, result in results.items() if not result.held}
    assert read(tmp_path / "file") == "untouched"


def test_what_is_not_stopped_is_noticed(tried, monkeypatch):
    """The control: without the filter its attacks get further; the other layers hold all the same."""
    planned = trial.plan.spec
    monkeypatch.setattr(trial.plan, "spec", lambda *args, **options: {**planned(*args, **options), "seccomp": ""})
    results = tried()
    passed = {result.attack.name for result in results.values() if not result.held}
    assert {"a user namespace", "another namespace", "a file by its handle", "addresses that can be guessed"} <= passed
    assert {results[name].attack.layer for name in passed} <= {"seccomp", "keyring", "deputies", "init's own ids"}


def test_outside_a_box_they_succeed(tmp_path):
    """The control of the other layers: the same programs as root on the host."""
    wanted = [attack for attack in attacks.ATTACKS if attack.name in OUTSIDE]
    assert len(wanted) == len(OUTSIDE)
    with attacks.targets(str(tmp_path)) as values:
        answers = native(python(attacks.program(wanted, values))).answers
    assert answers == dict.fromkeys(OUTSIDE, "done")
