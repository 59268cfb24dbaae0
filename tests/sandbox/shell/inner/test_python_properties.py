# ruff: noqa: E501 -- a table of statements, one a line
"""Programs made of harmless statements are safe; with one that harms among them, however it is named, they are not."""

from __future__ import annotations

import textwrap

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sandbox.shell.inner.support import tier

HARMLESS = [
    "print(1 + 1)",
    "x = [n * n for n in range(9)]",
    "text = open('notes.txt').read().replace('a', 'b')",
    "with open('notes.txt', 'rb') as file:\n    size = len(file.read())",
    "import json\nprint(json.dumps({'a': 1}))",
    "import os\nprint(os.path.join(os.getcwd(), 'a'), os.listdir('.'))",
    "from pathlib import Path\nprint([p.name for p in Path('.').glob('*')])",
    "import re as r\nprint(r.sub('a', 'b', 'c'))",
    "def double(n):\n    return n * 2\nprint(double(2))",
    "class Point:\n    def __init__(self, x):\n        self.x = x\nprint(Point(1).x)",
    "try:\n    print({}['a'])\nexcept KeyError as error:\n    print(error)",
    "import sys\nprint(sys.argv, file=sys.stderr)",
    "import collections\nprint(collections.Counter('abc').most_common(1))",
    "lines = sorted(set(open('notes.txt')), key=lambda line: line.lower())",
]
# What the harm is done with: an expression that is a function, after statements that make it one.
FUNCTIONS = [
    ("import os", "os.remove", "'a'"),
    ("import os", "os.mkdir", "'a'"),
    ("import os", "os.system", "'touch a'"),
    ("import shutil", "shutil.copyfile", "'a', 'b'"),
    ("import subprocess", "subprocess.run", "['touch', 'a']"),
    ("import pathlib", "pathlib.Path('a').touch", ""),
    ("import pathlib", "pathlib.Path('a').write_text", "'b'"),
    ("", "open", "'a', 'w'"),
    ("import io", "io.open", "'a', 'x'"),
    ("import gzip", "gzip.open", "'a', 'wb'"),
    ("", "exec", '\'open("a", "w")\''),
    ("", "__import__('os').mkdir", "'a'"),
    ("", "__import__('shutil').rmtree", "'a'"),
    ("import importlib", "importlib.import_module('os').mkdir", "'a'"),
    ("from os import mkdir as make", "make", "'a'"),
    ("import os as o", "getattr(o, 'mkdir')", "'a'"),
    ("import os as o", "(lambda m: m.mkdir)(o)", "'a'"),
    ("import os as o", "[m.mkdir for m in [o]][0]", "'a'"),
    ("import os as o", "vars(o)['mkdir']", "'a'"),
    ("import sys", "sys.modules['os'].mkdir", "'a'"),
    ("import json", "json.codecs.open", "'a', 'w'"),
    ("import os", "os.path.os.mkdir", "'a'"),
    ("import argparse", "argparse.FileType('w')", "'a'"),
    ("import unheard_of", "unheard_of.do", ""),
]
# Ways to call it.
CALLS = [
    "{f}({a})",
    "made = {f}\nmade({a})",
    "made = other = {f}\nother({a})",
    "if input():\n    {f}({a})",
    "for n in range(2):\n    {f}({a})",
    "def go():\n    return {f}({a})\ngo()",
    "(lambda: {f}({a}))()",
    "print([{f}({a}) for n in 'a'])",
    "with_it = dict(go={f})\nwith_it['go']({a})",
    "def go(f):\n    f({a})\ngo({f})",
    "class A:\n    go = staticmethod({f})\nA.go({a})",
    "class A:\n    def __enter__(self):\n        return {f}({a})\n    def __exit__(self, *rest):\n        pass\nwith A():\n    pass",
    "import functools\nfunctools.partial({f}, {a})()",
    "@lambda made: {f}({a})\ndef nothing():\n    pass",
    "print(f'{{{f}({b})}}')",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    {f}({a})",
    "(made := {f})({a})",
    "print(*map(lambda n: {f}({a}), 'a'))",
    "match 1:\n    case n if {f}({a}):\n        pass",
    "async def go():\n    {f}({a})",
]
# What stands before or after to mislead whoever looks at names alone.
DISGUISES = [
    "",
    "import json as os",
    "import json as o",
    "open = print",
    "exec = print",
    "def open(*rest):\n    pass",
    "def system(*rest):\n    pass",
    "made = print",
    "os = 1",
    "class os:\n    mkdir = print",
    "for open in ():\n    pass",
]


@st.composite
def harmful(draw: st.DrawFn) -> str:
    """Make statements that change something."""
    prepare, function, arguments = draw(st.sampled_from(FUNCTIONS))
    call = draw(st.sampled_from(CALLS))
    inline = arguments.replace("'", '"') if '"' not in arguments else arguments
    filled = call.format(f=function if "{{" not in call else function.replace("'", '"'), a=arguments, b=inline)
    return f"{prepare}\n{filled}".strip()


@st.composite
def placed(draw: st.DrawFn, core: list[str]) -> str:
    """Put statements among harmless ones, some of them within others."""
    before = draw(st.lists(st.sampled_from(HARMLESS), max_size=4))
    after = draw(st.lists(st.sampled_from(HARMLESS), max_size=4))
    program = "\n".join([*before, *core, *after]) or "pass"
    wrap = draw(st.sampled_from(["{}", "if True:\n{}", "def main():\n{}\nmain()", "try:\n{}\nfinally:\n    pass"]))
    return program if wrap == "{}" else wrap.format(textwrap.indent(program, "    "))


def command(program: str) -> str:
    return f"python3 <<'END'\n{program}\nEND\n"


@settings(max_examples=200, deadline=None)
@given(placed([]))
def test_harmless_programs_are_safe(program: str) -> None:
    """The control: what stands around the harm is not what makes a program unsafe."""
    assert tier(command(program)) == "safe"


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_no_harm_is_called_safe(data: st.DataObject) -> None:
    core = [data.draw(st.sampled_from(DISGUISES)), data.draw(harmful()), data.draw(st.sampled_from(DISGUISES))]
    program = data.draw(placed([part for part in core if part]))
    try:
        compile(program, "program", "exec")
    except SyntaxError:
        return  # `f'{open("a")}'` within quotes of its own kind is none before Python 3.12
    assert tier(command(program)) != "safe", program
