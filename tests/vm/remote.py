"""The host's side of a test run in a guest: one pytest there, its reports here."""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.vm import image
from tests.vm.agent_client import AgentError, GuestLost, Message
from tests.vm.guest import Guest

TREE = "/src"
PYTHON = "/opt/venv/bin/python"
ITEMS = "/run/cbx-items.json"
# Python runs 10 times slower there than on the host, starting a process 40 times.
TIME_SCALE = 15
ENVIRONMENT = {
    "CBX_IN_GUEST": "1",
    "CBX_TIME_SCALE": str(TIME_SCALE),
    "CBX_GUEST_ITEMS": ITEMS,
    "PATH": "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # The tree is read-only there.
    "PYTHONPYCACHEPREFIX": "/var/cache/pyc",
    "HYPOTHESIS_STORAGE_DIRECTORY": "/var/tmp/hypothesis",
}
# Longer than any time-out that a test can have there: silence for so long means that the time-out itself is stuck.
SILENCE = 1500.0


class RemoteFailure(Exception):  # noqa: N818 - becomes a failed report
    """The guest, or the pytest in it, did not report on a test; the message says what is known."""


class RemoteRun:
    """Runs items in one guest. After a crash the next item gets a new pytest, or a new guest if that one is lost."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.guest: Guest | None = None
        self._stream: Iterator[Message] | None = None
        self._missing: set[str] = set()
        self._output: list[str] = []
        self._errors: list[str] = []
        self._said: deque[dict[str, Any]] = deque()
        self._partial = ""

    def run(self, nodeid: str, following: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the serialised reports of one item; `following` are the items that will be asked for after it."""
        try:
            if self._stream is None:
                self._begin([nodeid, *following])
            while nodeid not in self._missing and (said := self._listen()) is not None:
                if "report" in said:
                    yield said["report"]
                elif said.get("finished") == nodeid:
                    return
        except (GuestLost, AgentError) as error:
            console = self.guest.logs() if self.guest else ""
            self.close()
            raise RemoteFailure(f"the guest was lost in this test: {error}\n{console}") from error
        raise RemoteFailure(self._explain(nodeid))

    def _begin(self, nodeids: list[str]) -> None:
        if self.guest is None:
            self.guest = image.restored()
            self.guest.start()
            self.guest.share(self.tree, TREE)
            status, output = self.guest.run([PYTHON, f"{TREE}/tests/vm/install.py", TREE])
            if status:
                raise AgentError(f"cannot install the tree in the guest: {output}")
        self.guest.put(json.dumps(nodeids).encode(), ITEMS)
        self._missing, self._output, self._errors, self._partial = set(), [], [], ""
        self._said.clear()
        files = list(dict.fromkeys(nodeid.partition("::")[0] for nodeid in nodeids))
        # A scope of its own with delegated controllers: what the tests make is not in the agent's cgroup.
        scope = ["systemd-run", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]
        options = ["-p", "tests.vm.reporter", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        argv = [*scope, PYTHON, "-m", "pytest", *options, *files]
        self._stream = self.guest.stream(argv, silence=SILENCE, env=ENVIRONMENT, cwd=TREE, channel=True)

    def _listen(self) -> dict[str, Any] | None:
        """What the reporter says next; nothing when the guest's pytest has ended."""
        while not self._said:
            assert self._stream is not None
            message = next(self._stream, None)
            if message is None:
                self._stream = None
                return None
            self._output.append(message.get("out", ""))
            *lines, self._partial = (self._partial + message.get("line", "")).split("\n")
            self._said.extend(json.loads(line) for line in lines)
        said = self._said.popleft()
        self._missing.update(said.get("missing", ()))
        if "collection_error" in said:
            self._errors.append(said["collection_error"])
        return said

    def _explain(self, nodeid: str) -> str:
        if nodeid in self._missing:
            return "\n".join([f"{nodeid} was not collected in the guest", *self._errors])
        return f"the guest's pytest ended in this test:\n{''.join(self._output)[-4000:]}"

    def close(self) -> None:
        self._stream = None
        if self.guest:
            self.guest.close()
            self.guest = None
