"""What four readers of shell text find: the multiset of commands, by the name that stands in front.

A name is its text without quotes; a name with an expansion in it is ``$``, since readers write those differently.
Commands inside substitutions, here-documents, arithmetic and redirections count like any other. None means that the
reader refuses the text or marks an error in it, which is no evidence.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bashlex
import tree_sitter_bash
from msgspec import Struct
from tree_sitter import Language, Parser

from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.syntax import Assign, Simple, Text, Unreadable, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

Names = Counter[str]
COMPUTED = "$"
MARK = "cbx_differential_mark"
BATCH = 64
EXTGLOB = re.compile(r"(?m)^shopt -s extglob$")


# -- cbx ----------------------------------------------------------------------------------------------------------


def ours(text: str) -> Names | None:
    """Read with cbx's own reader."""
    try:
        tree = parse(text)
    except Unreadable:
        return None
    found: Names = Counter()
    stack: list[object] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, Simple) and item.words:
            found[_our_name(item.words[0])] += 1
        if isinstance(item, (tuple, list)):
            stack += item
        elif isinstance(item, Struct):
            stack += [getattr(item, name) for name in item.__struct_fields__]
    return found


def _our_name(word: Word | Assign) -> str:
    assert isinstance(word, Word)
    if all(isinstance(part, Text) for part in word.parts):
        return "".join(part.value for part in word.parts if isinstance(part, Text))
    return COMPUTED


# -- shfmt ----------------------------------------------------------------------------------------------------------


@cache
def _shfmt() -> str:
    beside = Path(sys.executable).with_name("shfmt")
    found = str(beside) if beside.exists() else shutil.which("shfmt")
    if found is None:
        raise RuntimeError("cannot find shfmt: install the test extra (shfmt-py)")
    return found


def shfmt(texts: Sequence[str], *, workers: int = 2) -> list[Names | None]:
    """Read many texts with mvdan/sh: many in one process, one by one where a batch cannot be told apart."""
    batches = [range(start, min(start + BATCH, len(texts))) for start in range(0, len(texts), BATCH)]
    out: list[Names | None] = [None] * len(texts)
    with ThreadPoolExecutor(workers) as pool:
        for batch, answers in zip(
            batches, pool.map(lambda b: _shfmt_batch([texts[i] for i in b]), batches), strict=True
        ):
            for index, answer in zip(batch, answers, strict=True):
                out[index] = answer
    return out


def _shfmt_batch(texts: list[str]) -> list[Names | None]:
    """Read texts with a marker after each; every marker has to be found as a command of the file itself."""
    joined = "".join(f"{text}\n{MARK} {index}\n" for index, text in enumerate(texts))
    tree = _shfmt_tree(joined) if len(texts) > 1 else None
    parts = None if tree is None else _between_marks(tree, len(texts))
    if parts is not None:
        return [_shfmt_names(part) for part in parts]
    if len(texts) == 1:
        alone = _shfmt_tree(texts[0])
        return [None if alone is None else _shfmt_names(alone)]
    middle = len(texts) // 2
    return _shfmt_batch(texts[:middle]) + _shfmt_batch(texts[middle:])


def _shfmt_tree(text: str) -> Any:
    answer = subprocess.run(
        [_shfmt(), "--to-json", "-ln=bash"],
        input=text.encode("utf-8", "surrogatepass"),
        capture_output=True,
        check=False,
    )
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def _between_marks(tree: Any, count: int) -> list[list[Any]] | None:
    parts: list[list[Any]] = [[]]
    for statement in tree.get("Stmts", []):
        args = (statement.get("Cmd") or {}).get("Args") or []
        if args and [part.get("Value") for part in args[0].get("Parts", [])] == [MARK]:
            if [part.get("Value") for part in args[1].get("Parts", [])] != [str(len(parts) - 1)]:
                return None
            parts.append([])
        else:
            parts[-1].append(statement)
    return parts[:-1] if len(parts) == count + 1 and not parts[-1] else None


def _shfmt_names(tree: Any) -> Names:
    found: Names = Counter()
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            kind = item.get("Type")
            if kind == "CallExpr" and item.get("Args"):
                found[_shfmt_word(item["Args"][0])] += 1
            elif kind == "DeclClause":
                found[item["Variant"]["Value"]] += 1
            elif kind == "LetClause":
                found["let"] += 1
            stack += item.values()
    return found


