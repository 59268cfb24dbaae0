# ruff: noqa: E501 -- tables of commands, a row a line
"""What a command is predicted to touch."""

from __future__ import annotations

import pytest

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Access, Certainty, HostKind, Span


def touched(command: str, facts: StaticFacts, access: str) -> dict[str, str]:
    return {
        effect.path: effect.certainty.value
        for effect in analyse(command, facts).effects.paths
        if effect.access == access
    }


GIT_LOOKS = {
    "/etc/gitconfig": "literal",
    "/home/user/.gitconfig": "literal",
    "/home/user/.config/git": "under",
    "/work/project/.git": "under",
}


@pytest.mark.parametrize(
    ("command", "access", "expected"),
    [
        ("cat notes.txt", "read", {"/work/project/notes.txt": "literal"}),
        ("cat ../x /etc/hosts", "read", {"/work/x": "literal", "/etc/hosts": "literal"}),
        ("cat ~/a", "read", {"/home/user/a": "literal"}),
        ("cat $HOME/a", "read", {"/home/user/a": "literal"}),
        ("d=src; cat $d/a.c", "read", {"/work/project/src/a.c": "literal"}),
        ("cd src && cat a.c", "read", {"/work/project/src": "literal", "/work/project/src/a.c": "literal"}),
        ("(cd src); cat a.c", "read", {"/work/project/src": "literal", "/work/project/a.c": "literal"}),
        ("cat src/*.c", "read", {"/work/project/src/*.c": "pattern"}),
        ("cat a{1,2}", "read", {"/work/project/a1": "literal", "/work/project/a2": "literal"}),
        ("grep x -r src", "read", {"/work/project/src": "under"}),
        ("sort < notes.txt", "read", {"/work/project/notes.txt": "literal"}),
        ("echo x > new", "create", {"/work/project/new": "literal"}),
        ("echo x > notes.txt", "write", {"/work/project/notes.txt": "literal"}),
        ("echo x >> notes.txt", "append", {"/work/project/notes.txt": "literal"}),
        ("cp a src", "write", {"/work/project/src/a": "literal"}),
        ("cp a b", "write", {"/work/project/b": "literal"}),
        ("mv a b", "delete", {"/work/project/a": "literal"}),
        ("mv a b", "write", {"/work/project/b": "literal"}),
        ("rm notes.txt", "delete", {"/work/project/notes.txt": "literal"}),
        ("rm -r src", "delete", {"/work/project/src": "under"}),
        ("mkdir -p x/y", "create", {"/work/project/x": "literal", "/work/project/x/y": "literal"}),
        ("sed -i s/a/b/ notes.txt", "write", {"/work/project/notes.txt": "literal"}),
        ("tee a b", "create", {"/work/project/a": "literal", "/work/project/b": "literal"}),
        ("sort -o out notes.txt", "write", {"/work/project/out": "literal"}),
        ("tar xf a.tar -C src", "write", {"/work/project/src": "under"}),
        ("tar cf out.tar src", "write", {"/work/project/out.tar": "literal"}),
        ("dd if=a of=b", "write", {"/work/project/b": "literal"}),
        ("curl -o page https://example.org", "write", {"/work/project/page": "literal"}),
        ("for f in a b; do touch $f.x; done", "write", {"/work/project/a.x": "literal", "/work/project/b.x": "literal"}),
        ("make", "write", {"/work/project": "under"}),
        ("cd src && make", "write", {"/work/project": "under"}),
        ("./unknown", "write", {"/work/project": "under"}),
        ("touch src/$X", "write", {"/work/project/src": "unknown"}),
        ("touch $X", "write", {"/work/project": "unknown"}),
        ("touch /$X", "write", {"/": "unknown"}),
        ("touch /var$X", "write", {"/": "unknown"}),
        ("touch /$X/y", "write", {"/": "unknown"}),
        ("touch ../../$X", "write", {"/": "unknown"}),
        ("rm /$X", "delete", {"/": "unknown"}),
        ("git commit -m x", "write", {"/work/project/.git": "under"}),
        ("git reset --hard", "write", {"/work/project": "under", "/work/project/.git": "under"}),
        ("git checkout -- src", "write", {"/work/project/src": "under", "/work/project/.git": "under"}),
        ("git checkout main", "write", {"/work/project": "under", "/work/project/.git": "under"}),
        ("git checkout -b new", "write", {"/work/project/.git": "under"}),
        ("git restore --staged src", "write", {"/work/project/.git": "under"}),
        ("git restore src", "write", {"/work/project/src": "under", "/work/project/.git": "under"}),
        ("git rm --cached notes.txt", "write", {"/work/project/.git": "under"}),
        ("git format-patch -o out main", "write", {"/work/project/out": "under"}),
        ("git status", "read", GIT_LOOKS | {"/work/project": "under"}),
        ("git diff --cached", "read", GIT_LOOKS),
        ("tar xf a.tar x -C src", "write", {"/work/project": "under", "/work/project/src": "under"}),
        ("split -l 5 notes.txt part", "write", {"/work/project/part*": "pattern"}),
        ("split -l 5 notes.txt", "write", {"/work/project/x*": "pattern"}),
        ("csplit -f part notes.txt 3", "write", {"/work/project/part*": "pattern"}),
        ("mktemp", "write", {}),
        ("mktemp src/tmp.XXXX", "create", {"/work/project/src/tmp.*": "pattern"}),
        ("TMPDIR=src mktemp", "write", {"/work/project/src": "under"}),
        ("mktemp; perl x.pl", "write", {"/work/project": "under"}),
        ("gcc -c src/a.c", "write", {"/work/project/a.o": "literal"}),
        ("gcc src/a.c src/b.c", "write", {"/work/project/a.out": "literal"}),
        ("gcc -MMD -c src/a.c -o out/a.o", "write",
         {"/work/project/out/a.o": "literal", "/work/project/out/a.d": "literal"}),
        ("gcc -MMD -MF a.dep -c src/a.c", "write", {"/work/project/a.o": "literal", "/work/project/a.dep": "literal"}),
        ("gcc -I include -c src/a.c", "read",
         {"/work/project/src/a.c": "literal", "/work/project/src": "under", "/work/project/include": "under"}),
        ("gcc -save-temps -c src/a.c", "write", {"/work/project": "under"}),
        ("gcc $FILES", "write", {"/work/project": "under"}),
        ("printf 'x\\ny\\n' | xargs touch", "write", {"/work/project/x": "literal", "/work/project/y": "literal"}),
        ("echo x | xargs -I{} touch src/{}", "write", {"/work/project/src/x": "literal"}),
        ("echo x | xargs -n1 touch", "write", {"/work/project/x": "literal"}),
        ("grep -rl x src | xargs touch", "write", {"/work/project/src": "unknown"}),
        ("grep -l x src/*.c | xargs touch", "write", {"/work/project/src": "unknown"}),
        ("grep -r x src | xargs touch", "write", {"/work/project": "unknown"}),
        ("ls src/*.c | xargs touch", "write", {"/work/project/src": "unknown"}),
        ("ls src | xargs touch", "write", {"/work/project": "unknown"}),
        ("t=$(mktemp -p src); echo x > $t", "write", {"/work/project/src/tmp.*": "pattern"}),
        ("perl -ne print notes.txt", "read", {"/work/project/notes.txt": "literal"}),
        ("cat $X", "read", {"/work/project": "unknown"}),
        ("cat /$X", "read", {"/": "unknown"}),
        ("stat src", "read", {"/work/project/src": "literal"}),
        ("sleep 9 & kill $!", "write", {}),
        ("rm -rf src/*", "delete", {"/work/project/src/*": "pattern"}),
        ("grep -r x *", "read", {"/work/project/*": "pattern", "/work/project/src": "under"}),
        ("chmod -R u+x s*", "write", {"/work/project/s*": "pattern", "/work/project/src": "under"}),
        ("git merge-tree a b c", "write", {}),
        ("git merge-tree -X ours a b", "write", {"/work/project/.git": "under"}),
        ("git branch -m a b", "read", GIT_LOOKS),
        ("git stash drop", "write", {"/work/project/.git": "under"}),
        ("git stash", "write", {"/work/project/.git": "under", "/work/project": "under"}),
        ("git switch -c x", "write", {"/work/project/.git": "under"}),
        ("git checkout --ours notes.txt", "write",
         {"/work/project/.git": "under", "/work/project/notes.txt": "under"}),
        ("ls src", "read", {"/work/project/src": "literal", "/work/project/src/*": "pattern"}),
        ("[ -f src/x ]", "read", {"/work/project/src/x": "literal"}),
        ("find src -name x | xargs rm", "delete", {"/work/project/src/**x": "pattern"}),
        ("python3 -c 'import os; os.makedirs(\"x/y\")'", "create",
         {"/work/project/x": "literal", "/work/project/x/y": "literal"}),
        ("python3 -c 'import shutil; shutil.make_archive(\"out\", \"zip\")'", "write", {"/work/project/out.*": "pattern"}),
        ("python3 -m calendar", "write", {}),
        ("sqlite3 -readonly a.db .dump", "write", {}),
        ("npm ci", "write", {"/work/project": "under", "/home/user/.npm": "under"}),
        ("find . -name '*.o' -delete", "delete", {"/work/project/**.o": "pattern"}),
        ("ssh host 'touch /srv/x'", "write", {}),
    ],
)  # fmt: skip
def test_paths(command: str, access: str, expected: dict[str, str], facts) -> None:
    assert touched(command, facts, access) == expected


