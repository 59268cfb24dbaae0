"""What of the caller's environment reaches a job."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox import environment
from cbx_sandbox.policy import Identity

IDENTITY = Identity(1000, 1000, (1000,), "user", "/home/user", "/bin/zsh")


def job(caller, set_=None, *, clear=False):
    """The environment of a job in /work."""
    return environment.for_job(caller, IDENTITY, set_=set_ or {}, clear=clear, workdir="/work", tmpdir="/run/tmp")


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "ENV", "BASH_FUNC_ls%%", "PERL5LIB",
        "NODE_OPTIONS", "GIT_SSH_COMMAND", "GIT_DIR", "IFS", "PS4", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS",
        "DOCKER_HOST", "KUBECONFIG", "XDG_RUNTIME_DIR", "DISPLAY", "NOTIFY_SOCKET", "LISTEN_FDS", "GITHUB_TOKEN",
        "NPM_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "DB_PASSWORD", "API_KEY", "SUDO_USER", "TMPDIR", "OLDPWD",
        "ld_preload", "my_token", "CBX_RUNTIME_DIR", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX",
    ],
)  # fmt: skip
def test_case_090_what_executes_reaches_out_or_is_secret_is_dropped(name):
    """In capitals or not."""
    assert environment.dropped(name)
    made = job({name: "attack"})
    assert made.get(name) != "attack"


@pytest.mark.parametrize(
    "name", ["LANG", "LC_ALL", "TERM", "TZ", "PATH", "COLUMNS", "MYAPP_MODE", "CI", "CFLAGS", "HOMEPAGE"]
)
def test_ordinary_variables_pass(name):
    """A job behaves as it would for its caller."""
    assert job({name: "value"})[name] == "value"


def test_who_the_job_is_comes_from_the_identity():
    """Not from what the caller's variables say."""
    made = job({"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/tmp/sh", "PWD": "/else"})
    assert made == {
        "PATH": environment.DEFAULT_PATH, "HOME": "/home/user", "USER": "user", "LOGNAME": "user", "SHELL": "/bin/zsh",
        "TMPDIR": "/run/tmp", "PWD": "/work",
    }  # fmt: skip


def test_what_was_asked_for_by_name_passes_as_it_is():
    """Also what would be dropped, and over what is set for everybody."""
    made = job({"LD_PRELOAD": "theirs"}, {"LD_PRELOAD": "mine", "HOME": "/elsewhere", "EMPTY": ""})
    assert (made["LD_PRELOAD"], made["HOME"], made["EMPTY"]) == ("mine", "/elsewhere", "")


def test_clear_leaves_nothing_of_the_caller_s():
    """Only what every job has, and what was asked for."""
    made = job({"LANG": "C", "PATH": "/theirs"}, {"A": "b"}, clear=True)
    assert "LANG" not in made
    assert made["PATH"] == environment.DEFAULT_PATH
    assert made["A"] == "b"


PATTERNS = (*environment.EXECUTES, *environment.REACHES, *environment.SECRETS, *environment.SESSION)
PIECES = st.sampled_from([*{pattern.strip("*") for pattern in PATTERNS}, "X", "_", "a", "KEY", "TOKEN", ""])


@given(st.lists(PIECES, max_size=4).map("".join))
def test_the_quick_look_says_what_the_patterns_say(name):
    """The patterns are told apart once; matching them one by one gives the same answer."""
    slow = any(fnmatch.fnmatchcase(name.upper(), pattern) for pattern in PATTERNS)
    assert environment.dropped(name) == slow


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_characters="=\0"), min_size=1, max_size=12), st.text(max_size=4)
    )
)
def test_no_caller_makes_a_dropped_variable_appear(caller):
    """Whatever the names: what is in the job's environment was allowed, or is the job's own."""
    own = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "PWD"}
    assert not [name for name in job(caller) if name not in own and environment.dropped(name)]
