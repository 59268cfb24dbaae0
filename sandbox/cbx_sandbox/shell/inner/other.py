"""Languages that are not read: what in their texts looks like starting, deleting or evaluating counts as that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.tiers import DANGEROUS

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

_STARTS = expression(
    r"\b(?:system|exec|execSync|execFileSync|execFile|spawn|spawnSync|popen|shell_exec|passthru|proc_open|pcntl_exec|qx|"
    r"backtick|os\.execute|io\.popen|Open3\.\w+|child_process|do\s+shell\s+script|os:cmd|System\.cmd|(?:m4_)?e?syscmd)\b"
)
_LITERAL = expression(
    r"\b(?:system|exec|execSync|popen|shell_exec|passthru|os\.execute|io\.popen|do\s+shell\s+script|os:cmd|shell)\s*+(?:\(\s*+)?"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|`([^`]*)`)"
)
_MACROS = expression(r"\b(?:m4_)?e?syscmd\(([^()]*)\)")  # m4
_ESCAPES = {  # what stands after them is a line for the shell
    "dc": expression(r"(?m)(?:^|[;\]\s])!(?![=<>])(.+)$|\[!(?![=<>])([^\]\n]+)"),
    **dict.fromkeys(("ghc", "ghci", "runghc", "runhaskell"), expression(r"(?m)^[ \t]*:!(.+)$")),
}
_EXECUTED = expression(r"\"([^\"]+)\"\.execute\(|'([^']+)'\.execute\(")  # Groovy
_BACKTICKS = expression(r"`([^`]+)`|\bqx\s*+[{(/|!]([^})/|!]*+)|%x[{(]([^})]*+)")  # one that does not end is the last
_SPAWNS = expression(r"(?m)(?:^|;)[ \t]*(?:spawn|exec)\s+([^;\n]+)")  # expect and Tcl
_DESTROYS = expression(
    r"\b(?:rm_rf|rm_r|rmtree|remove_tree|remove_dir|rmSync|rmdirSync|unlinkSync|rimraf|FileUtils\.rm|remove_entry\w*|"
    r"secure_removal|file\s+delete\s+-force|removeSync|File\.rm_rf!?|deleteDir)\b"
    r"|\b(?:unlink|rm)\s*\([^()]*\brecursive\s*=\s*(?:TRUE|T|true)\b"
)
_COMMANDS = expression(r"[^;|\n]+")
_DELETES = expression(r"\b(?:Remove-Item|ri|rd|rmdir|del)\b", re.IGNORECASE)
_TREES = expression(r"\s-r(?:e|ec|ecurse)?\b", re.IGNORECASE)
_EVALUATES = expression(
    r"\beval\b|\bFunction\s*\(|\binstance_eval\b|\brequire\s*\(\s*[^'\"\s]|\bimport\s*\(\s*[^'\"\s]"
)

# No pattern looks from each of many places to the end of the text: its length would count twice.


def _deletes_trees(command: str) -> bool:
    """Whether one command of PowerShell deletes what is below a directory too; in two steps, each reads it once."""
    found = _DELETES.search(command)
    return found is not None and _TREES.search(command, found.end()) is not None


def look(run: Interpreter, text: str, where: Where, name: str = "") -> bool:
    """Note what a text seems to do; never all that it does."""
    literals = [next(group for group in found.groups() if group is not None) for found in _LITERAL.finditer(text)]
    for literal in literals:
        run.execute_text(literal.replace('\\"', '"').replace("\\'", "'"), where)
    spawned = [found.group(1) for found in _SPAWNS.finditer(text)]
    for words in spawned:
        run.nested(words, where)
    for pattern in (_MACROS, _EXECUTED, *([_ESCAPES[name]] if name in _ESCAPES else ())):
        for found in pattern.finditer(text):
            literals.append(next(group for group in found.groups() if group is not None))
            run.nested(literals[-1], where)
    for found in _BACKTICKS.finditer(text):
        literal = next((group for group in found.groups() if group is not None), "")
        run.nested(literal, where)
    if _STARTS.search(text) and not literals and not spawned:
        run.executes_unknown("code that starts programs", where)
    if _DESTROYS.search(text) or any(_deletes_trees(found.group()) for found in _COMMANDS.finditer(text)):
        run.record.reason("inline-destroys", "code that deletes trees", DANGEROUS, where)
    if _EVALUATES.search(text):
        run.executes_unknown("code that evaluates text", where)
    return False
