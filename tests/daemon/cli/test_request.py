"""What the client sends: the command, the caller's surroundings, the options; and what it makes of the answer."""

import json
import os
import subprocess

import pytest

from cbx_supervisor.protocol import frame

pytestmark = pytest.mark.root


def test_the_command_and_its_surroundings_are_sent(supervisor, tmp_path):
    """Arguments, directory and environment arrive as bytes, unchanged."""
    supervisor.environment = {
        b"CBX_RUNTIME_DIR": os.fsencode(supervisor.directory),
        b"PATH": b"/usr/bin:/bin",
        b"PWD": os.fsencode(tmp_path),
        b"ODD": b"\xff=\xfe\nx",
    }
    assert supervisor.run("--", "printf", b"a\xffb", "", "-q", cwd=tmp_path).returncode == 0
    [job] = supervisor.jobs
    assert job.text("kind") == "run"
    assert job.text("version") == "1"
    assert job.fields["arg"] == [b"printf", b"a\xffb", b"", b"-q"]
    assert job.fields["cwd"] == [os.fsencode(tmp_path)]
    assert sorted(job.fields["env"]) == sorted(b"=".join(entry) for entry in supervisor.environment.items())
    assert job.text("fds") == "stdin,stdout,stderr,cwd,lease"


def test_a_shell_line_is_sent_as_one(supervisor):
    """-c keeps the line as it was typed."""
    supervisor.run("-c", "ls *  | wc -l")
    assert supervisor.jobs[0].fields["line"] == [b"ls *  | wc -l"]
    assert "arg" not in supervisor.jobs[0].fields


def test_options_are_sent_in_base_units_and_paths_absolute(supervisor, tmp_path):
    """Seconds, bytes, whole names; relative paths are the caller's; what concerns only the client stays there."""
    options = (
        "--timeout 10m --kill-after 500ms -m 1G --cpus 0.5 --pids 9 --network none -w sub -u nobody --rw a --rw /b"
    )
    options += " --ro c --hide d --tmpfs e --tier safe --commit hold --dry-run --strict --allow-privileged"
    options += " --host-effects process,service --seccomp-log --lock-timeout 3 -i --clear-env -q --json"
    supervisor.run(*options.split(), "--", "x", cwd=tmp_path)
    sent = {
        key: values for key, values in supervisor.jobs[0].fields.items() if key not in {"env", "fds", "cwd", "token"}
    }
    at = os.fsencode(tmp_path)
    assert sent == {
        "kind": [b"run"], "version": [b"1"], "arg": [b"x"], "timeout": [b"600"], "kill_after": [b"0.5"],
        "memory": [b"1073741824"], "cpus": [b"0.5"], "pids": [b"9"], "network": [b"none"], "workdir": [at + b"/sub"],
        "user": [b"nobody"], "rw": [at + b"/a", b"/b"], "ro": [at + b"/c"], "hide": [at + b"/d"], "tmpfs": [at + b"/e"],
        "tier": [b"SAFE_PARALLEL"], "commit": [b"hold"], "dry_run": [b"1"], "strict": [b"1"],
        "allow_privileged": [b"1"], "host_effects": [b"process,service"], "lock_timeout": [b"3"],
        "interactive": [b"1"], "clear_env": [b"1"], "seccomp_log": [b"1"],
    }  # fmt: skip


def test_variables_come_from_files_then_from_options(supervisor, tmp_path):
    """--env wins over --env-file by coming later; a name alone passes on the caller's value, if there is one."""
    (tmp_path / "vars").write_bytes(b"# comment\n\nA=1\nB=two words\r\nOWN\nMISSING\n")
    supervisor.environment["OWN"] = "mine"
    supervisor.run("-e", "A=2", "--env-file", "vars", "-e", "OWN", "-e", "GONE", "x", cwd=tmp_path)
    assert supervisor.jobs[0].fields["setenv"] == [b"A=1", b"B=two words", b"OWN=mine", b"A=2", b"OWN=mine"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, b"No such file"),
        (b"A=1\nexport B=2\n", b"line 2 is not NAME=VALUE"),
        (b"=x", b"line 1"),
        (b"A=\0", b"line 1"),
    ],
)
def test_a_wrong_env_file_is_named_with_its_line(supervisor, tmp_path, content, words):
    """File, line, and what to write instead."""
    if content is not None:
        (tmp_path / "vars").write_bytes(content)
    run = supervisor.run("--env-file", "vars", "x", cwd=tmp_path)
    assert run.returncode == 125
    assert b"--env-file vars" in run.stderr
    assert words in run.stderr
    assert not supervisor.jobs


@pytest.mark.parametrize("status", [0, 1, 3, 75, 124, 125, 126, 127, 137, 255])
def test_the_results_status_is_the_clients(supervisor, status):
    """Whatever the supervisor says."""
    supervisor.behave = lambda job: job.send("result", status=status, line="", json="{}")
    run = supervisor.run("x")
    assert (run.returncode, run.stdout, run.stderr) == (status, b"", b"")


def test_the_last_line_goes_to_stderr_unless_quiet(supervisor):
    """One line, escaped; -q leaves it out."""
    supervisor.behave = lambda job: job.send("result", status=137, line="job 1 killed: \x1b[2Jmemory", json="{}")
    assert supervisor.run("x").stderr == b"cbx: job 1 killed: \\x1b[2Jmemory\n"
    assert supervisor.run("-q", "x").stderr == b""


