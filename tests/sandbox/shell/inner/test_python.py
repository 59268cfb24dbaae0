"""Python that is given as text: what opens, starts and deletes, under whichever name."""

from __future__ import annotations

import pytest
from tests.sandbox.shell.inner.support import changed, look, read, tier

SAFE = [
    "import json, sys; print(json.load(open('a.json'))['x'])",
    "import json, sys; json.dump([1], sys.stdout)",
    "from pathlib import Path\nfor p in sorted(Path('src').rglob('*.py')):\n    print(p, len(p.read_text()))",
    "import csv, sys; w = csv.writer(sys.stdout); [w.writerow(r) for r in csv.reader(open('a.csv'))]",
    "import os; print(os.path.join(os.getcwd(), 'x'), os.environ.get('HOME'))",
    "import os\nfor d, _, files in os.walk('.'):\n    for f in files: print(os.path.getsize(os.path.join(d, f)))",
    "import re, collections; print(collections.Counter(re.findall('a', open('x').read())).most_common(3))",
    "import datetime; print(datetime.datetime.now().replace(microsecond=0).isoformat())",
    "print('a.b'.replace('.', '/'))",
    "import sys; print(sys.path); sys.stdout.write('x')",
    "import sys\nfor line in sys.stdin: print(line.strip())",
    "import argparse; p = argparse.ArgumentParser(); p.add_argument('-x'); print(p.parse_args([]).x)",
    "with open('a') as f, open('b', encoding='utf-8') as g: print(f.read() == g.read())",
    "import io; b = io.StringIO(); b.write('x'); print(b.getvalue())",
    "import zipfile; print(zipfile.ZipFile('a.zip').namelist())",
    "import tarfile; print(tarfile.open('a.tgz', 'r:gz').getnames())",
    "import gzip; print(gzip.open('a.gz', 'rt').read())",
    "from xml.etree import ElementTree as ET; print(ET.parse('a.xml').getroot().tag)",
    "from urllib import parse; print(parse.quote('a b'))",
    "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))",
    "import os as o; p = o.path; print(p.exists('x'))",
    "print(eval('1 + 1'))",
    "getattr([], 'append')(1)",
    "open('/dev/null', 'w').write('x'); open(1, 'w').write('x'); open('/dev/stderr', 'w')",
    "import importlib.metadata as m; print(m.version('pip'))",
    "x = {}; y = x.copy()\nmatch y:\n    case {'a': b}: print(b)",
]
NOT_SAFE = [
    "f = open; print('x', file=f('x', 'w'))",
    "list(map(open, ['x'], ['w']))",
    "def f(open): pass\nopen('x', 'w')",
    "import os as x; x.mkdir('d'); import json as x",
    "import json as x; import os as x; x.mkdir('d')",
    "o = __import__('os'); o.mkdir('d')",
    "import os; o = os; o.remove('x')",
    "import os; (lambda m: m.mkdir('x'))(os)",
    "import os; [m.mkdir('x') for m in [os]]",
    "from os import path; (lambda p: p.os.mkdir('x'))(path)",
    "import os\nmatch os.path:\n    case object(os=o): o.mkdir('x')",
    "import argparse; argparse.FileType('w')('x')",
    "import operator, pathlib; operator.methodcaller('unlink')(pathlib.Path('x'))",
    "from pathlib import Path; Path('a').replace('b')",
    "from pathlib import Path; Path('a').rename('b')",
    "from pathlib import Path; list(map(Path.unlink, [Path('x')]))",
    "from pathlib import Path; Path('a').open('w')",
    "import io; io.open('x', 'a')",
    "import io; io.FileIO('x', 'w')",
    "import gzip; gzip.open('x.gz', 'wb')",
    "import zipfile; zipfile.ZipFile('a.zip').extractall()",
    "import zipfile; zipfile.ZipFile('a.zip', 'w')",
    "import xml.etree.ElementTree as E; E.parse('a').write('b')",
    "import enum; (lambda m: m.eval('1'))(enum.bltns)",
    "import logging; logging.basicConfig(filename='x.log')",
    "import logging; logging.FileHandler('x.log')",
    'import typing\ndef f(x: \'__import__("os").mkdir("d")\'): pass\ntyping.get_type_hints(f)',
    "import functools\n@functools.singledispatch\ndef f(x): pass",
    "import sys; sys.path.insert(0, 'x'); import json",
    "import sys; p = sys.path; p.append('x'); import json",
    "import tempfile; tempfile.mkstemp()",
    "import socket; socket.create_connection(('a', 1))",
    "import ctypes; ctypes.CDLL(None)",
    "import pickle; pickle.load(open('x', 'rb'))",
    "import os; os.write(9, b'x')",
    "import os; os.open('x', os.O_RDWR | os.O_CREAT)",
    "import subprocess; subprocess.run(['ls'])",
    "setattr(print, 'x', 1)",
    "exec('import os'); os.mkdir('d')",
    "exec('o = __import__(\"os\")'); o = 0 or o; o.mkdir('x')",
    "import traceback\nfor f, _ in traceback.walk_stack(None): f.f_globals['x']",
    "class A:\n    def __init__(self): self.__class__.__bases__",
    "import json; f(json)",
    "from json import *",
    "import a_package_of_the_project",
    "import a.b",
    "open('x', *['w'])",
    "open('x', **{'mode': 'w'})",
    "m = 'r'; m = 'w'; open('x', m)",
    "open('x', 'r', opener=lambda p, f: 0)",
    "(x := open)('x', 'w')",
]
DANGEROUS = [
    "import os; os.system('rm -rf src')",
    "__import__('os').system('rm -rf src')",
    "import os; getattr(os, 'system')('rm -rf src')",
    "from importlib import import_module; import_module('os').system('rm -rf src')",
    "from os import system as s; s('rm -rf src')",
    "import os; s = os.system; s('rm -rf src')",
    "import os; c = 'rm -rf '; os.system(c + 'src')",
    "import os; d = 'src'; os.system(f'rm -rf {d}')",
    "import os; os.system(input())",
    "import os; list(map(os.system, ['rm -rf src']))",
    "import subprocess as s; s.run(['rm', '-rf', 'src'])",
    "from subprocess import run; a = ['rm', '-rf', 'src']; run(a)",
    "import subprocess; subprocess.run(['sh', '-c', 'rm -rf src'])",
    "import subprocess; subprocess.check_output('rm -rf src', shell=True)",
    "import subprocess, sys; subprocess.Popen(sys.argv[1:])",
    "import subprocess; subprocess.run(['x'], executable='/bin/rm')",
    "import os; os.execvp('rm', ['rm', '-rf', 'src'])",
    "import os; os.execl('/bin/rm', 'rm', '-rf', 'src')",
    "import os; os.spawnlp(os.P_WAIT, 'rm', 'rm', '-rf', 'src')",
    "import shutil; shutil.rmtree('src')",
    "from shutil import rmtree as r; r('src')",
    "import os; os.kill(1, 9)",
    "import os; os.fork()",
    "open('/dev/sda', 'wb').write(b'')",
    "from pathlib import Path; Path('/etc/passwd').write_text('')",
    "exec('import os; os.system(\"rm -rf src\")')",
    "exec(input())",
    "eval(compile(open('/nowhere').read(), 'x', 'exec'))",
    "import base64; exec(base64.b64decode('eA=='))",
    "f = exec; f('1')",
]


