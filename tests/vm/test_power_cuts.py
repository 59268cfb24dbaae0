"""The power of a whole machine fails while jobs are committed and undone: QEMU is killed, and its disk forgets.

What QEMU has written is safe in the host's memory when QEMU dies: no disk would lose as little. So all writes to the
disk that has the tree, the layers and the supervisor's state are recorded, and the next machine gets a disk that has
what was flushed, and of the writes after the last flush some and not others.

Each boot is the restored state of a machine that has never seen that disk, with an identifier of its own: all that a
boot has in common with the one before is what the disk kept. cbx has been warmed up in that state, which is what makes
a boot one of seconds, not of minutes.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest
from tests.crash import blocklog, faults
from tests.vm import image
from tests.vm.agent_client import GuestLost
from tests.vm.guest import Guest
from tests.vm.remote import PYTHON

pytestmark = [pytest.mark.vm, pytest.mark.timeout(5400)]

CUTS = {"ext4": 7, "xfs": 7, "btrfs": 7}  # of each file system
TREE = "/opt/cbx"
UNIT = "cbx-cut"
SETTING = "export CBX_STATE_DIR={state} CBX_RUNTIME_DIR=/run/cbx-cut PATH=/opt/venv/bin:/usr/local/bin:$PATH; "
WARM, DATA = (SETTING.format(state=state) for state in ("/var/tmp/warm", "/data/state"))
# A caller would start it, too, but not wait for as long as this may take here.
START = (
    f"systemd-run -q --collect --unit {UNIT} -p Delegate=yes -E CBX_STATE_DIR -E CBX_RUNTIME_DIR -E PATH cbx-supervisor"
    f" && until cbx-sandbox status >/dev/null 2>&1; do systemctl is-active -q {UNIT} || exit 1; sleep .2; done"
)
WARM_UP = (
    f"{START} && mkdir -p /var/tmp/tree && cd /var/tmp/tree && cbx-sandbox run -q --tier sequential --commit auto"
    f" --rw /var/tmp/tree -c 'echo a > a' && cbx-sandbox checkpoint log --json && cbx-sandbox fsck --json && "
    f"systemctl stop {UNIT}; rm -rf /var/tmp/tree /var/tmp/warm; sync"
)
DISK = "/dev/disk/by-id/virtio-cut"
PATIENCE = 600.0

# Another boot has another identifier: cbx goes by it.
BOOT = (
    "echo {boot} > /run/boot_id && mount --bind /run/boot_id /proc/sys/kernel/random/boot_id && mkdir -p /data && "
    f"{{{{ for _ in {{{{1..600}}}}; do [ -e {DISK} ] && break; sleep .05; done; }}}} && mount {DISK} /data && "
    "mkdir -p /data/tree /data/state"
)
# Version N of the tree: N in each file, and a directory that is named after it. What is acknowledged is said.
SETUP = (
    "cd /data/tree; mkdir a d0 gone; for f in $(seq 12); do echo 0 > a/$f; done; echo 0 > gone/0; ln -s 0 link; sync"
)
WORK = r"""
cd /data/tree
N=$(cat a/1)
while :; do
  M=$((N + 1))
  LINE="for f in a/*; do echo $M > \$f.new; mv \$f.new \$f; done; mv d$N d$M; rm -r gone; mkdir gone; echo $M > gone/$M"
  LINE="$LINE; ln -sfn $M link"
  cbx-sandbox run -q --tier sequential --commit auto --rw /data/tree -c "$LINE" || exit 1
  echo acknowledged
  C=$(cbx-sandbox checkpoint log --json | sed -n '1s/.*"checkpoint": \([0-9]*\).*/\1/p')
  cbx-sandbox checkpoint undo $C >/dev/null || exit 1
  echo acknowledged
  cbx-sandbox checkpoint redo $C >/dev/null || exit 1
  echo acknowledged
  N=$M
