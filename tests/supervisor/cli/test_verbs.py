"""The verbs that need no supervisor, and the funnel for what goes wrong, through the real command."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CLIENT = Path(sysconfig.get_path("scripts")) / "cbx-sandbox"


def run(*arguments, text=None):
    return subprocess.run([CLIENT, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)


def test_analyse_answers_line_by_line(tmp_path):
    """JSON in, JSON out, in order; blank lines do not count."""
    text = '{"command": "ls"}\n\n{"command": "rm x", "cwd": "/tmp"}\n'
    done = run("analyse", "-", text=text)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["command"] for answer in answers] == ["ls", "rm x"]
    assert all(set(answer) == {"command", "tier", "reasons", "effects"} for answer in answers)
    (tmp_path / "lines").write_text(text)
    assert run("analyse", str(tmp_path / "lines")).stdout == done.stdout


@pytest.mark.parametrize("line", ["ls", "[]", '{"line": "ls"}', '{"command": 3}', '{"command": "ls", "cwd": 3}'])
def test_analyse_names_a_line_that_it_cannot_read(line):
    """File, line number, and what a line looks like."""
    done = run("analyse", "-", text='{"command": "ls"}\n' + line + "\n")
    assert done.returncode == 125
    assert "line 2" in done.stderr
    assert '{"command": "ls -l"}' in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_as_json():
    """Tier, reasons with spans, effects, locks, policy and mounts; nothing is run."""
    answer = json.loads(run("explain", "--json", "-c", "touch /nonexistent/x").stdout)
    assert {"command", "tier", "reasons", "effects", "locks", "policy", "mounts", "refused"} <= set(answer)
    assert all(set(reason) == {"code", "text", "tier", "span"} for reason in answer["reasons"])


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
