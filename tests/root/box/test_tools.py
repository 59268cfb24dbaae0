"""The other side of the filter: what people use keeps working, in the tier that it runs in."""

import os
import shutil
import stat

import pytest
from tests.root.box.harness import CONDITIONAL, DANGEROUS, ROOT, SEQUENTIAL, Identity, python, read

SOMEBODY = Identity(65534, 65534, (65534,), "nobody", "/")  # has an entry, which some programs want

pytestmark = pytest.mark.root

BUILD = """
cat > hello.c <<'END'
#include <pthread.h>
#include <stdio.h>
static void *run(void *text) { puts(text); return 0; }
int main(void) { pthread_t t; pthread_create(&t, 0, run, "hello"); return pthread_join(t, 0); }
END
printf 'all: a b\\na b: hello.c\\n\\tgcc -O1 -g -pthread -o $@ $<\\n' > Makefile
make -j2 && ./a && ./b
"""
LEAK = """
echo '#include <stdlib.h>
int main(void) { volatile char *p = malloc(8); p = 0; return 0; }' > leak.c
gcc -g -fsanitize=leak leak.c -o leak
if ./leak 2> report; then exit 1; fi
grep -q 'detected memory leaks' report
"""
GIT = """
export HOME=$PWD
git init -q . && git config user.name x && git config user.email x@example.org
echo one > f && git add f && git commit -qm one && git checkout -qb other && echo two > f && git commit -qam two
git checkout -q - && git merge -q other && git gc -q && git fsck && git clone -q . copy && git log --oneline | wc -l
git worktree add -q tree other~1 && git stash list && git archive HEAD | tar -t
"""
PYTHON = """
import asyncio, concurrent.futures, multiprocessing, signal, sqlite3, ssl, subprocess, tempfile, threading, uuid
async def serve():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    ran = await asyncio.create_subprocess_exec("true")
    assert await ran.wait() == 0
asyncio.run(serve())
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
with concurrent.futures.ThreadPoolExecutor(4) as threads:
    assert list(threads.map(abs, [-3])) == [3]
ssl.create_default_context(), uuid.uuid4(), sqlite3.connect(":memory:").execute("select 1")
a, b = socket.socketpair()
a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))])
os.posix_spawn("/bin/true", ["true"], {}), os.wait(), os.sched_getaffinity(0), os.getrandom(8)
os.mkfifo("fifo"), os.memfd_create("x"), os.eventfd(0), os.pidfd_open(os.getpid()), fcntl.flock(0, fcntl.LOCK_SH)
say()
"""
PERL = """
perl -MSocket -MPOSIX -e 'my $pid = fork; exit 0 unless $pid; waitpid $pid, 0; die if $?; print `echo nested`;
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; $SIG{ALRM} = sub { exit 0 }; alarm 1; pause'
"""
NODE = """
node -e '
const { Worker } = require("worker_threads"), { execFileSync } = require("child_process"), http = require("http");
let sum = 0; for (let i = 0; i < 3e6; i++) sum += Math.sqrt(i);
if (sum < 1) throw 1;
if (execFileSync("echo", ["x"]).toString() !== "x\\n") throw 1;
require("fs").watch(".").close();
new Worker("process.exit(0)", { eval: true }).on("exit", () => {
  const server = http.createServer((_, answer) => answer.end("hi")).listen(0, "127.0.0.1", () =>
    http.get({ port: server.address().port }, (r) => r.resume().on("end", () => server.close())));
});'
"""
ARCHIVE = """
mkdir from && echo x > from/a && ln -s a from/b && mkfifo from/c && ln from/a from/d
tar -cf t.tar from && mkdir to && tar -xpf t.tar -C to && cp -a from again && diff -r --no-dereference from/a again/a
find to -type p | grep -q c && sort -o sorted from/a && split -n 2 t.tar
dd if=t.tar of=o bs=1k conv=fsync status=none
"""
RSYNC = "mkdir from && echo x > from/a && rsync -aHAX from/ to && test -f to/a"
DATABASE = """
initdb -D db --no-sync
echo 'select 1' | $(dirname $(readlink -f $(which initdb)))/postgres --single -D db postgres
"""

CARGO = """
export CARGO_HOME=$PWD/cargo RUSTUP_HOME=${RUSTUP_HOME:-/root/.rustup} PATH=$PATH:/root/.cargo/bin HOME=$PWD
cargo init -q --vcs none --name hello hello && cd hello && cargo build -q --offline && ./target/debug/hello
"""
GO = """
export HOME=$PWD GOCACHE=$PWD/cache GOPATH=$PWD/path GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off
printf 'package main\nfunc main() { go println("x"); println("hello") }\n' > main.go
printf 'module hello\n' > go.mod && go build -o hello && ./hello && go vet
"""

NEEDED = {"build": BUILD, "leak checker": LEAK, "git": GIT, "perl": PERL, "archives": ARCHIVE}
# Not installed by the project: tried where they are.
PRESENT = {
    name: script
    for name, program, script in (
        ("node", "node", NODE),
        ("rsync", "rsync", RSYNC),
        ("database", "initdb", DATABASE),
        ("cargo", "cargo", CARGO),
        ("go", "go", GO),
    )
    if shutil.which(program)
}
OF_ROOT = {"cargo"} if (shutil.which("cargo") or "").startswith("/root/") else set()


