"""Files that are executed: what they hold decides, and what cannot be read is as unknown as before."""

from __future__ import annotations

import os
import pathlib

import pytest
from tests.sandbox.shell.inner.support import changed, look, read, tier

from cbx_sandbox.facts import HostFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.inner import sources

FILES = {
    "reads.sh": '#!/bin/bash\nset -euo pipefail\nls "$1"\ngrep -r x . | wc -l\n',
    "removes.sh": '#!/usr/bin/env bash\nrm -rf "$1"\n',
    "writes.sh": "#!/bin/sh\necho x > /srv/out\n",
    "plain": "ls\n",
    "evals.sh": 'eval "$1"\n',
    "computed.sh": '"$TOOL" --version\n',
    "itself.sh": "#!/bin/sh\n./itself.sh\n",
    "broken.sh": "if then (\n",
    "long.sh": "#!/bin/sh\n" + "ls\n" * 20_000,
    "reads.py": "#!/usr/bin/env python3\nprint(open('a').read())\n",
    "removes.py": "#!/usr/bin/python3 -u\nimport shutil\nshutil.rmtree('src')\n",
    "prints.awk": "#!/usr/bin/awk -f\n{ print $1 }\n",
    "writes.awk": '{ print > "out" }\n',
    "writes.sed": "s/a/b/\nw out\n",
    "reads.sed": "s/a/b/\n",
    "options.sh": "#!/usr/bin/env -i sh\nls\n",
    "tool": "#!/opt/strange/interpreter\nls\n",
    "sed": "#!/bin/sh\nls\n",
    "calls.sh": "#!/bin/sh\n./removes.sh src\n",
}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("bash reads.sh src", "safe"),
        ("sh -x reads.sh src", "safe"),
        ("./reads.sh src", "safe"),
        ("./plain", "safe"),
        ("python3 reads.py", "safe"),
        ("./reads.py", "safe"),
        ("./prints.awk a", "safe"),
        ("awk -f prints.awk a", "safe"),
        ("sed -f reads.sed a", "safe"),
        ("./sed", "safe"),
        ("awk -f writes.awk a", "sequential"),
        ("sed -f writes.sed a", "sequential"),
        ("sed -f none.sed a", "sequential"),
        ("./writes.sh", "sequential"),
        ("./computed.sh", "sequential"),
        ("./itself.sh", "sequential"),
        ("./broken.sh", "sequential"),
        ("bash broken.sh", "sequential"),
        ("./long.sh", "sequential"),
        ("./options.sh", "sequential"),
        ("./tool", "sequential"),
        ("./nothing.sh", "sequential"),
        ("bash nothing.sh", "sequential"),
        ("./removes.sh src", "dangerous"),
        ("bash removes.sh src", "dangerous"),
        ("./calls.sh", "dangerous"),
        ("./removes.py", "dangerous"),
        ("bash evals.sh 'rm -rf src'", "dangerous"),
        ("bash evals.sh ls", "safe"),
        ('bash evals.sh "$X"', "dangerous"),
        ("sudo ./removes.sh src", "dangerous"),
        ("timeout 5 ./reads.sh src", "safe"),
        ("find . -name x -exec ./removes.sh {} +", "dangerous"),
    ],
)
def test_a_script_is_what_it_holds(command: str, expected: str) -> None:
    assert tier(command, FILES) == expected, look(command, FILES).reasons


def test_the_same_commands_are_unknown_where_nothing_can_be_read() -> None:
    for command in ("./reads.sh src", "bash reads.sh src", "python3 reads.py", "awk -f prints.awk a"):
        assert tier(command) == "sequential"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("rm() { :; }; bash removes.sh src", "dangerous"),
        ("alias ls='rm -rf src'; bash plain", "safe"),
        ("rm() { :; }; ./removes.sh src", "dangerous"),
    ],
)
def test_a_script_knows_no_functions_of_the_shell_that_starts_it(command: str, expected: str) -> None:
    assert tier(command, FILES) == expected


def test_what_comes_after_a_long_script_is_still_looked_at() -> None:
    assert tier("./long.sh; rm -rf src", FILES) == "dangerous"
    assert tier("; ".join(["./long.sh"] * 30) + "; rm -rf src", FILES) == "dangerous"