def test_symlinks_are_followed() -> None:
    facts = StaticFacts(links={"/work/project/link": "/srv/data"})
    assert touched("echo x > link/f", facts, "create") == {"/srv/data/f": "literal"}


def test_nothing_is_written_by_what_only_reads(facts) -> None:
    for command in ("ls -la", "cat notes.txt | sort | uniq", "git status", "find . -name x", "ls > /dev/null"):
        assert all(effect.access is Access.READ for effect in analyse(command, facts).effects.paths)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("kill -9 1", HostKind.PROCESS),
        ("pkill x", HostKind.PROCESS),
        ("systemctl restart x", HostKind.SERVICE),
        ("sysctl -w a=b", HostKind.KERNEL),
        ("modprobe x", HostKind.KERNEL),
        ("echo 1 > /proc/sys/vm/drop_caches", HostKind.KERNEL),
        ("ip link set x up", HostKind.NETWORK),
        ("iptables -F", HostKind.NETWORK),
        ("docker rm x", HostKind.DAEMON),
    ],
)
def test_host_effects(command: str, kind: HostKind, facts) -> None:
    assert kind in {effect.kind for effect in analyse(command, facts).effects.host}


@pytest.mark.parametrize("command", ["systemctl status x", "ip addr", "docker ps", "sysctl -a", "ps aux", "kill -l"])
def test_looking_has_no_host_effect(command: str, facts) -> None:
    assert analyse(command, facts).effects.host == ()


