"""A guest to drive from the host: start it, run commands in it, cut its power, start it again."""

import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.vm.agent_client import AgentClient, AgentError, GuestLost, Message
from tests.vm.machine import Machine, find_virtiofsd
from tests.vm.qmp import Qmp, QmpError

COLD_BOOT = 240  # seconds, at most; 15 on an idle host
RESTORE = 60


class Guest:
    """One virtual machine on a disk of its own, laid over the image's, so whatever happens in it stays in it.

    With `saved` it starts in seconds from a state that save() wrote, the first time; after a kill() it boots cold from
    its disk, as a real machine does after a power cut. Use it as a context manager: that starts it, and leaves nothing.

        with Guest(image.ensure(), machine=Machine(bus="nvme", cache="none")) as guest:
            guest.run("echo 1 > /root/kept; sync /root/kept")
            guest.kill()
            guest.start()
            assert guest.run("cat /root/kept") == (0, "1\\n")
    """

    def __init__(self, image: Path, *, saved: Path | None = None, machine: Machine | None = None) -> None:
        if saved and machine:
            raise ValueError("a saved state belongs to the machine it was saved from")
        self.image = image
        self.machine = machine or Machine()
        # Not /tmp, which may be in memory: the disk grows there, and cache="none" wants a file system on a device.
        self.work = Path(tempfile.mkdtemp(prefix="cbx-vm-", dir=os.environ.get("TMPDIR", "/var/tmp")))
        self.disk = self.work / "disk.qcow2"
        self._state = saved / "state" if saved else None
        self._lay_disk(saved / "disk.qcow2" if saved else image / "base.qcow2")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._qmp: Qmp | None = None
        self._agent: AgentClient | None = None

    def _lay_disk(self, below: Path) -> None:
        options = ["-q", "-f", "qcow2", "-F", "qcow2", "-b", str(below.resolve())]
        subprocess.run(["qemu-img", "create", *options, str(self.disk)], check=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def qmp(self) -> Qmp:
        """QEMU's control socket, for what a test does to the machine: pause it, throttle its disk, unplug a part."""
        if self._qmp is None:
            raise GuestLost("the guest is not running")
        return self._qmp

    @property
    def agent(self) -> AgentClient:
        if self._agent is None:
            raise GuestLost("the guest is not running")
        return self._agent

    def start(self) -> None:
        """Return when the guest carries out commands; it may still be starting services, see wait_booted()."""
        for socket in ("qmp", "agent"):
            (self.work / socket).unlink(missing_ok=True)
        state, self._state = self._state, None
        self._spawn(self.machine.arguments(work=self.work, disk=self.disk, image=self.image, state=state))
        try:
            self._qmp = Qmp(self.work / "qmp")
            if state:
                while self.qmp.command("query-status")["status"] == "inmigrate":
                    time.sleep(0.01)
                self.qmp.command("cont")
            self._agent = AgentClient(self.work / "agent")
            self.agent.wait_ready(timeout=RESTORE if state else COLD_BOOT)
        except (QmpError, GuestLost) as error:
            raise GuestLost(f"the guest did not start: {error}\n{self.logs()}") from error
        if state:
            self._request("resume", 30, time=time.time(), entropy=base64.b64encode(os.urandom(64)).decode())

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        """Start a process that dies with this one: an interrupted test run must leave no machine behind."""
        with (self.work / "host.log").open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def wait_booted(self) -> None:
        """Wait until systemd has nothing more to start."""
        status, state = self.run("systemctl is-system-running --wait", timeout=COLD_BOOT)
        if status:
            raise AgentError(f"the guest is {state.strip()}: {self.run('systemctl --failed --no-legend')[1]}")

    def _request(self, op: str, silence: float, **arguments: object) -> list[Message]:
        return list(self.agent.request(op, silence=silence, **arguments))

    def stream(self, command: str | list[str], *, silence: float, **options: Any) -> Iterator[Message]:
        """Run a command and yield what it says as it says it: {"out"}, {"line"} from its channel, then {"done"}."""
        argv = ["/bin/bash", "-c", command] if isinstance(command, str) else command
        return self.agent.request("run", silence=silence, argv=argv, **options)

    def run(
        self, command: str | list[str], *, timeout: float = 300, env: dict[str, str] | None = None, cwd: str = "/root"
    ) -> tuple[int, str]:
        """Run a shell line, or an argv, as root; give its exit status and its output, both streams in one.

        What outlasts `timeout` seconds is killed and has status 124. GuestLost says that the guest itself is gone.
        """
        output, status = [], 0
        for message in self.stream(command, silence=timeout + 60, timeout=timeout, env=env or {}, cwd=cwd):
            output.append(message.get("out", ""))
            status = message.get("done", status)
        return status, "".join(output)

    def put(self, source: Path | bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file of the host's, or bytes, to a path in the guest."""
        self.agent.put(source if isinstance(source, bytes) else source.read_bytes(), path, mode=mode, timeout=60)

    def get(self, path: str) -> bytes:
        """The content of a file in the guest."""
        return self.agent.get(path, timeout=60)

    def share(self, folder: Path, path: str, *, tag: str = "src", writable: bool = False) -> None:
        """Mount a folder of the host's at a path in the guest.

        It is plugged into the running machine, because a saved state with such a device in it cannot be restored.
        Read-only unless asked otherwise: what breaks in a guest must not break the host's source tree.
        """
        socket = self.work / f"virtiofs-{tag}"
        options = ["-o", f"source={folder}", "-o", "cache=auto", "-o", "xattr"]
        server = self._spawn([str(find_virtiofsd()), f"--socket-path={socket}", *options])
        while not socket.exists():
            if server.poll() is not None:
                raise AgentError(f"cannot share {folder}: {self.logs()}")
            time.sleep(0.01)
        address = {"type": "unix", "data": {"path": str(socket)}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        self.qmp.command("chardev-add", id=f"chardev-{tag}", backend=backend)
        self.qmp.command("device_add", driver="vhost-user-fs-pci", id=tag, chardev=f"chardev-{tag}", tag=tag)
        mount = f"mount -t virtiofs -o {'rw' if writable else 'ro'} {tag} {path}"
        # The device turns up in the guest a moment after QEMU has it.
        status, output = self.run(
            f"mkdir -p {path}; for _ in {{1..200}}; do {mount} 2>&1 && exit; sleep .05; done; exit 1"
        )
        if status:
            raise AgentError(f"cannot mount {folder} in the guest: {output[-500:]}")

    def save(self, folder: Path) -> None:
        """Write the running machine's state, and its disk, to a folder that Guest(saved=...) starts from. Ends it."""
        self.qmp.command("stop")
        self.qmp.command("migrate-set-parameters", **{"max-bandwidth": 4 << 30})
        self.qmp.command("migrate", uri=f"exec:cat > {folder / 'state'}")
        while (status := self.qmp.command("query-migrate")["status"]) not in ("completed", "failed"):
            time.sleep(0.05)
        if status == "failed":
            raise QmpError("the machine's state could not be saved")
        self.kill()
        shutil.move(self.disk, folder / "disk.qcow2")

    def kill(self) -> None:
        """Cut the power: SIGKILL to this guest's own processes. start() boots it again from its disk."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        self._processes.clear()
        if self._agent:
            self._agent.close()
        if self._qmp:
            self._qmp.close()
        self._agent = self._qmp = None

    def logs(self) -> str:
        """The end of the console and of QEMU's own messages, for a failure's report."""
        texts = [(self.work / name, name) for name in ("console.log", "host.log")]
        return "\n".join(
            f"--- {name}\n{path.read_text(errors='replace')[-3000:]}" for path, name in texts if path.exists()
        )

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.work, ignore_errors=True)