def _shfmt_word(word: Any) -> str:
    out = []
    for part in word.get("Parts", []):
        match part["Type"]:
            case "Lit":
                out.append(re.sub(r"(?s)\\(.)", lambda found: "" if found[1] == "\n" else found[1], part["Value"]))
            case "SglQuoted":
                out.append(_ansi(part.get("Value", "")) if part.get("Dollar") else part.get("Value", ""))
            case "DblQuoted":
                inner = part.get("Parts", [])
                if any(piece["Type"] != "Lit" for piece in inner):
                    return COMPUTED
                out += [re.sub(r'\\([$`"\\])', r"\1", piece["Value"]).replace("\\\n", "") for piece in inner]
            case "ExtGlob":
                out.append(part["Op"] + part["Pattern"]["Value"] + ")" if isinstance(part["Op"], str) else "?")
            case _:
                return COMPUTED
    return "".join(out)


def _ansi(text: str) -> str:
    tree = parse(f"$'{text}'").items[0][0]
    assert isinstance(tree, Simple)
    return _our_name(tree.words[0])


# -- bashlex and tree-sitter ------------------------------------------------------------------------------------------


_PIECE = re.compile(r"""(?s)'([^']*)'|\$'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+?(?=['"\\]|\$'|$)|.)""")


def _written(text: str) -> str:
    """Return a name as it is written, without its quotes."""
    out = []
    for found in _PIECE.finditer(text):
        single, ansi, double, escaped, plain = found.groups()
        if ansi is not None:
            out.append(_ansi(ansi))
        elif double is not None or plain is not None:
            if re.search(r"(?<!\\)(?:\\\\)*[$`]|[<>]\(", double or plain or ""):
                return COMPUTED
            out.append(plain if double is None else re.sub(r'(?s)\\([$`"\\\n])', r"\1", double).replace("\n", ""))
        else:
            out.append(single if escaped is None else escaped.replace("\n", ""))
    return "".join(out)


def bashlex_names(text: str) -> Names | None:
    """Read with bashlex."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stack: list[Any] = list(bashlex.parse(text))
    except Exception:  # noqa: BLE001 -- it fails in many ways on what it does not know, all of them no evidence
        return None
    found: Names = Counter()
    while stack:
        node = stack.pop()
        if node.kind == "command":
            first = next((part for part in node.parts if part.kind == "word"), None)
            if first is not None:
                found[_written(text[slice(*first.pos)])] += 1
        for name in ("parts", "list"):
            stack.extend(getattr(node, name, ()))
        for name in ("command", "output", "heredoc"):
            inner = getattr(node, name, None)
            if hasattr(inner, "kind"):
                stack.append(inner)
    return found


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def tree_sitter_names(text: str) -> Names | None:
    """Read with tree-sitter-bash."""
    tree = _parser().parse(text.encode("utf-8", "surrogatepass"))
    if tree.root_node.has_error:
        return None
    found: Names = Counter()
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        if node.type == "command_name" and node.text:
            found[_written(node.text.decode("utf-8", "replace"))] += 1
        elif node.type in {"declaration_command", "unset_command"} and node.children and node.children[0].text:
            found[node.children[0].text.decode()] += 1
        elif node.type == "test_command" and node.children and node.children[0].text == b"[":
            found["["] += 1
        stack.extend(node.children)
    return found


def bash_accepts(texts: Sequence[str], *, workers: int = 2) -> list[bool]:
    """Ask ``bash -n`` about each text; a text with a NUL is none that bash can be given.

    The status alone does not tell: for a wrong ``[[ … ]]`` in the last command it is 0, and only a message says so.
    """

    def accepts(text: str) -> bool:
        if "\0" in text:
            return False
        with tempfile.TemporaryFile() as script:
            script.write(text.encode("utf-8", "surrogatepass"))
            script.seek(0)
            command = ["bash", "--norc", "--noprofile", "-n", f"/dev/fd/{script.fileno()}"]
            if EXTGLOB.search(text):  # -n does not run the shopt that turns it on
                command[3:3] = ["-O", "extglob"]
            done = subprocess.run(
                command,
                pass_fds=[script.fileno()],
                capture_output=True,
                check=False,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            )
        said = re.sub(
            r"(?s)\S+ line \d+: warning: .*?(?:\(wanted `.*?'\)|unterminated here-document)\n",
            "",
            done.stderr.decode("utf-8", "replace"),
        )
        return done.returncode == 0 and not said.strip()

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(accepts, texts))


def missing(peer: Names | None, own: Names | None) -> Names:
    """Return the commands that a peer finds and cbx does not."""
    if peer is None or own is None:
        return Counter()
    return peer - own


__all__ = ["COMPUTED", "Names", "bash_accepts", "bashlex_names", "missing", "ours", "shfmt", "tree_sitter_names"]