def command(program: str) -> str:
    return f"python3 <<'E'\n{program}\nE"


@pytest.mark.parametrize("program", SAFE)
def test_what_only_computes_and_reads_is_safe(program: str) -> None:
    assert tier(command(program)) == "safe", look(command(program)).reasons


@pytest.mark.parametrize("program", NOT_SAFE)
def test_what_may_change_something_is_not(program: str) -> None:
    assert tier(command(program)) != "safe"


@pytest.mark.parametrize("program", DANGEROUS)
def test_what_destroys_or_executes_unknown_text_is_isolated(program: str) -> None:
    assert tier(command(program)) == "dangerous", look(command(program)).reasons


@pytest.mark.parametrize(
    ("program", "paths"),
    [
        ("open('out', 'w')", {"/work/project/out": "literal"}),
        ("with open('/srv/x', mode='a') as f: f.write('')", {"/srv/x": "literal"}),
        ("d = '/srv'; open(d + '/x', 'w')", {"/srv/x": "literal"}),
        ("import os; open(os.path.join('/srv', 'a', 'b'), 'w')", {"/srv/a/b": "literal"}),
        ("from pathlib import Path; b = Path('/srv'); (b / 'x').write_text('')", {"/srv/x": "literal"}),
        ("from pathlib import Path; (Path.home() / 'x').touch()", {"/home/user/x": "literal"}),
        ("from pathlib import Path; Path('/srv/a/b').parent.mkdir()", {"/srv/a": "literal"}),
        ("import os; open(os.path.expanduser('~/x'), 'w')", {"/home/user/x": "literal"}),
        ("import os; open(os.environ['HOME'] + '/x', 'w')", {"/home/user/x": "literal"}),
        ("for n in ('a', 'b'): open(f'/srv/{n}', 'w')", {"/srv/a": "literal", "/srv/b": "literal"}),
        ("open('/srv/a' if input() else '/srv/b', 'w')", {"/srv/a": "literal", "/srv/b": "literal"}),
        ("import sys; open('/srv/' + sys.argv[1], 'w')", {"/srv": "unknown"}),
        ("import sys; open(sys.argv[1], 'w')", {"/work/project": "unknown"}),
        ("x = '/srv/x'; x += 'y'; open(x, 'w')", {"/srv/x": "literal", "/work/project": "unknown"}),
        ("import os; os.chdir('/srv'); open('x', 'w')", {"/work/project": "unknown"}),
        ("import os; os.rename('a', '/srv/b')", {"/work/project/a": "literal", "/srv/b": "literal"}),
        ("import shutil; shutil.copy('a', '/srv/b')", {"/srv/b": "under"}),
        ("import subprocess; subprocess.run(['touch', 'x'], cwd='/srv')", {"/srv/x": "literal"}),
    ],
)  # fmt: skip
def test_what_is_written_is_named(program: str, paths: dict[str, str]) -> None:
    assert changed(look(command(program))) == paths