def test_json_comes_after_the_commands_own_output(supervisor):
    """One object on stdout, a line of its own, and the same events on --status-fd."""

    def behave(job):
        job.send("accepted", job=12)
        job.run("echo hello")
        job.send("result", status=0, line="", json='{"job":12,"state":"exited"}')

    supervisor.behave = behave
    read_end, write_end = os.pipe()
    run = supervisor.run("--json", "--status-fd", str(write_end), "x", pass_fds=[write_end])
    os.close(write_end)
    with open(read_end) as events:
        seen = [json.loads(line) for line in events]
    assert run.stdout == b'hello\n{"job":12,"state":"exited"}\n'
    assert seen == [{"event": "accepted", "job": 12}, {"event": "result", "job": 12, "state": "exited"}]


def test_json_cannot_drive_a_terminal(supervisor):
    """Control characters above ASCII are escaped; the value stays the same."""
    text = '{"command":"gr\u00f6\u00dfe \u009b31m \u202e \U0001f600"}'
    supervisor.behave = lambda job: job.send("result", status=0, line="", json=text)
    out = supervisor.run("--json", "x").stdout.decode()
    assert json.loads(out) == json.loads(text)
    assert r"\u009b31m \u202e" in out
    assert "größe" in out


def test_a_refusal_is_told_in_words_and_in_json(supervisor):
    """kind=error: text with its lines, the status, and JSON even if the supervisor sent none."""
    supervisor.behave = lambda job: job.send("error", status=126, text="denied: it stops a service\nask an admin")
    run = supervisor.run("--json", "x")
    assert run.returncode == 126
    assert run.stderr == b"cbx-sandbox: denied: it stops a service\nask an admin\n"
    assert json.loads(run.stdout) == {"status": 126, "message": "denied: it stops a service\nask an admin"}


def test_waiting_is_said_once_it_is_known(supervisor):
    """Who holds the lock, on stderr, unless -q."""

    def behave(job):
        job.send("waiting", text="waits for /srv, held by job 3")
        job.send("result", status=0, line="", json="{}")

    supervisor.behave = behave
    assert supervisor.run("x").stderr == b"cbx: waits for /srv, held by job 3\n"
    assert supervisor.run("-q", "x").stderr == b""


def test_detached_prints_the_number_alone_and_keeps_no_lease(supervisor):
    """No waiting, no stdin, no lease."""
    supervisor.behave = lambda job: job.send("accepted", job=7)
    run = supervisor.run("-d", "x")
    assert (run.returncode, run.stdout, run.stderr) == (0, b"7\n", b"")
    assert supervisor.jobs[0].text("fds") == "cwd"
    assert supervisor.run("-d", "--json", "x").stdout == b'{"job":7}\n'


def test_a_detached_command_that_is_refused_says_so(supervisor):
    """An error frame instead of a number."""
    supervisor.behave = lambda job: job.send("error", status=75, text="shutting down")
    run = supervisor.run("-d", "x")
    assert (run.returncode, run.stdout) == (75, b"")
    assert b"shutting down" in run.stderr


def test_a_supervisor_that_goes_away_is_no_success(supervisor):
    """End of file before the result: 125, and where to look."""
    supervisor.behave = lambda job: job.send("accepted", job=7)
    run = supervisor.run("x")
    assert run.returncode == 125
    assert b"the supervisor went away" in run.stderr


@pytest.mark.parametrize("size", [10, 100_000])
def test_who_is_turned_away_at_the_door_reads_why(supervisor, size):
    """The supervisor may answer and hang up before it has read the request, however long that is."""
    supervisor.greeting = frame.encode([("kind", b"error"), ("status", b"75"), ("text", b"too many are open")])
    for _ in range(10):
        run = supervisor.run("--", "x", *(["y" * size] * 12))
        assert (run.returncode, run.stderr) == (75, b"cbx-sandbox: too many are open\n")


def test_who_is_hung_up_on_is_told_so(supervisor):
    """Without a word: 125, neither 141 nor a traceback."""
    supervisor.greeting = b""
    for size in (10, 100_000):
        run = supervisor.run("--", "x", *(["y" * size] * 12))
        assert run.returncode == 125
        assert b"the supervisor went away" in run.stderr


@pytest.mark.parametrize(
    "arguments", [("--nope",), (), ("--status-fd", "77", "x"), ("-m", "lots", "x"), ("-c", "x", "y"), ("-w",)]
)
def test_wrong_usage_is_one_clear_message(supervisor, arguments):
    """125, no traceback, nothing sent."""
    run = supervisor.run(*arguments)
    assert run.returncode == 125
    assert run.stderr.startswith(b"cbx-sandbox: ")
    assert b"Traceback" not in run.stderr
    assert run.stderr.count(b"\n") <= 2
    assert not supervisor.jobs


def test_more_than_a_frame_holds_is_refused_in_words(supervisor):
    """4 MiB of environment and command."""
    supervisor.environment |= {f"V{number}": "x" * 120_000 for number in range(12)}
    run = supervisor.run("--", "x", *(["y" * 120_000] * 5))
    assert run.returncode == 0, run.stderr
    options = [word for _ in range(4) for word in ("--env-file", "big")]
    big = supervisor.directory / "big"
    big.write_text("B=" + "x" * 1_000_000)
    run = supervisor.run(*options, "x", cwd=supervisor.directory)
    assert run.returncode == 125
    assert b"4 MiB" in run.stderr


def test_a_removed_working_directory_is_named(supervisor, client, tmp_path):
    """The client says so before it sends anything."""
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$0" run -- true'
    run = subprocess.run(
        ["sh", "-c", script, client], cwd=tmp_path, env=supervisor.environment, capture_output=True, check=False
    )
    assert run.returncode == 125
    assert b"cannot tell the current directory" in run.stderr


def test_help_needs_no_supervisor(client):
    """And is the same by either way in."""
    fast = subprocess.run([client, "run", "--help"], capture_output=True, check=True).stdout
    slow = subprocess.run([client, "--", "run", "--help"], capture_output=True, check=False).stdout
    assert b"--lock-timeout" in fast
    assert fast == slow
