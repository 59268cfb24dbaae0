"""The administrator's rules, for the verbs that need no supervisor."""

from __future__ import annotations

import os

from cbx_supervisor import paths as places
from cbx_supervisor import rule_files
from cbx_supervisor.cli import output


def use() -> None:
    """Have them in force; say on stderr what is wrong with those that cannot be used."""
    for problem in rule_files.use(places.from_environment(os.environ, uid=os.getuid()).rules):
        output.remark(f"these rules are not used: {problem}")