def test_what_is_read_is_named() -> None:
    program = "from pathlib import Path; print(open('a').read(), (Path('/srv') / 'b').read_text())"
    found = read(look(command(program)))
    assert {"/work/project/a", "/srv/b"} <= found
    assert {"/work/project/*.py", "/work/project/*/__init__.*"} <= found  # where it looks for modules


def test_reading_credentials_is_not_safe() -> None:
    assert tier(command("from pathlib import Path; print((Path.home() / '.ssh/id_rsa').read_text())")) == "sequential"


def test_where_it_connects_is_told() -> None:
    analysis = look(command("import urllib.request as u; u.urlopen('https://example.org/x')"))
    assert ("example.org", 443) in {(effect.host, effect.port) for effect in analysis.effects.network}


@pytest.mark.parametrize("name", ["json.py", "re.py", "enum.cpython-311-x86_64-linux-gnu.so", "decimal/__init__.py"])
def test_a_module_of_the_library_that_the_directory_replaces_is_not_trusted(name: str) -> None:
    """Python looks where it was started, or beside the script, before it looks into its library."""
    texts = {name: "", "s.py": "import json"}
    facts = {**texts, "decimal": ""} if "/" in name else texts
    assert tier("python3 -c 'import json; print(1)'", facts) == "sequential"
    assert tier("python3 s.py", facts) == "sequential"
    assert tier("python3 -I -c 'import json; print(1)'", facts) == "safe"
    assert tier("python3 -c 'import sys; print(1)'", facts) == "safe"
    assert tier("python3 -c 'import json; print(1)'", {"test.py": "", "my_json.py": ""}) == "safe"


