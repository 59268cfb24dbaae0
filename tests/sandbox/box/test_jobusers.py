"""Which users a setting stands for; what is done with them is tried as root."""

import pwd

import pytest

from cbx_sandbox.box import jobusers, userns
from cbx_sandbox.errors import UnavailableError


def test_a_range_of_plain_ids():
    """Each in a group of the same number, named by it."""
    users = jobusers.parse("710100-710102")
    assert [(user.uid, user.gid, user.name) for user in users] == [
        (uid, uid, str(uid)) for uid in range(710100, 710103)
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing stands for none"),
        ("no-such-user-", "stands for none"),
        ("0-3", "its ids are taken"),
        ("65534-65534", "its ids are taken"),
        (f"{pwd.getpwnam('games').pw_uid}-{pwd.getpwnam('games').pw_uid}", "games has its uid"),
        (f"{userns.FIRST_ID}-{userns.FIRST_ID + 3}", "its ids are taken"),
        ("710000-900000", "more than 1024"),
        ("4294967295-4294967295", "its ids are taken"),
    ],
)
def test_users_that_are_somebody_are_none_for_jobs(text, why):
    """Root, nobody, people, the ids of shifted jobs; and a range is bounded."""
    with pytest.raises(UnavailableError, match=why):
        jobusers.parse(text)