def policy_for(box, tier, identity):
    """A job that may write its working directory."""
    directory = box.sacrifice()
    os.chown(directory, identity.uid, identity.gid)
    if tier is DANGEROUS:
        return box.policy(tier, identity=identity, workdir=directory)
    grants = {"direct" if tier is CONDITIONAL else "overlay": [directory]}
    return box.policy(tier, identity=identity, workdir=directory, memory=2 << 30, **grants)


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL], ids=["conditional", "sequential"])
@pytest.mark.parametrize("name", [*NEEDED, *PRESENT])
def test_tools_work_where_they_may_write(box, name, tier):
    """As a user, in a directory of their own; as root what is installed where only root can come."""
    who = ROOT if name in OF_ROOT else SOMEBODY
    ran = box.run(["sh", "-ec", (NEEDED | PRESENT)[name]], policy_for(box, tier, who))
    assert ran.code == 0, (ran.out, ran.err)


@pytest.mark.parametrize("tier", [CONDITIONAL, DANGEROUS], ids=["conditional", "dangerous"])
@pytest.mark.parametrize("identity", [ROOT, SOMEBODY], ids=["root", "user"])
def test_what_programs_are_made_of_works(box, tier, identity):
    """Threads, processes, servers on the job's own loopback, descriptors over sockets, locks, databases."""
    ran = box.run(python(PYTHON), policy_for(box, tier, identity))
    assert ran.code == 0, ran.err


READERS = {
    "search": "grep -r root /etc/passwd && find /etc/passwd | xargs cat | sort | awk -F: '{ print $1 }'",
    "who": "id && getent passwd root && date && ls -l /etc && df / && uname -a && nproc",
    "processes": "ps aux && cat /proc/self/status",
    "network": "ip address && ss -tln && getent hosts localhost",
    "git": f"git -c safe.directory='*' -C {os.getcwd()} log -1 --format=%H",
    "pipes": "seq 1000 | tee /dev/null | head -1 && diff <(echo a) <(echo a)",
    "temporary": "sort -S 1M -o $(mktemp) /etc/passwd && python3 -c 'import tempfile; tempfile.TemporaryFile()'",
}


@pytest.mark.parametrize("name", READERS)
def test_tools_work_that_only_read(box, name):
    """Without local sockets and ports they fall back to files, or do without."""
    ran = box.run(["bash", "-e", "-o", "pipefail", "-c", READERS[name]])
    assert ran.code == 0, (ran.out[-500:], ran.err)


INSTALL = """
mkdir -p /run/tmp/p/DEBIAN /run/tmp/p/usr/share/cbx-test && cd /run/tmp
echo x > p/usr/share/cbx-test/file
cd p/DEBIAN
printf 'Package: cbx-test\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\n' > control
echo 'Description: x' >> control
printf '#!/bin/sh\\nset -e\\ncd /usr/share/cbx-test\\nchown 1:1 file\\nchmod 4755 file\\n' > postinst
cd ../..
chmod 755 p/DEBIAN/postinst
dpkg-deb -b p p.deb && dpkg -i p.deb && stat -c '%u:%g %a' /usr/share/cbx-test/file && dpkg -s cbx-test
apt-get -qq -s remove cbx-test && dpkg -P cbx-test
useradd -m cbx-test && su cbx-test -c 'id -u' && userdel -r cbx-test
chroot / true && setpriv --reuid 65534 --clear-groups true
"""


def test_packages_are_installed_below_overlays(box):
    """dpkg with a maintainer's script, apt's own look at it, users, su, chroot: as root of a shifted namespace."""
    ran = box.run(["sh", "-ec", INSTALL], box.policy(DANGEROUS, memory=2 << 30))
    assert ran.code == 0, (ran.out, ran.err)
    assert "1:1 4755" in ran.out
    assert not os.path.exists("/usr/share/cbx-test")
    assert "cbx-test" not in read("/etc/passwd")


def test_what_a_filter_refuses_is_said_politely(box):
    """A program that wants what no job gets ends with its own words and status, not with a signal."""
    for argv, words in (
        (["strace", "true"], "not permitted"),
        (["unshare", "-U", "true"], "not permitted"),
        (["mount", "-t", "tmpfs", "none", "/run/tmp"], "permi"),
        (["bwrap", "--ro-bind", "/", "/", "true"], "not permitted"),
        (["hostname", "attacked"], "root"),
    ):
        ran = box.run(argv)
        assert ran.outcome["signal"] is None, argv
        assert ran.code not in {0, None}, argv
        assert words in ran.err, (argv, ran.err)


def test_a_box_s_own_fifo_and_socket_files_can_be_made(box):
    """mknod is refused for devices alone."""
    directory = box.sacrifice(mode=0o777)
    code = """
os.mknod("f", stat.S_IFIFO | 0o600)
os.mknod("s", stat.S_IFSOCK | 0o600)
os.mknod("r", stat.S_IFREG | 0o600)
say()
"""
    assert box.run(python(code), box.policy(CONDITIONAL, direct=[directory], workdir=directory)).code == 0
    kinds = {name: stat.S_IFMT(os.lstat(f"{directory}/{name}").st_mode) for name in os.listdir(directory)}
    assert kinds == {"f": stat.S_IFIFO, "s": stat.S_IFSOCK, "r": stat.S_IFREG}