def test_where_the_directory_is_not_known_imports_are_not() -> None:
    assert tier("cd \"$1\"; python3 -c 'import json'") == "sequential"
    assert tier("cd \"$1\"; python3 -c 'import sys'") == "safe"


def test_modules_of_the_project_are_read() -> None:
    helper = "import re\nLIMIT = 3\ndef count(text):\n    return len(re.findall('a', text))\n"
    script = "import helper\nfrom helper import count\nprint(count('a'), helper.LIMIT)\n"
    assert tier("python3 s.py", {"s.py": script, "helper.py": helper}) == "safe"
    assert tier("python3 s.py", {"s.py": script, "helper.py": helper + "open('x', 'w')"}) == "sequential"
    assert tier("python3 s.py", {"s.py": script, "helper.py": "import os\nos.system('rm -rf /')"}) == "dangerous"
    assert tier("python3 s.py", {"s.py": script}) == "sequential"
    assert tier("python3 s.py", {"s.py": "import helper; helper.os.mkdir('x')", "helper.py": "import os"}) != "safe"
    assert (
        tier("python3 s.py", {"s.py": "import helper; helper.o.mkdir('x')", "helper.py": "import os; o = os"}) != "safe"
    )
    assert (
        tier(
            "python3 s.py",
            {"s.py": "from helper import p; p.unlink()", "helper.py": "from pathlib import Path\np = Path('x')"},
        )
        != "safe"
    )


def test_what_is_compiled_by_the_way_is_predicted_where_it_can_be_written() -> None:
    texts = {"s.py": "import helper; open('x', 'w')", "helper.py": "A = 1"}
    assert changed(look("python3 s.py", texts)) == {
        "/work/project/x": "literal",
        "/work/project/__pycache__": "under",
    }
    assert changed(look("python3 s.py", {"s.py": "import helper", "helper.py": "A = 1"})) == {}


def test_a_file_that_is_executed_is_read() -> None:
    assert tier("python3 -c \"exec(open('s.py').read())\"", {"s.py": "print(1)"}) == "safe"
    assert tier("python3 -c \"exec(open('s.py').read())\"", {"s.py": "import os; os.system('rm -rf /')"}) == "dangerous"
    assert tier("python3 -c \"exec(open('s.py').read())\"") == "dangerous"


def test_names_that_lead_to_each_other_end() -> None:
    chain = "\n".join(f"a{n} = a{n + 1} + a{n + 1}; a{n} = a{n - 1}" for n in range(1, 200))
    assert tier(command(f"{chain}\nopen(a1, 'w')")) == "sequential"
    names = ",".join(f"n{n}" for n in range(40))
    tangle = "\n".join(f"n{n} = n{m}" for n in range(40) for m in range(40) if n != m)
    assert tier(command(f"{tangle}\nn1.x(({names}))")) == "sequential"


def test_a_module_that_reads_is_safe_only_where_it_is_the_librarys() -> None:
    command = "python3 -m zipfile -l a.zip"
    assert tier(command) == "safe"
    for name in ("zipfile.py", "struct.py"):
        assert tier(command, {name: ""}) == "sequential"
        assert tier(command.replace(" -m", " -I -m"), {name: ""}) == "safe"
    assert tier(f'cd "$1"; {command}') == "sequential"
    assert tier("python3 -m json.tool") == "sequential"
    assert tier("python3 -I -m json.tool", {"json.py": ""}) == "safe"
    assert tier("python3 -I -m sysconfig") == "safe"
    assert tier("python3 -I -m sysconfig --generate-posix-vars") == "sequential"
