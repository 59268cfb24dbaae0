"""The host's side of a test run in a guest: one pytest there, its reports here."""

import json
import os
import sys
from collections import defaultdict
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
# `make chaos-vm`: the campaign tells how far it has come, as it goes.
ALOUD = os.environ.get("CBX_CHAOS") == "1"


class RemoteFailure(Exception):  # noqa: N818 - becomes a failed report
    """The guest, or the pytest in it, did not report on a test; the message says what is known."""


class RemoteRun:
    """Runs items in one guest. After a crash the next item gets a new pytest, or a new guest if that one is lost."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.guest: Guest | None = None
        self._stream: Iterator[Message] | None = None
        self._hopeless = ""
        self._forget()

    def _forget(self) -> None:
        self._reports: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._finished: set[str] = set()
        self._missing: set[str] = set()
        self._collection_errors: list[str] = []
        self._output: list[str] = []
        self._partial = ""

    def run(self, nodeid: str, following: list[str]) -> list[dict[str, Any]]:
        """Give the serialised reports of one item; `following` are the items that will be asked for after it.

        They tell what the guest's pytest has to run. It goes on by itself, so reports can be there before they are
        asked for.
        """
        try:
            while nodeid not in self._finished and nodeid not in self._missing:
                if self._hopeless:
                    raise RemoteFailure(self._hopeless)
                if self._stream is None:
                    self._begin([nodeid, *following])
                if not self._listen():
                    raise RemoteFailure(f"the guest's pytest ended in this test:\n{''.join(self._output)[-4000:]}")
        except (GuestLost, AgentError) as error:
            console = self.guest.logs() if self.guest else ""
            self.close()
            raise RemoteFailure(f"the guest was lost in this test: {error}\n{console}") from error
        if nodeid in self._missing:
            raise RemoteFailure("\n".join([f"{nodeid} was not collected in the guest", *self._collection_errors]))
        return self._reports[nodeid]

    def _begin(self, nodeids: list[str]) -> None:
        self._forget()
        try:
            guest = self.guest or self._start_guest()
        except (GuestLost, AgentError) as error:
            self._hopeless = f"there is no guest: {error}"  # each further try would take as long
            raise
        guest.put(json.dumps(nodeids).encode(), ITEMS)
        files = list(dict.fromkeys(nodeid.partition("::")[0] for nodeid in nodeids))
        # A scope of its own with delegated controllers: what the tests make is not in the agent's cgroup.
        scope = ["systemd-run", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]
        options = ["-p", "tests.vm.reporter", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        if ALOUD:
            options.append("--capture=no")
        argv = [*scope, PYTHON, "-m", "pytest", *options, *files]
        self._stream = guest.stream(argv, silence=SILENCE, env=ENVIRONMENT, cwd=TREE, channel=True)

    def _start_guest(self) -> Guest:
        guest = self.guest = image.restored()
        guest.start()
        guest.share(self.tree, TREE)
        status, output = guest.run([PYTHON, f"{TREE}/tests/vm/install.py", TREE])
        if status:
            raise AgentError(f"cannot install the tree in the guest: {output}")
        return guest

    def _listen(self) -> bool:
        """Take in what the guest says next; false when its pytest has ended."""
        assert self._stream is not None
        message = next(self._stream, None)
        if message is None:
            self._stream = None
            if not self._finished and not self._missing and not self._reports:
                self._hopeless = f"pytest does not run in the guest:\n{''.join(self._output)[-4000:]}"
            return False
        self._output.append(message.get("out", ""))
        if ALOUD:
            sys.stderr.write(message.get("out", ""))
        *lines, self._partial = (self._partial + message.get("line", "")).split("\n")
        for said in map(json.loads, lines):
            match said:
                case {"report": report}:
                    self._reports[report["nodeid"]].append(report)
                case {"finished": nodeid}:
                    self._finished.add(nodeid)
                case {"missing": nodeids}:
                    self._missing.update(nodeids)
                case {"collection_error": text}:
                    self._collection_errors.append(text)
        return True

    def close(self) -> None:
        self._stream = None
        if self.guest:
            self.guest.close()
            self.guest = None