done
"""


class Cut:
    """A disk that is recorded, and the machine that it is in: from boot to power cut to boot."""

    def __init__(self, saved: Path, folder: Path, kind: str) -> None:
        self.saved = saved
        self.folder = folder
        self.disk, self.log, self.first = folder / "disk", folder / "log", folder / "first"
        self.operations = 0  # on record when the machine was last looked at
        blocklog.make(kind, str(self.disk))

    def boot(self) -> None:
        """Record from here on."""
        copy(self.disk, self.first)
        self.log.write_bytes(b"")
        self.guest = Guest(image.ensure(), saved=self.saved)
        self.guest.start()
        self._plug()
        self.sh(BOOT.format(boot=uuid.uuid4()))

    def _plug(self) -> None:
        """Put the disk into the running machine: a saved state cannot be restored with one more device."""
        for node, path in (("data", self.disk), ("log", self.log)):
            self.guest.qmp.command("blockdev-add", driver="file", **{"node-name": node, "filename": str(path)})
        self.guest.qmp.command(
            "blockdev-add", driver="blklogwrites", file="data", log="log", **{"node-name": "recorded"}
        )
        self.guest.qmp.command("device_add", driver="virtio-blk-pci", drive="recorded", serial="cut", id="cut")

    def sh(self, line: str) -> str:
        status, output = self.guest.run(DATA + line)
        assert status == 0, f"{line}: {status}\n{output}"
        return output

    def lines(self, line: str) -> list[dict]:
        return [json.loads(said) for said in self.sh(line).splitlines() if said.startswith("{")]

    def work_until_cut(self, chance: random.Random) -> int:
        """Kill the machine while it commits or undoes; how much it has acknowledged."""
        said: list[str] = []

        def listen() -> None:
            with contextlib.suppress(GuestLost):
                said.extend(message.get("out", "") for message in self.guest.stream(DATA + WORK, silence=PATIENCE))

        def acknowledged() -> int:
            return "".join(said).count("acknowledged")

        working = threading.Thread(target=listen)
        working.start()
        wanted = chance.randrange(1, 4)
        self._until(lambda: acknowledged() >= wanted, working, said)
        # In the middle of what is written for the next one or two.
        at = self.log.stat().st_size + chance.randrange(1, WRITTEN)
        self._until(lambda: self.log.stat().st_size >= at, working, said)
        self.guest.kill()
        working.join()
        self.guest.close()
        return acknowledged()

    @staticmethod
    def _until(condition, working: threading.Thread, said: list[str]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert working.is_alive(), "".join(said)
            assert time.monotonic() < end, "".join(said)
            time.sleep(0.005)

    def forget(self, chance: random.Random, *, lying: bool = False) -> str:
        """Make the disk what a power cut leaves of it: of the writes after the last flush only some are there.

        One that is ``lying`` has called flushed what it never wrote.
        """
        if lying:
            copy(self.first, self.disk)
            return "all lost"
        writes = blocklog.read(str(self.log), 1 << 62)
        since = max((index for index, write in enumerate(writes) if write.flush), default=0)
        after = [index for index in range(since, len(writes)) if writes[index].data]
        lost = frozenset(index for index in after if chance.random() < 0.5)
        with tempfile.TemporaryDirectory(dir=self.folder) as base:
            disks = blocklog.Disks(str(self.first), base, writes)
            disks.make(blocklog.Cut(len(writes), lost), str(self.disk))
        return f"{len(writes)} writes, {len(lost)} of {len(after)} lost"

    def wrong(self, acknowledged: int) -> list[str]:
        """After a boot: what is not as it should be, once the supervisor has recovered."""
        self.sh(START)
        log = self.lines("cbx-sandbox checkpoint log --json --limit 1000")
        found = []
        if len(log) < self.operations + acknowledged:
            found.append(f"{self.operations} and {acknowledged} were acknowledged, {len(log)} are on record")
        version = self.version()
        if version != (outcome(log[0]) if log else 0):
            found.append(f"the tree is {version}, and the last record {log[:1]}")
        jobs = self.lines("cbx-sandbox list --json --limit 1000")
        found += [str(job) for job in jobs if job["state"] not in {"exited", "lost"}]
        for held in self.lines("cbx-sandbox checkpoint list --json --held"):
            self.sh(f"cbx-sandbox checkpoint rollback {held['id']}")
        checked = self.lines("cbx-sandbox fsck --json")[0]
        if not checked["clean"]:
            found.append(str(checked))
        self.operations = len(log)
        self.last = log[0]["kind"] if log else "nothing"
        return found

    def version(self) -> int | str:
        """Which version the whole tree has; what is there if it has none."""
        files = self.sh("cat /data/tree/a/* /data/tree/gone/*; readlink /data/tree/link").split()
        names = self.sh("ls /data/tree/a | wc -l; ls /data/tree; ls /data/tree/gone").split()
        version = files[0]
        whole = len(set(files)) == 1 and names == ["12", "a", f"d{version}", "gone", "link", version]
        return int(version) if whole else f"torn: {files}, {names}"


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


# Bytes of the log that one commit, undo or redo makes, about.
WRITTEN = 400_000


def outcome(entry: dict) -> int:
    """The version that a line of `checkpoint log` has left."""
    made = re.search(r"echo (\d+) > gone", entry["command"])
    assert made
    return int(made[1]) - (entry["kind"] == "undo")


@pytest.fixture(scope="module")
def saved():
    """The state of a guest that has cbx, and has run it; in memory."""
    with tempfile.TemporaryDirectory(prefix="cbx-saved-", dir=faults.MEMORY) as base, image.restored() as guest:
        packed = Path(base, "tree.tar")
        source = Path(__file__).parents[2]
        pack(source, packed)
        guest.put(packed, "/root/tree.tar")
        unpack = f"mkdir {TREE} && tar -C {TREE} -xf tree.tar && {PYTHON} {TREE}/tests/vm/install.py {TREE}"
        status, output = guest.run(f"{unpack} && {WARM}{WARM_UP}")
        assert status == 0, output
        guest.save(Path(base))
        yield Path(base)


def pack(source: Path, target: Path) -> None:
    """What of the tree runs, with its bytecode: the guest takes minutes to make that, and has the same Python."""
    parts = ["sandbox", "supervisor"]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *parts], cwd=source, check=True)
    files = [*parts, "systemd", "pyproject.toml", "tests/vm/install.py"]
    subprocess.run(["tar", "-C", source, "-cf", target, *files], check=True)


@pytest.fixture
def folder():
    """In memory: the log holds all that was ever written."""
    with tempfile.TemporaryDirectory(prefix="cbx-cuts-", dir=faults.MEMORY) as path:
        yield Path(path)


@pytest.mark.usefixtures("make_guest")  # so it runs on this host
@pytest.mark.parametrize("kind", CUTS)
def test_power_cuts_during_commits_and_undos(saved, folder, kind):
    """After each boot the tree is whole and as the records say, what was acknowledged is on record, fsck is content.

    The control is a disk that has called flushed what it has lost.
    """
    chance = random.Random(f"cuts of {kind}")
    seen = []
    cut = Cut(saved, folder, kind)
    try:
        cut.boot()
        cut.sh(SETUP)
        cut.sh(START)
        for _ in range(CUTS[kind]):
            acknowledged = cut.work_until_cut(chance)
            lost = cut.forget(chance)
            cut.boot()
            wrong = cut.wrong(acknowledged)
            seen.append(f"{acknowledged} acknowledged, {lost}, then {cut.last}")
            assert wrong == []
        acknowledged = cut.work_until_cut(chance)
        cut.forget(chance, lying=True)
        cut.boot()
        assert cut.wrong(acknowledged) != []
    finally:
        cut.guest.close()
        print(f"{kind}: {len(seen)} power cuts", *seen, sep="\n  ")
    assert len(seen) == CUTS[kind]
