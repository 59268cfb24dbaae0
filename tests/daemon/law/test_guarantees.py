"""What a result says was in force is what the kernel did; and who asks for less is written down."""

import json

import pytest
from tests.daemon.law.conftest import NOBODY, script

pytestmark = [pytest.mark.root, pytest.mark.vm]

NAMESPACE = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), ctypes.get_errno())
print(libc.umount2(b"/not/there", 0), ctypes.get_errno())
"""


def told(ran):
    """The result's guarantees: (in force, missing with its reason)."""
    result = json.loads(ran.stdout.splitlines()[-1])
    return set(result["guarantees"]["in_force"]), {e["name"]: e["why"] for e in result["guarantees"]["missing"]}


@pytest.mark.parametrize(("uid", "tier"), [(0, "safe"), (0, "sequential"), (0, "dangerous"), (NOBODY, "dangerous")])
def test_each_tier_names_its_filter_its_keyring_and_its_deputies(shell, place, uid, tier):
    """No deputies where nothing of theirs is in reach; elsewhere the reason."""
    (place / "work").mkdir()
    (place / "work").chmod(0o777)
    writes = ["--rw", place / "work"] if tier == "sequential" else []
    ran = shell.run("--json", *writes, *script(NAMESPACE), tier=tier, uid=uid, cwd=place / "work")
    assert ran.stdout.splitlines()[:2] == [b"-1 1", b"-1 1"], ran
    in_force, missing = told(ran)
    assert {"seccomp", "own-keyring"} <= in_force
    assert ("no-deputies" in in_force) == ("no-deputies" not in missing)
    if tier == "sequential":
        assert "outside /run" in missing["no-deputies"]
    elif "landlock-writes" in in_force and "no-deputies" in missing:
        assert tier == "dangerous"
        assert "no overlay is over it" in missing["no-deputies"]


def test_logging_instead_of_refusing_is_root_s_and_is_written_down(shell):
    """The call goes on to the kernel, the result says so, the audit trail too; a user is refused."""
    ran = shell.run("--json", "--seccomp-log", *script(NAMESPACE))
    assert ran.stdout.splitlines()[:2] == [b"-1 1", b"-1 2"], ran  # ENOENT: the kernel looked for it
    in_force, missing = told(ran)
    assert "seccomp" not in in_force
    assert "--seccomp-log" in missing["seccomp"]
    entries = shell.supervisor.get("/v1/audit")["entries"]
    assert any(entry["detail"].get("seccomp_log") for entry in entries if entry["action"] == "loosened"), entries[:3]
    refused = shell.run("--seccomp-log", "true", uid=NOBODY)
    assert refused.returncode == 126
    assert b"cannot use --seccomp-log" in refused.stderr