@pytest.mark.parametrize(
    ("command", "host", "port"),
    [
        ("curl https://example.org/x", "example.org", 443),
        ("curl http://example.org:8080/", "example.org", 8080),
        ("ssh user@example.org ls", "example.org", None),
        ("ping example.org", "example.org", None),
        ("exec 3<>/dev/tcp/example.org/80", "example.org", 80),
        ("git fetch", None, None),
    ],
)
def test_network(command: str, host: str | None, port: int | None, facts) -> None:
    assert (host, port) in {(effect.host, effect.port) for effect in analyse(command, facts).effects.network}


def test_no_network_where_none_is_meant(facts) -> None:
    for command in ("ls", "git status", "grep https://example.org notes.txt", "echo curl https://example.org"):
        assert analyse(command, facts).effects.network == ()


def test_reading_processes_is_told(facts) -> None:
    assert analyse("ps aux", facts).effects.reads_processes
    assert not analyse("ls", facts).effects.reads_processes


def test_resources_and_caches(facts) -> None:
    effects = analyse("npm ci", facts).effects
    assert effects.caches == ("/home/user/.npm",)
    assert "npm-cache:/home/user/.npm" in effects.resources
    assert "git-index:/work/project/.git" in analyse("git add x", facts).effects.resources


def test_reasons_point_into_the_text(facts) -> None:
    command = "ls; rm -rf src # done"
    reason = next(reason for reason in analyse(command, facts).reasons if reason.code == "rm-recursive")
    assert reason.span is not None
    assert command.encode()[reason.span.start : reason.span.end] == b"rm -rf src"


def test_spans_count_bytes(facts) -> None:
    command = "echo ä; touch ö"
    effect = next(effect for effect in analyse(command, facts).effects.paths if effect.access is Access.WRITE)
    assert effect.span == Span(15, 17)
    assert effect.certainty is Certainty.LITERAL


def test_benign_exits(facts) -> None:
    assert analyse("grep x notes.txt", facts).benign_exits == {0, 1}
    assert analyse("ls", facts).benign_exits == {0}


def test_priority_and_estimate(facts) -> None:
    quick, slow = analyse("ls", facts), analyse("cargo build", facts)
    assert quick.priority > slow.priority
    assert quick.estimate.seconds < slow.estimate.seconds
    assert 1 <= slow.priority <= quick.priority <= 10


def test_programs_are_listed(facts) -> None:
    assert analyse("ls | sudo nice sort; foo", facts).programs == ("ls", "sudo", "nice", "sort", "foo")
    assert analyse("ls | foo", facts).unknown_programs == ("foo",)


def test_a_file_whose_name_is_an_option(facts) -> None:
    """A pattern may match a name that begins with a dash."""
    odd = StaticFacts(files={"/work/project/-o": "file", "/work/project/a": "file"})
    assert analyse("sort *", odd).tier == "SEQUENTIAL_REQUIRED"
    assert analyse("sort *", facts).tier == "SAFE_PARALLEL"
    assert analyse("sort ./*", odd).tier == "SAFE_PARALLEL"


def test_a_program_of_the_project_is_not_the_systems(facts) -> None:
    class Shadowed(StaticFacts):
        def which(self, program: str) -> str | None:
            return f"/work/project/bin/{program}"

    assert analyse("cat notes.txt", facts).tier == "SAFE_PARALLEL"
    assert analyse("cat notes.txt", Shadowed()).tier == "SEQUENTIAL_REQUIRED"
