"""What install-service would do, and the files that it brings: the guest's tests carry it out."""

import subprocess
import sys
from pathlib import Path

from cbx_supervisor.cli import installation
from cbx_supervisor.cli.completion import bash
from cbx_supervisor.cli.main import VERBS


def test_the_files_name_this_installation():
    """No placeholder is left; the commands are those beside this interpreter."""
    files = installation.files()
    assert set(files) == set(installation.PLACES)
    assert not any(mark in text for text in files.values() for mark in ("@BIN@", "@DOCS@"))
    assert f"ExecStart={Path(sys.executable).parent}/cbx-supervisor " in files["cbx-supervisor.service"]


def test_steps_come_in_an_order_that_works():
    """The group before the sockets, the files before they are read; starting only where it was asked for."""
    files = installation.files()
    plain = [str(step) for step in installation.install(files, enable=False, restart=False)]
    assert plain[-3:] == [
        "run systemd-sysusers /etc/sysusers.d/cbx.conf",
        "run systemd-tmpfiles --create /etc/tmpfiles.d/cbx.conf",
        "run systemctl daemon-reload",
    ]
    started = [str(step) for step in installation.install(files, enable=True, restart=True)]
    assert started[: len(plain)] == plain
    assert started[-1] == "run systemctl try-restart cbx-supervisor.service"
    away = [str(step) for step in installation.uninstall()]
    assert away[0].startswith("run systemctl disable --now cbx-supervisor.service")
    written = {step.path for step in installation.install(files, enable=True, restart=True) if hasattr(step, "text")}
    assert {f"remove {path}" for path in written} == set(away[1:-1])


def test_files_are_written_whole_and_removed(tmp_path):
    """Nothing half written is ever at its place; removing twice is no error."""
    path = tmp_path / "new/unit"
    installation.Write(str(path), "one").carry_out()
    installation.Write(str(path), "two").carry_out()
    assert (path.read_text(), [entry.name for entry in path.parent.iterdir()]) == ("two", ["unit"])
    for _ in range(2):
        installation.Remove(str(path)).carry_out()
    assert not path.exists()


def complete(*words):
    """What bash offers for the last word."""
    script = f"""{bash()}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
_cbx_sandbox
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_verbs_kinds_and_options():
    """As the help has them."""
    assert set(complete("cbx-sandbox", "")) == {*VERBS, "--help", "--version"}
    assert complete("cbx-sandbox", "chec") == ["checkpoint"]
    assert "rollback" in complete("cbx-sandbox", "checkpoint", "")
    assert complete("cbx-sandbox", "checkpoint", "diff", "--st") == ["--stat"]
    assert complete("cbx-sandbox", "run", "--time") == ["--timeout"]
    assert complete("cbx-sandbox", "list", "--wa") == ["--watch"]
    assert complete("cbx-sandbox", "nonsense", "x") == []
