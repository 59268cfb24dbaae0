"""The verbs that need no supervisor, and the funnel for what goes wrong, through the real command."""

import base64
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest

from cbx_supervisor.cli import main

CLIENT = Path(sysconfig.get_path("scripts")) / "cbx-sandbox"


def run(*arguments, text=None):
    return subprocess.run([CLIENT, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)


def answers(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_analyse_answers_line_by_line(tmp_path):
    """JSON or plain commands in, JSON out, in order; blank lines do not count but are counted."""
    text = '{"command": "ls", "id": [7]}\n\n{"command": "rm x", "cwd": "/tmp"}\n'
    text += '{ ls; }\n{"argv": ["rm", "a;b"]}\ncat x | wc'
    done = run("analyse", "-", text=text)
    found = answers(done)
    assert done.returncode == 0
    assert [(answer["line"], answer["command"]) for answer in found] == [
        (1, "ls"), (3, "rm x"), (4, "{ ls; }"), (5, "rm a;b"), (6, "cat x | wc"),
    ]  # fmt: skip
    assert set(found[1]) == {"line", "command", "tier", "reasons", "effects"}
    assert found[0]["id"] == [7]
    assert [effect["path"] for effect in found[1]["effects"]["paths"]] == ["/tmp/x"]
    assert found[3]["effects"]["paths"][0]["path"].endswith("/a;b")
    (tmp_path / "lines").write_text(text)
    assert run("analyse", str(tmp_path / "lines")).stdout == done.stdout
    assert {"checks", "estimate", "priority", "programs"} <= set(answers(run("analyse", "--full", "-", text="ls"))[0])


@pytest.mark.parametrize(
    "line",
    ["[]", '{"line": "ls"}', '{"command": 3}', '{"command": "ls", "cwd": 3}', '{"argv": []}', '{"command": "x"', "3"],
)
def test_analyse_names_a_line_that_it_cannot_read_and_goes_on(line):
    """The number and what is wrong with it; 1 at the end."""
    done = run("analyse", "--format", "json", "-", text='{"command": "ls"}\n' + line + '\n{"command": "id"}\n')
    found = answers(done)
    assert done.returncode == 1
    assert [answer["line"] for answer in found] == [1, 2, 3]
    assert set(found[1]) == {"line", "error"}
    assert found[2]["command"] == "id"
    assert done.stderr == ""


def test_analyse_takes_every_line_for_a_command_where_that_is_asked():
    found = answers(run("analyse", "--format", "text", "-", text='{"command": "ls"}\n'))
    assert found[0]["command"] == '{"command": "ls"}'


def test_analyse_takes_bytes_that_are_no_text_and_lines_that_are_too_long(tmp_path):
    (tmp_path / "lines").write_bytes(b"rm \xff\n" + b"x" * (5 << 20) + b"\nls\n")
    found = answers(run("analyse", str(tmp_path / "lines")))
    assert [answer["line"] for answer in found] == [1, 2, 3]
    assert found[0]["reasons"][0]["span"] == [3, 4]
    assert found[0]["command"] == r"rm \xff"
    assert base64.b64decode(found[0]["command_base64"]) == b"rm \xff"
    (path,) = found[0]["effects"]["paths"]
    assert path["path"].endswith(r"/\xff")
    assert base64.b64decode(path["path_base64"]).endswith(b"/\xff")
    assert found[1]["error"] == "longer than 4 MiB"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"rm g\xf6", r"rm g\xf6"),
        (b'{"command": "rm \\udcf6"}', r"rm \xf6"),
        (b'{"command": "rm \\ud800x"}', r"rm \ud800x"),
        ("rm 😀".encode(), "rm 😀"),
        (b'{"command": "rm \\ud83d\\ude00"}', "rm 😀"),
    ],
)  # fmt: skip
def test_what_analyse_prints_is_json_for_every_reader(line, shown):
    """No half of a letter is in it, whatever it was asked about; what is valid stays as it is."""
    done = subprocess.run([CLIENT, "analyse", "-"], input=line, capture_output=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert answer["command"] == shown
    assert ("command_base64" in answer) == ("\\" in shown)
    json.dumps(answer, ensure_ascii=False).encode("utf-8", "strict")


def test_analyse_answers_before_it_has_read_everything():
    """Somebody may write a line and wait for the answer."""
    with subprocess.Popen([CLIENT, "analyse", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for command in (b"ls\n", b"id\n"):
            process.stdin.write(command)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["command"] == command.decode().strip()
        process.stdin.close()
        assert process.wait(60) == 0


def test_analyse_needs_no_more_memory_for_more_lines(tmp_path):
    """Ten times as many commands, none like another."""
    code = (
        "import resource, sys; from cbx_supervisor.cli.main import status_of; status_of(sys.argv[1:]);"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    peaks = []
    for count in (400, 4000):
        path = tmp_path / str(count)
        path.write_text("".join(f"tool{index} --x{index} /a/{index} | sort > out{index}\n" for index in range(count)))
        done = subprocess.run(
            [sys.executable, "-c", code, "analyse", str(path)], capture_output=True, text=True, check=True, timeout=120
        )
        assert len(done.stdout.splitlines()) == count
        peaks.append(int(done.stderr))
    assert peaks[1] < peaks[0] + (16 << 10)  # KiB


def test_relate_names_what_two_commands_share_and_what_resolves_it():
    """For people and as JSON; what shares nothing is independent (the control)."""
    shown = run("relate", "rm -r /srv/x", "cat /srv/x/a").stdout
    assert shown.splitlines()[0] == "dangerous"
    assert "delete x file: restricted, resolved by isolate" in shown
    answer = json.loads(run("relate", "--json", "nc -l 9", "python3 -m http.server 9").stdout)
    assert answer["relation"] == "conflicting"
    tie = next(tie for tie in answer["ties"] if tie["code"] == "port")
    assert tie["resource"] == "port:9"
    assert tie["cell"] == {"operation": "create", "resource": "network", "safety": "conditional"}
    assert tie["resolution"] == "network-lock"
    assert run("relate", "ls", "cat /etc/hosts").stdout == "independent\n"
    assert run("relate", "ls").returncode == 125


def test_explain_as_json():
    """Tier, reasons with spans, effects, locks, policy and mounts; nothing is run."""
    answer = json.loads(run("explain", "--json", "-c", "touch /nonexistent/x").stdout)
    assert {"command", "tier", "reasons", "effects", "locks", "policy", "mounts", "refused"} <= set(answer)
    assert all(set(reason) == {"code", "text", "tier", "span"} for reason in answer["reasons"])


def test_explain_weighs_what_the_submitter_says_of_it():
    """A fifth of the whole score, from 1 to 10; without a word it is normal."""

    def score(*options):
        return json.loads(run("explain", "--json", *options, "--", "ls").stdout)["priority"]

    assert score("--priority", "normal") == score()
    assert score("--priority", "high") - score("--priority", "low") == pytest.approx(1.0)


@pytest.mark.parametrize("how", ["submitter", "pool"])
def test_explain_goes_by_the_settings_that_jobs_go_by(monkeypatch, how):
    """All of them, also which user a job runs as."""
    monkeypatch.setenv("CBX_SANDBOX_RUN_AS", how)
    assert json.loads(run("explain", "--json", "--", "ls").stdout)["policy"]["job_user"] is (how == "pool")


def test_explain_refuses_a_working_directory_that_is_none(tmp_path):
    """As the box would; a symlink to one is one."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name, refused in (("missing", True), ("file", True), ("link", False)):
        answer = json.loads(run("explain", "--json", "--workdir", str(tmp_path / name), "--", "ls").stdout)
        assert bool(answer["refused"]) is refused, name


def test_explain_takes_the_options_of_run():
    """A limit that was asked for shows in the policy; a wrong one is refused as run refuses it."""
    answer = json.loads(run("explain", "--json", "-m", "1G", "--", "ls").stdout)
    assert answer["policy"]["limits"]["memory"] == 1 << 30
    done = run("explain", "-m", "lots", "--", "ls")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("cbx-sandbox: -m lots: write it as")


def test_rules_show_what_is_known():
    """A program that has a rule, and one that has none."""
    names = [json.loads(line)["name"] for line in run("rules", "list", "--json").stdout.splitlines()]
    for name in names[:3]:
        assert json.loads(run("rules", "show", "--json", name).stdout)["name"] == name
    done = run("rules", "show", "no\x1bsuch")
    assert done.returncode == 125
    assert r"no\x1bsuch" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("lisst",), ("wait",), ("wait", "x"), ("show", "0"), ("checkpoint", "diff"), ("list", "--nope"), ("explain",)],
)
def test_wrong_usage_is_one_clear_message(arguments):
    """What is wrong, and where the help is; 125."""
    done = run(*arguments)
    assert done.returncode == 125
    assert done.stderr.startswith("cbx-sandbox: ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error():
    """`cbx-sandbox rules list | head` says nothing."""
    code = f"{CLIENT} --help | head -c 1; exit 0"
    done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [("run", "--help"), ("--version",)])
def test_neither_directory_nor_environment_bring_in_code(tmp_path, arguments):
    """Root may start it in a directory that somebody else has prepared."""
    for name in ("cbx_supervisor", "click", "encodings", "_socket", "sitecustomize"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('this ran')")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/x", "PYTHONSTARTUP": "x.py"}
    done = subprocess.run(
        [CLIENT, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_the_packages():
    """--version needs no supervisor."""
    assert run("--version").stdout.startswith("cbx-sandbox 0.")


def test_nothing_imports_the_command_line():
    """The client and the daemon do without click."""
    code = "import sys, cbx_supervisor.client.http; assert 'click' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_simulate_compares_strategies(tmp_path):
    """A made-up day and a trace, as a table and as JSON; nothing is asked of a supervisor."""
    made = run("simulate", "--synthetic", "--jobs", "300", "--hosts", "2", "--seed", "5", "--json")
    found = answers(made)
    assert made.returncode == 0
    assert len(found) > 1
    assert {answer["waits"]["count"] for answer in found} == {300}
    assert run("simulate", "--synthetic", "--jobs", "300", "--hosts", "2", "--seed", "5").stdout.count("\n") == 1 + len(
        found
    )
    (tmp_path / "day").write_text('{"submitted": 0, "seconds": 9, "tier": "dangerous"}\n' * 5)
    (traced,) = answers(
        run("simulate", str(tmp_path / "day"), "--strategy", "shortest-first", "--slots", "1,1,1,1", "--json")
    )
    assert (traced["waits"]["count"], traced["waits"]["longest"]) == (5, 36)


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        ((), "", "--synthetic"),
        (("-", "--synthetic"), "", "TRACE"),
        (("-",), "", "no job in it has run"),
        (("-",), '{"submitted": 0, "seconds": 1, "tier": "safe"}\n[1]\n', "2: cannot read"),
        (("-",), '{"job": 1, "submitted": 0, "seconds": 1, "tier": "safe"}\n' * 2, "2: there are two jobs 1"),
        (("-", "--slots", "1,2"), "", "--slots"),
    ],
)
def test_simulate_names_what_is_wrong(arguments, text, said):
    """On stderr, with the status of a usage error."""
    done = run("simulate", *arguments, text=text)
    assert (done.returncode, done.stdout) == (125, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_went_away_is_no_failure_of_the_verb():
    """As for any program: 141 and not a word, also where there is more than fits into a buffer; read, it is 0."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        done = subprocess.run(
            [CLIENT, "analyse", "-"], input=b"ls\n" * 1000, stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")
    assert run("analyse", "-", text="ls\n" * 1000).returncode == 0


def test_what_there_is_to_choose_from_is_said_in_one_line():
    done = run("priority", "1")
    assert done.returncode == 125
    assert "Choose from: critical, high, normal, low, deferred" in done.stderr
    several = run("config")  # whose usage has lines, the control
    assert several.returncode == 125
    assert "\n  Show, check and reload" in several.stderr


PRINTED_BY_CLICK = ["--help", "--version", "logs --help", "tx diff --help"]


@pytest.mark.parametrize("words", [*PRINTED_BY_CLICK, "run --help"])
def test_a_help_that_cannot_be_written(words):
    """Is told as of any other answer: cbx is not at fault."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([CLIENT, *words.split()], stdout=full, stderr=subprocess.PIPE, check=False)
    why = b"cbx-sandbox: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (125, why)


@pytest.mark.parametrize("words", PRINTED_BY_CLICK)
def test_a_help_to_a_closed_stream(words):
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", CLIENT, *words.split()], capture_output=True, check=False)
    why = b"cbx-sandbox: cannot write to standard output: Bad file descriptor\n"
    assert (done.returncode, done.stderr) == (125, why)


@pytest.mark.parametrize("words", [*PRINTED_BY_CLICK, "run --help"])
def test_a_help_that_nobody_reads(words):
    """As if the signal had ended it, as of any other answer; not as if the verb had failed."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run([CLIENT, *words.split()], stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_error_of_the_system_in_a_verb_is_not_one_of_its_output():
    """The control: only what click prints by itself is."""

    class Failing(main.Verbs):
        def get_command(self, ctx, cmd_name):
            return click.Command("list", callback=lambda: os.read(-1, 1))

    with pytest.raises(OSError, match="Bad file descriptor"):
        Failing("group").main(["list"], standalone_mode=False)
