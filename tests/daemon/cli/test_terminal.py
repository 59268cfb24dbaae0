"""The caller's terminal and the job's own."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

pytestmark = pytest.mark.root


class Screen:
    """A terminal with the client in it, as a person has it."""

    def __init__(self, supervisor, client, *arguments, rows=33, columns=101):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            ["setsid", "-c", client, "run", *arguments],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, env=supervisor.environment,
        )  # fmt: skip
        self.output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while True:
            try:
                self.output += os.read(self.master, 4096)
            except OSError:
                return

    def resize(self, rows, columns):
        """Set the terminal's size, as its window would."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data):
        """Press keys."""
        os.write(self.master, data)

    def wait_for(self, condition):
        """Wait until something is so."""
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    @property
    def raw(self):
        """True while the terminal does no editing."""
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def end(self):
        """Wait for the client; return its status and what the terminal's settings are then."""
        status = self.process.wait(10)
        after = termios.tcgetattr(self.slave)
        os.close(self.slave)
        self._reader.join(10)
        os.close(self.master)
        return status, after


def boxed(script, sizes=None):
    """Behave as a supervisor that gives the job a private terminal."""

    def behave(job):
        master, slave = pty.openpty()
        rows, columns = int(job.text("rows")), int(job.text("cols"))
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen(["setsid", "-c", "sh", "-c", script], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        job.send("accepted", job=1)
        job.send("pty", descriptor=master)
        os.close(master)
        job.send("result", status=process.wait(10), line="done", json="{}")

    return behave


def test_a_terminal_on_both_sides_gives_the_job_one(supervisor, client):
    """Raw while it runs, the right size inside, as before afterwards."""
    supervisor.behave = boxed("stty size; read line; echo got $line; exit 4")
    screen = Screen(supervisor, client, "x")
    screen.wait_for(lambda: b"33 101" in screen.output)
    assert screen.raw
    screen.type(b"hello\r")
    status, after = screen.end()
    assert status == 4
    assert after == screen.before
    assert b"got hello" in screen.output
    assert supervisor.jobs[0].text("tty") == "1"
    assert supervisor.jobs[0].text("fds") == "cwd,lease"


def test_ctrl_c_is_a_key_for_the_jobs_terminal(supervisor, client):
    """It becomes SIGINT inside, not at the client."""
    supervisor.behave = boxed("trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done")
    screen = Screen(supervisor, client, "-t", "x")
    screen.wait_for(lambda: b"ready" in screen.output)
    screen.type(b"\x03")
    assert screen.end() == (9, screen.before)
    assert b"interrupted" in screen.output


def test_resizing_reaches_the_job(supervisor, client):
    """SIGWINCH outside becomes the new size, and SIGWINCH, inside."""
    supervisor.behave = boxed("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done")
    screen = Screen(supervisor, client, "x")
    screen.wait_for(lambda: b"ready" in screen.output)
    screen.resize(44, 55)
    assert screen.end()[0] == 0
    assert b"44 55" in screen.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_comes_back_after_a_signal(supervisor, client, number):
    """Forwarded, and the settings restored when the job has ended."""
    seen = []

    def behave(job):
        master, slave = pty.openpty()
        job.send("pty", descriptor=master)
        seen.append(job.next())
        os.close(slave)
        os.close(master)
        job.send("result", status=128 + number, line="", json="{}")

    supervisor.behave = behave
    screen = Screen(supervisor, client, "x")
    screen.wait_for(lambda: screen.raw)
    screen.process.send_signal(number)
    assert screen.end() == (128 + number, screen.before)
    assert seen == [f"signal {number.name.removeprefix('SIG')}"]


def test_the_terminal_comes_back_when_the_supervisor_goes(supervisor, client):
    """End of file instead of a result."""

    def behave(job):
        master, slave = pty.openpty()
        job.send("pty", descriptor=master)
        screen[0].wait_for(lambda: screen[0].raw)
        os.close(slave)
        os.close(master)

    screen = []
    supervisor.behave = behave
    screen.append(Screen(supervisor, client, "x"))
    assert screen[0].end() == (125, screen[0].before)


def test_no_terminal_when_told_or_when_one_side_is_none(supervisor, client):
    """-T, or stdin from elsewhere: the job gets what the caller has."""
    for arguments in (("-T", "x"),):
        screen = Screen(supervisor, client, *arguments)
        assert screen.end()[0] == 0
    supervisor.run("x")
    assert all("tty" not in job.fields for job in supervisor.jobs)


def test_a_terminal_can_be_forced_in_a_pipe(supervisor):
    """-t with stdin from a pipe: its end is the terminal's end of file."""
    supervisor.behave = boxed("stty -echo; cat; echo over")
    run = supervisor.run("-t", "x", stdin=None, input=b"line\npart")
    assert run.returncode == 0
    assert b"line\r\npart" in run.stdout
    assert b"over" in run.stdout


def asking(job):
    """Behave as a supervisor that wants to be told that the command is meant."""
    if "yes" in job.fields:
        job.send("result", status=0, line="done", json="{}")
    else:
        job.send("error", status=126, text="cannot run this without being told to: x", ask=1)


@pytest.mark.parametrize(
    ("answer", "status", "asked"), [(b"y\n", 0, 2), (b"YES\n", 0, 2), (b"n\n", 126, 1), (b"\n", 126, 1)]
)
def test_on_a_terminal_a_check_is_a_question(supervisor, client, answer, status, asked):
    """Yes asks again with --yes; anything else leaves it at the refusal."""
    supervisor.behave = asking
    screen = Screen(supervisor, client, "x")
    screen.wait_for(lambda: b"[y/N] " in screen.output)
    screen.type(answer)
    assert screen.end() == (status, screen.before)
    assert len(supervisor.jobs) == asked
    assert b"without being told to" in screen.output


def test_an_interrupt_is_no_answer(supervisor, client):
    """The client ends as a program does that was interrupted."""
    supervisor.behave = asking
    screen = Screen(supervisor, client, "x")
    screen.wait_for(lambda: b"[y/N] " in screen.output)
    screen.type(b"\x03")
    assert screen.end() == (130, screen.before)
    assert len(supervisor.jobs) == 1


@pytest.mark.parametrize("option", ["--json", "-q"])
def test_programs_are_not_asked(supervisor, client, option):
    """Nor is anybody without a terminal; --yes is the answer given beforehand (the control)."""
    supervisor.behave = asking
    screen = Screen(supervisor, client, option, "x")
    assert screen.end() == (126, screen.before)
    assert supervisor.run("x").returncode == 126
    assert supervisor.run("--yes", "x").returncode == 0
    assert supervisor.run("-y", "x").returncode == 0
    assert b"[y/N]" not in screen.output
