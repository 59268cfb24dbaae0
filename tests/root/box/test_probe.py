"""What ``doctor`` tries: that each probe of a filter finds it where it is, and notices where it is not."""

import os

import pytest

from cbx_sandbox.box import probe, trial
from cbx_sandbox.box.finding import MISSING, OK
from cbx_sandbox.linux import landlock

pytestmark = [pytest.mark.root, pytest.mark.vm]

BY_FILTER = {"seccomp", "no-deputies", "terminal-injection-refused"}
BY_LANDLOCK = {"landlock-writes": 1, "landlock-scopes": landlock.ABI_SCOPES, "landlock-no-tcp": landlock.ABI_TCP}


@pytest.fixture
def found(tmp_path, own_mounts):
    """Try the probes of these names; what each found."""

    def look(names):
        with trial.Bench(f"cbx-test-probe-{os.getpid()}", str(tmp_path)) as bench:
            tried = dict(probe._PROBES)
            return {name: probe._try(name, tried[name], bench, str(tmp_path)) for name in names}

    return look


def test_what_this_host_has_is_found(found):
    """The filter and the keyring everywhere, Landlock's parts by the kernel's version; what is missing has a fix."""
    everywhere = [*BY_FILTER, "own-keyring", "cpus-allowed"]
    states = found([*everywhere, *BY_LANDLOCK])
    wanted = dict.fromkeys(everywhere, OK)
    wanted |= {name: OK if landlock.abi() >= abi else MISSING for name, abi in BY_LANDLOCK.items()}
    assert {name: finding.state for name, finding in states.items()} == wanted, states
    assert all(finding.fix for finding in states.values() if finding.state == MISSING)


def test_what_is_not_in_force_is_noticed(found, monkeypatch):
    """The control: the same probes in boxes without filter and Landlock."""
    planned = trial.plan.spec

    def bare(*arguments, **options):
        return {**planned(*arguments, **options), "seccomp": "", "landlock": 0}

    monkeypatch.setattr(trial.plan, "spec", bare)
    # A terminal would be needed to type into one: without it the kernel has an error of its own.
    states = found([*BY_FILTER, *BY_LANDLOCK])
    assert {name: finding.state for name, finding in states.items()} == dict.fromkeys(states, MISSING), states
