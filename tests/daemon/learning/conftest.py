"""A program that writes where its text does not say so, and what a supervisor plans, runs and remembers."""

from __future__ import annotations

import os
import shutil

import pytest
from tests.daemon.law import conftest as law

DANGEROUS = ("tier", b"DANGEROUS_ISOLATED")

# The command line, as root or as somebody else, and a directory that everybody can reach.
own_shell, place = law.own_shell, law.place


def cwd(path):
    return ("cwd", os.fsencode(path))


def plan(supervisor, line, project, *fields):
    return supervisor.run(line, cwd(project), ("dry_run", b"1"), *fields).end()["result"]


def locks(planned):
    return {lock["path"] for lock in planned["locks"]}


def run(supervisor, line, project, *fields):
    return supervisor.run(line, cwd(project), *fields).end()["result"]


def observed(supervisor, result):
    """What was seen of a job; `run` and `show` say the same."""
    shown = supervisor.get(f"/v1/jobs/{result['job']}")["prediction"]
    assert shown == result["prediction"]
    return shown["observed"]


def write_program(path, *targets):
    """A program that writes to these paths, and the line that runs it from where it is.

    A shell under another name, so that the analysis does not read its script.
    """
    shutil.copy("/bin/sh", path)
    path.with_name("list").write_text("".join(f"echo x > {target}\n" for target in targets))
    return f"./{path.name} list"


@pytest.fixture
def elsewhere(tmp_path):
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


@pytest.fixture
def program(project):
    """Makes a program of the project that writes to these paths; the analysis does not read it."""

    def made(*targets):
        return write_program(project / "program", *targets)

    return made
