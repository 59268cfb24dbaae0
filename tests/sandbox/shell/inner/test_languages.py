# ruff: noqa: E501 -- tables of commands, a row a line
"""Perl, Ruby and JavaScript: calls are found where they are code, and not where they are text."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.sandbox.shell.inner.support import changed, look, tier

from cbx_sandbox.shell.inner import javascript, perl, pieces, ruby

DANGEROUS = [
    """perl -e 'system "rm -rf src"'""",
    """perl -e 'exec("rm", "-rf", "src")'""",
    """perl -e '`rm -rf src`'""",
    """perl -e 'my $x = qx{rm -rf src};'""",
    """perl -e 'open(my $f, "rm -rf src |")'""",
    """perl -e 'open(my $f, "-|", "rm", "-rf", "src")'""",
    """perl -e 'open(F, $ARGV[0])' x""",
    """perl -ne print 'rm -rf src |'""",
    """perl -MFile::Path -e 'rmtree("src")'""",
    """perl -e 'use File::Path; File::Path::remove_tree("src")'""",
    """perl -e 's/x/system("rm -rf src")/e'""",
    """perl -e 's/x/$y/ee'""",
    """perl -e 'eval $ARGV[0]' x""",
    """perl -e 'system($x)'""",
    """perl -e 'kill 9, 1'""",
    """perl -e 'do "./x.pl"'""",
    """perl '-Mstrict; system("rm -rf src")' -e 1""",
    """perl <<'E'\nsystem("rm -rf src");\nE""",
    """ruby -e 'system("rm -rf src")'""",
    """ruby -e 'Kernel.system "rm -rf src"'""",
    """ruby -e '%x(rm -rf src)'""",
    """ruby -e 'puts "a #{`rm -rf src`} b"'""",
    """ruby -e 'IO.popen(["rm", "-rf", "src"])'""",
    """ruby -e 'open("|rm -rf src")'""",
    """ruby -e 'require "fileutils"; FileUtils.rm_rf "src"'""",
    """ruby -e 'Process.kill(9, 1)'""",
    """ruby -e 'eval ARGV[0]' x""",
    """node -e 'require("child_process").execSync("rm -rf src")'""",
    """node -e 'const {exec} = require("child_process"); exec("rm -rf src")'""",
    """node -e 'require("child_process").spawnSync("rm", ["-rf", "src"])'""",
    """node -e 'require("child_process").spawn("rm -rf src", {shell: true})'""",
    """node -e 'const c = require("child_process"); c.execSync(`rm -rf ${d}`)'""",
    """node -e 'fs.rmSync("src", {recursive: true})'""",
    """node -e 'import("fs").then(f => f.promises.rm("src", {recursive: true, force: true}))'""",
    """node -e 'process.kill(1)'""",
    """node -e 'eval(process.argv[1])'""",
    """node -e 'new Function("x", "return 1")'""",
    """node -e 'require(process.argv[1])'""",
    """php -r 'system("rm -rf src");'""",
    """lua -e 'os.execute("rm -rf src")'""",
    """expect -c 'spawn rm -rf src'""",
    """osascript -e 'do shell script "rm -rf src"'""",
]
SEQUENTIAL = [
    """perl -e 'print "system rm -rf /"; # system("rm -rf src")'""",
    """perl -ne 'print if /system|exec/' notes.txt""",
    """perl -pe 's/rmtree/unlink/g' notes.txt""",
    """perl -e 'eval { die }; print 1'""",
    """perl -e 'print q(rm -rf `x`), qq{exec "y"}'""",
    """perl -e 'my $n = $#list; print $n'""",
    """ruby -e 'puts "FileUtils.rm_rf"'""",
    """ruby -e 'puts [1, 2].delete(1) # system("x")'""",
    """ruby -e 'puts %w(system exec)'""",
    """node -e 'console.log("rmSync", "eval(x)") // execSync("x")'""",
    """node -e 'console.log(/system["]/.exec("x"))'""",
    """node -e '/* rmSync("x") */ console.log(1 / 2 / 3)'""",
    """node -p 'process.version'""",
    """deno eval 'console.log(1)'""",
]


@pytest.mark.parametrize("command", DANGEROUS)
def test_code_that_destroys_is_isolated(command: str) -> None:
    assert tier(command) == "dangerous", look(command).reasons


@pytest.mark.parametrize("command", SEQUENTIAL)
def test_text_about_it_is_not(command: str) -> None:
    assert tier(command) == "sequential", look(command).reasons


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("perl -pi -e 's/a/b/' f", {"/work/project/f": "literal"}),
        ("perl -i.bak -pe 's/a/b/' d/f", {"/work/project/d/f": "literal", "/work/project/d/f.bak": "literal"}),
        ('perl -e \'unlink "a", "/srv/b"\'', {"/work/project/a": "literal", "/srv/b": "literal"}),
        ('perl -e \'rename "a", "/srv/b"\'', {"/work/project/a": "literal", "/srv/b": "literal"}),
        ('perl -e \'open(F, ">", "/srv/x")\'', {"/srv/x": "literal"}),
        ("perl -e 'open F, \">>/srv/x\"'", {"/srv/x": "literal"}),
        ('perl -e \'open(F, "<", "/srv/x")\'', {}),
        ("ruby -e 'File.write(\"/srv/x\", 1)'", {"/srv/x": "literal", "/work/project": "under"}),
        ('ruby -e \'File.open("/srv/x", "w") { }\'', {"/srv/x": "literal", "/work/project": "under"}),
        ("ruby -e 'File.open(\"/srv/x\") { }'", {"/work/project": "under"}),
        ("node -e 'fs.writeFileSync(\"/srv/x\", y)'", {"/srv/x": "literal", "/work/project": "under"}),
        ("node -e 'fs.copyFileSync(\"a\", `/srv/${x}`)'", {"/srv": "unknown", "/work/project": "under"}),
    ],
)
def test_what_is_written_is_named(command: str, paths: dict[str, str]) -> None:
    assert changed(look(command)) == paths


@pytest.mark.parametrize(
    "command",
    [
        "node -e 'fetch(\"https://example.org/x\")'",
        "ruby -e 'URI.open(\"https://example.org/x\")'",
        "perl -e 'use LWP::Simple \"https://example.org\"'",
    ],
)
def test_where_it_connects_is_told(command: str) -> None:
    assert {effect.host for effect in look(command).effects.network} == {"example.org"}


def test_scripts_in_these_languages_are_read() -> None:
    files = {
        "r.rb": "#!/usr/bin/env ruby\nsystem('rm -rf src')\n",
        "r.js": "#!/usr/bin/env node\nrequire('fs').rmSync('src', {recursive: true})\n",
        "r.pl": "#!/usr/bin/perl -w\nunlink '/srv/x';\n",
    }
    assert tier("./r.rb", files) == tier("ruby r.rb", files) == "dangerous"
    assert tier("./r.js", files) == tier("node r.js", files) == "dangerous"
    assert changed(look("./r.pl", files)) == {"/srv/x": "literal"}


# What one pattern would read again from each of its places: read so, some of these take minutes.
REPEATED = [
    ("expect -c", "\n"),
    ("expect -c", " \n"),
    ("php -r", "qx{"),
    ("php -r", "rd -"),
    ("lua -e", "del x -x "),
    ("dc -e", "[! "),
    ("R -e", "unlink(recursive "),
]


@pytest.mark.parametrize(("program", "repeated"), REPEATED)
def test_a_text_is_read_in_time_in_proportion_to_its_length(program: str, repeated: str) -> None:
    many = repeated * (200_000 // len(repeated))
    assert tier(f"{program} '{many}'") != "safe"
    assert tier(f"{program} '{many};\nsystem(\"rm -rf src\")'") == "dangerous"


def test_blanks_after_a_name_are_read_once() -> None:
    blanks = " " * 200_000
    assert tier(f"php -r 'system{blanks}'") == "dangerous"  # what it starts is not said
    assert tier(f"php -r 'system{blanks}({blanks}\"ls\");'") == "sequential"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([perl.LANGUAGE, ruby.LANGUAGE, javascript.LANGUAGE]),
    st.lists(
        st.sampled_from(["q", "s", "/", "{", "}", "(", ")", "'", '"', "`", "#{", "${", "%", "x", "$y", "\\", "\n", "e", " ", "=", "#", "//", "/*", "tr", ";", ","]),
        max_size=30,
    ).map("".join),
)  # fmt: skip
@example(perl.LANGUAGE, "s{q}")
def test_every_text_comes_apart_or_is_said_not_to(language: pieces.Language, text: str) -> None:
    try:
        pieces.calls(pieces.tokens(text, language))
    except pieces.Unreadable:
        return


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\0"), max_size=60))
def test_no_text_in_these_languages_is_safe(text: str) -> None:
    for program in ("perl -e", "ruby -e", "node -e", "php -r"):
        assert tier(f"{program} {shlex.quote(text)}") != "safe"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(['print "system";', "my $x = 1;", "# exec\n", "print q(`rm`);", "s/a/b/;", "if (1) { print 2 }"]), max_size=5),
    st.sampled_from(['system("rm -rf src");', "`rm -rf src`;", 'exec "rm -rf src";', 'use File::Path; rmtree("src");']),
    st.lists(st.sampled_from(['print "x";', "my @y = (1, 2);", "# system\n"]), max_size=5),
)  # fmt: skip
def test_harm_among_harmless_statements_is_found(before: list[str], harm: str, after: list[str]) -> None:
    assert tier(f"perl -e {shlex.quote(' '.join([*before, harm, *after]))}") == "dangerous"