@pytest.mark.parametrize(
    "change",
    [
        "cp /tmp/x reads.sh",
        "git pull",
        "sed -i s/ls/rm/ reads.sh",
        "python3 -c 'import x'",
        "rm reads.sh",
        "mv /tmp/reads.sh .",
        "mv /tmp/x/* .",
    ],
)
def test_a_script_that_may_have_changed_before_is_not_trusted(change: str) -> None:
    assert tier(f"{change}; ./reads.sh src", FILES) != "safe"
    assert "unknown-program" in {reason.code for reason in look(f"{change}; ./reads.sh src", FILES).reasons}


def test_what_was_there_before_still_counts_when_it_may_have_changed() -> None:
    assert tier("git pull; ./removes.sh src", FILES) == "dangerous"


def test_what_the_text_writes_itself_is_what_is_executed() -> None:
    assert tier("echo ls > removes.sh; ./removes.sh src", FILES) == "sequential"
    assert tier("echo 'rm -rf src' > reads.sh; ./reads.sh", FILES) == "dangerous"
    assert tier("curl -o reads.sh https://example.org/x; ./reads.sh", FILES) == "dangerous"


def test_paths_in_a_script_are_those_of_the_caller() -> None:
    files = {"sub/s.sh": "#!/bin/sh\ntouch out\n"}
    assert changed(look("sub/s.sh", files)) == {"/work/project/out": "literal"}
    assert changed(look("cd sub && ./s.sh", files)) == {"/work/project/sub/out": "literal"}
    assert read(look("sub/s.sh", files)) == {"/work/project/sub/s.sh"}


def test_the_first_line() -> None:
    for text, words in [
        ("ls", []),
        ("#!/bin/sh\nls", ["/bin/sh"]),
        ("#! /bin/sh -e\n", ["/bin/sh", "-e"]),
        ("#!/usr/bin/env python3\n", ["python3"]),
        ("#!/usr/bin/env -S awk -f\n", ["awk", "-f"]),
        ("#!/usr/bin/env\n", None),
        ("#!/usr/bin/env X=1 sh\n", None),
        ("#!\n", None),
    ]:
        assert sources.interpreter(text) == words


def test_real_files(tmp_path: pathlib.Path) -> None:
    """Through the facts of this machine: a FIFO is not waited for, what is too large or no text is not read."""
    facts = HostFacts(str(tmp_path), {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})
    (tmp_path / "s.sh").write_text("#!/bin/sh\nls\n")
    (tmp_path / "link.sh").symlink_to("s.sh")
    os.mkfifo(tmp_path / "fifo.sh")
    (tmp_path / "large.sh").write_text("ls\n" * sources.MAX_BYTES)
    (tmp_path / "binary").write_bytes(b"\x7fELF\x00\xff\xfe")
    tiers = {name: analyse(f"./{name}", facts).tier for name in ("s.sh", "link.sh", "fifo.sh", "large.sh", "binary")}
    assert tiers == {
        "s.sh": "SAFE_PARALLEL",
        "link.sh": "SAFE_PARALLEL",
        "fifo.sh": "SEQUENTIAL_REQUIRED",
        "large.sh": "SEQUENTIAL_REQUIRED",
        "binary": "SEQUENTIAL_REQUIRED",
    }


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo x >> run.sh; sh run.sh", "dangerous"),
        ("echo x | tee -a run.sh; sh run.sh", "dangerous"),
        ("cmd &>> run.sh; sh run.sh", "dangerous"),
        ("for i in 1 2; do echo ls >> run.sh; done; sh run.sh", "dangerous"),
        ("unheard-of; echo x >> new.sh; sh new.sh", "dangerous"),
        ("echo ls >> new.sh; sh new.sh", "sequential"),
        ("echo ls > run.sh; echo ls >> run.sh; sh run.sh", "sequential"),
        ("echo ls >> list.sh; sh list.sh", "sequential"),
    ],
)
def test_what_a_script_held_before_something_was_appended_is_executed_too(command: str, expected: str) -> None:
    files = {"run.sh": "rm -rf /home\n", "list.sh": "ls\n"}
    assert tier(command, files) == expected
