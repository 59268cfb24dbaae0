"""Languages that are not read: what in their texts looks like starting, deleting or evaluating counts as that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.tiers import DANGEROUS

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

_STARTS = re.compile(
    r"\b(?:system|exec|execSync|execFileSync|execFile|spawn|spawnSync|popen|shell_exec|passthru|proc_open|pcntl_exec|qx|"
    r"backtick|os\.execute|io\.popen|Open3\.\w+|child_process|do\s+shell\s+script)\b"
)
_LITERAL = re.compile(
    r"\b(?:system|exec|execSync|popen|shell_exec|passthru|os\.execute|io\.popen|do\s+shell\s+script)\s*\(?\s*"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|`([^`]*)`)"
)
_BACKTICKS = re.compile(r"`([^`]+)`|\bqx\s*[{(/|!](.*?)[})/|!]|%x[{(](.*?)[})]")
_SPAWNS = re.compile(r"(?m)(?:^|;)\s*(?:spawn|exec)\s+([^;\n]+)")  # expect and Tcl
_DESTROYS = re.compile(
    r"\b(?:rm_rf|rm_r|rmtree|remove_tree|remove_dir|rmSync|rmdirSync|unlinkSync|rimraf|FileUtils\.rm|remove_entry\w*|"
    r"secure_removal|file\s+delete\s+-force)\b"
)
_EVALUATES = re.compile(
    r"\beval\b|\bFunction\s*\(|\binstance_eval\b|\brequire\s*\(\s*[^'\"\s]|\bimport\s*\(\s*[^'\"\s]"
)


def look(run: Interpreter, text: str, where: Where) -> bool:
    """Note what a text seems to do; never all that it does."""
    literals = [next(group for group in found.groups() if group is not None) for found in _LITERAL.finditer(text)]
    for literal in literals:
        run.execute_text(literal.replace('\\"', '"').replace("\\'", "'"), where)
    spawned = [found.group(1) for found in _SPAWNS.finditer(text)]
    for words in spawned:
        run.nested(words, where)
    for found in _BACKTICKS.finditer(text):
        literal = next((group for group in found.groups() if group is not None), "")
        run.nested(literal, where)
    if _STARTS.search(text) and not literals and not spawned:
        run.executes_unknown("code that starts programs", where)
    if _DESTROYS.search(text):
        run.record.reason("inline-destroys", "code that deletes trees", DANGEROUS, where)
    if _EVALUATES.search(text):
        run.executes_unknown("code that evaluates text", where)
    return False
