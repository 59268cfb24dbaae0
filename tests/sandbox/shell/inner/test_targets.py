# ruff: noqa: E501 -- tables of commands, a row a line
"""Names that stand for commands: targets of a makefile, scripts of a package, recipes, environments."""

from __future__ import annotations

import pytest
from tests.sandbox.shell.inner.support import changed, look, tier

MAKEFILE = """\
CC = gcc
CFLAGS ?= -O2
SRC = $(wildcard *.c)
OBJECTS = $(SRC:.c=.o)
PREFIX := /usr/local
include config.mk
-include $(OBJECTS:.o=.d)

.PHONY: all clean
all: prog  # the default
prog: $(OBJECTS)
\t$(CC) $(CFLAGS) -o $@ $^
%.o: %.c
\t@$(CC) -c $< -o $@
clean:
\t-rm -f prog *.o
distclean: clean
\trm -rf build
install: all
\tinstall -m755 prog $(DESTDIR)$(PREFIX)/bin
sub:
\t$(MAKE) -C sub
version:
\techo $(shell git rev-parse HEAD)
destroys:
\techo $(shell rm -rf src)
loop:
\tfor i in a b; do \\
\t  echo $$i; \\
\tdone
pipe:
\tcurl -s https://example.org/x | sh
self:
\t$(MAKE) self
tool:
\t$(TOOL) --version
both: ; echo one
define TWO
rm -rf
endef
canned:
\t$(TWO) src
cd:
\tcd sub && touch x
\ttouch y
lists: $(addprefix gen/,a b)
gen/%:
\ttouch /srv/$*
"""
FILES = {
    "Makefile": MAKEFILE,
    "config.mk": "EXTRA = 1\n",
    "a.c": "",
    "sub/Makefile": "all:\n\trm -rf /home\n",
    "computed/Makefile": "all:\n\tls\n$(foreach t,a b,$(eval $(call rule,$t)))\n",
    "includes/Makefile": "include nothing.mk\nall:\n\tls\n",
    "shell/Makefile": "SHELL = /usr/bin/python3\nall:\n\timport os\n",
    "path/Makefile": "export PATH := ./bin:$(PATH)\nall:\n\tls\n",
    "branch/Makefile": "ifdef X\nD = rm -rf\nelse\nD = ls\nendif\nall:\n\t$(D) src\n",
    "cycle/Makefile": "a: b\n\tls\nb: a\n\tls\n",
    "odd/Makefile": "all:\n\tls $(unended\n",
    "package.json": """{"scripts": {
        "build": "tsc -p .", "prebuild": "npm run clean", "clean": "rm -rf dist", "lint": "eslint .", "test": "jest",
        "hello": "echo hello", "list": "ls", "again": "npm run again", "out": "echo x > /srv/out"}}""",
    "hooks/package.json": '{"scripts": {"postinstall": "rm -rf ../other"}}',
    "broken/package.json": '{"scripts": {"test": ',
    "list/package.json": '{"scripts": ["rm -rf x"]}',
    "justfile": """\
dist := 'build'
default: lint
lint:
    ruff check .
clean:
    rm -rf {{dist}}
all: lint clean
write where='/srv/x':
    touch {{where}}
python:
    #!/usr/bin/env python3
    import shutil
    shutil.rmtree('x')
perl:
    #!/usr/bin/perl
    1;
alias c := clean
now := `rm -rf src`
""",
    "shelled/justfile": "set shell := ['python3', '-c']\na:\n    ls\n",
    "imports/justfile": "import 'other.just'\na:\n    ls\n",
    "tox.ini": "[tox]\nenvlist = py\n[testenv]\ncommands =\n    pytest {posargs}\n    coverage report\n[testenv:clean]\ncommands = rm -rf build\n",
    "fine/tox.ini": "[testenv]\ncommands = pytest -q {toxinidir}/tests\n",
    "torn/tox.ini": "commands = pytest\n",
}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("make", "conditional"),
        ("make all -j4", "conditional"),
        ("make version", "conditional"),
        ("make loop", "conditional"),
        ("make both", "conditional"),
        ("make --version", "safe"),
        ("make clean", "sequential"),
        ("make install", "sequential"),
        ("make cd", "sequential"),
        ("make tool", "sequential"),
        ("make self", "conditional"),
        ("make distclean", "dangerous"),
        ("make sub", "dangerous"),
        ("make -C sub", "dangerous"),
        ("cd sub && make", "dangerous"),
        ("make -f sub/Makefile", "dangerous"),
        ("make destroys", "dangerous"),
        ("make pipe", "dangerous"),
        ("make canned", "dangerous"),
        ("make all distclean", "dangerous"),
        ("make EXTRA=2 distclean", "dangerous"),
        ("make CC='rm -rf src;' all", "dangerous"),
        ("make -C computed", "sequential"),
        ("make -C includes", "sequential"),
        ("make -C shell", "sequential"),
        ("make -C path", "sequential"),
        ("make -C branch", "dangerous"),
        ("make -C cycle a", "conditional"),
        ("make -C odd", "sequential"),
        ("make -C nowhere", "conditional"),
        ("npm run lint", "conditional"),
        ("npm test", "conditional"),
        ("npm run hello", "conditional"),
        ("npm run again", "conditional"),
        ("npm run nothing", "conditional"),
        ("npm run out", "sequential"),
        ("npm run clean", "dangerous"),
        ("npm run build", "dangerous"),
        ("npm run list -- '; rm -rf src'", "conditional"),
        ("yarn clean", "dangerous"),
        ("yarn run clean", "dangerous"),
        ("pnpm run clean", "dangerous"),
        ("pnpm lint", "conditional"),
        ("bun run clean", "dangerous"),
        ("npm install && npm run clean", "dangerous"),
        ("cd hooks && npm ci", "dangerous"),
        ("cd hooks && npm ls", "safe"),
        ("cd broken && npm test", "conditional"),
        ("cd list && npm test", "conditional"),
        ("just", "dangerous"),  # a variable that every recipe computes
        ("cd shelled && just a", "sequential"),
        ("cd imports && just a", "sequential"),
        ("just perl", "dangerous"),
        ("just --list", "conditional"),
        ("tox", "dangerous"),
        ("tox -e py", "conditional"),
        ("tox -e clean", "dangerous"),
        ("cd fine && tox", "conditional"),
        ("cd torn && tox", "sequential"),
    ],
)
def test_a_target_is_what_it_stands_for(command: str, expected: str) -> None:
    assert tier(command, FILES) == expected, look(command, FILES).reasons


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("just", "conditional"),
        ("just lint", "conditional"),
        ("just write", "sequential"),
        ("just clean", "dangerous"),
        ("just c", "dangerous"),
        ("just all", "dangerous"),
        ("just python", "dangerous"),
        ("just lint clean", "dangerous"),
        ("just dist=x lint", "conditional"),
        ("just perl", "sequential"),
        ("just nothing", "sequential"),
        ("cd sub && just clean", "dangerous"),
    ],
)
def test_recipes(recipe: str, expected: str) -> None:
    text = FILES["justfile"].partition("now :=")[0]
    assert tier(recipe, {**FILES, "justfile": text}) == expected


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("make install", {"/usr/local/bin": "literal"}),
        ("make install DESTDIR=/srv/stage", {"/srv/stage/usr/local/bin": "literal"}),
        ("make PREFIX=/opt install", {"/opt/bin": "literal"}),
        ("make cd", {"/work/project/sub/x": "literal", "/work/project/y": "literal"}),
        ("make lists", {"/srv/a": "literal", "/srv/b": "literal"}),
        ("make all", {"/work/project/a.o": "literal"}),
        ("npm run out", {"/srv/out": "literal"}),
        ("just write /opt/x", {"/opt/x": "literal"}),
        ("just write", {"/srv/x": "literal"}),
    ],
)
def test_what_is_written_is_named(command: str, paths: dict[str, str]) -> None:
    assert paths.items() <= changed(look(command, FILES)).items()


def test_a_program_that_the_packages_replace_is_not_the_systems() -> None:
    assert tier("npm run list", {**FILES, "node_modules/.bin/ls": ""}) == "sequential"
    assert tier("npm run list", FILES) == "conditional"


def test_the_directory_of_make_is_its_own() -> None:
    assert "/work/project/x" in changed(look("make -C sub; touch x", FILES))
