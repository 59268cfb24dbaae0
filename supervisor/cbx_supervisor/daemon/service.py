"""The daemon's parts and the order in which they start; they stop in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import socket
import sqlite3
import time
from typing import Any

import msgspec

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.box.launcher_client import LauncherClient, Ready
from cbx_sandbox.checkpoint import leftovers
from cbx_sandbox.errors import CbxError
from cbx_sandbox.policy import CommitMode, Identity, NetworkMode, Policy
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.daemon import home, recovery
from cbx_supervisor.daemon.access import Access
from cbx_supervisor.daemon.configuration import Configuration
from cbx_supervisor.daemon.events import Events
from cbx_supervisor.daemon.journal import Journal
from cbx_supervisor.daemon.log import Log
from cbx_supervisor.daemon.redaction_rules import RedactionRules
from cbx_supervisor.daemon.rulebook import Rulebook
from cbx_supervisor.daemon.server_exec import BACKLOG, ExecServer
from cbx_supervisor.daemon.server_http import HttpServer
from cbx_supervisor.daemon.systemd import Manager
from cbx_supervisor.execution import resuming, waking
from cbx_supervisor.execution.executor import Executor
from cbx_supervisor.execution.launching import Launching, call_off
from cbx_supervisor.execution.live import LiveJob, OnDisk
from cbx_supervisor.execution.resuming import Unfinished
from cbx_supervisor.execution.retention import Retention
from cbx_supervisor.execution.review import Review
from cbx_supervisor.paths import Paths
from cbx_supervisor.settings import Settings
from cbx_supervisor.store import audit, steering
from cbx_supervisor.store.database import Database
from cbx_supervisor.store.history import prune

PRUNED_EVERY = 3600.0  # s
# Jobs that wait are thousands of objects that stay: Python looks for circles among the newest after so many (and not
# 700, as usual), and goes through the older ones as often as usual for that.
GARBAGE = (10_000, 10, 10)
LIFE_SIGNS = 3  # in the time that the service manager waits for one
REST_AFTER = 1.0  # s; the log and the parsers are made ready when the first caller has been served


class Service:
    """All of it."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        launcher: LauncherClient,
        log: Log,
        idle_exit: float,
        *,
        manager: Manager,
        listeners: dict[str, socket.socket],
        jobs_stay: bool = False,
    ) -> None:
        """``listeners`` are the sockets that the service manager opened, by name: ``exec`` and ``api``, or none.

        ``jobs_stay``: they belong to a launcher that outlives this process, which leaves them as a crash would.
        """
        self.paths = paths
        self.log = log
        self._manager = manager
        self._listeners = listeners
        self._jobs_stay = jobs_stay
        self._first_settings = settings
        self.idle_exit = idle_exit
        self.started = time.time()
        self._launcher = launcher
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._last_activity = self._loop.time()
        self._lost = False
        self._looking: asyncio.Task[None] | None = None
        self._prepared: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    async def run(self, ready_fd: int | None) -> int:
        """Serve until told to stop or idle; returns the exit status."""
        gc.set_threshold(*GARBAGE)
        async with contextlib.AsyncExitStack() as stack:
            # The database first: it refuses what a newer release wrote, before anything was changed.
            self.database = Database(self.paths.database)
            stack.callback(self.database.close)
            journal = Journal(self.database, self.paths.journaled, self.log)
            stack.callback(journal.stop)
            left, waiting = await self._take_up(stack)
            # The sockets last: the first answer is already true.
            self._open(stack, ready_fd)
            taking = waking.take_up(self.executor, waiting)
            looks = (self._start_the_rest(left), self.executor.health.watch(), taking)
            beside = [self._loop.create_task(look) for look in looks]
            del waiting, taking, looks  # very many may wait
            journal.start()
            if (watched := self._manager.watchdog_seconds()) is not None:
                beside.append(self._loop.create_task(self._show_life(watched)))
            self._manager.ready()
            self._watch_idleness()
            await self._stop.wait()
            self._manager.stopping()
            for task in beside:
                task.cancel()
            self.log("ending", live=len(self.executor.live))
        return 1 if self._lost else 0

    async def _take_up(self, stack: contextlib.AsyncExitStack) -> tuple[list[tuple[str, int]], list[LiveJob]]:
        """Go on where the supervisor before this one ended, however it did.

        Returns the layers that nobody needs, and the jobs that wait for being taken up.
        """
        # The launcher ends what its predecessor left running; only then the books are closed on that.
        launching = Launching(self._launcher, self._launcher_lost)
        stack.callback(launching.close)
        self.rulebook = Rulebook(self.paths.rules, self.log)
        self.redaction = RedactionRules(self.paths.redaction, self.log)
        self.redaction.start()
        report = await self._ready(launching)
        # Whose groups they are is the launcher's word: callers are known as jobs by them.
        self.paths = self.paths._replace(cgroup=report.cgroup or self.paths.cgroup)
        found = await asyncio.to_thread(
            recovery.recover, self.database, self.paths, report, launching.adopted, self.log
        )
        await self._call_off(launching, found)
        recovery.remove_records(self.paths, found)
        launching.recovered()
        left = await asyncio.to_thread(
            recovery.unrecorded, self.database, self.paths, self._first_settings.history, first=True
        )
        self.executor = Executor(
            taken=await asyncio.to_thread(recovery.highest, self.paths),
            started=max((int(job) for job in report.known if job.isdecimal()), default=0),
            paths=self.paths,
            settings=self._first_settings,
            database=self.database,
            launching=launching,
            report=_host_report(report),
            log=self.log,
        )
        self.events = Events(self.database)
        self.executor.on_change = self.events.changed
        self.executor.health.on_growth = self.events.grows
        self.review = Review(self.executor)
        self.retention = Retention(self.review, time.time)
        waiting = self._take_over(found)
        await asyncio.to_thread(self.executor.transactions.recover)
        self.configuration = Configuration(self.paths.config, self._first_settings, self._use, self.log)
        self.access = Access(self.settings.access)
        await self._look_and_prepare()
        return left, waiting

    def _open(self, stack: contextlib.AsyncExitStack, ready_fd: int | None) -> None:
        """Answer callers until ``stack`` is unwound."""
        self._open_sockets()
        # On the way out: no new callers, then the jobs' ends, then nobody is left to be told.
        stack.callback(self._hang_up)
        end = self.executor.leave if self._jobs_stay else self.executor.stop
        stack.push_async_callback(end, self.settings.timeouts.cleanup_timeout_seconds)
        stack.callback(self._close_door)
        self._catch_signals()
        if ready_fd is not None:
            os.write(ready_fd, b"ready")
            os.close(ready_fd)
        missing = dict(self.executor.report.missing)
        self.log("serving", pid=os.getpid(), runtime=self.paths.runtime, missing=missing)

    def stop(self) -> None:
        """End in order: no new jobs, running ones ended and recorded, or left to the next supervisor."""
        self._stop.set()

    @property
    def settings(self) -> Settings:
        """Those in force now."""
        return self.configuration.settings

    def reload(self) -> list[dict[str, Any]]:
        """Read settings and rules again; returns the settings that changed. Raises CbxError: the settings stay.

        The rules are read all the same: they have their own way to say what is wrong with them.
        """
        self._manager.reloading()
        try:
            self.rulebook.reload()
            self.redaction.reload()
            return self.configuration.reload()
        finally:
            self._manager.ready()

    def _use(self, settings: Settings) -> None:
        self.executor.use(settings)
        self.access.use(settings.access)

    def active(self) -> None:
        """Somebody came or went."""
        self._last_activity = self._loop.time()
        if not self._lost and not self._stop.is_set():
            view = self.executor.host.known()
            if view is not None:
                with contextlib.suppress(CbxError):  # the launcher is ending: that is told elsewhere
                    self._prepare_boxes(view)
            elif self._looking is None or self._looking.done():
                self._looking = self._loop.create_task(self._look_and_prepare())

    async def _ready(self, launching: Launching) -> Ready:
        patience = self._first_settings.timeouts.recovery_timeout_seconds
        try:
            return await asyncio.wait_for(launching.ready, patience)
        except TimeoutError:
            hint = "timeouts.recovery_timeout_seconds sets that; jobs of an earlier supervisor may not want to die"
            raise CbxError(f"cannot start: the launcher was not ready after {patience:g} s", hint=hint) from None

    async def _call_off(self, launching: Launching, found: recovery.Found) -> None:
        """End boxes whose start is not on disk: they were built and wait for a word that nobody may give."""
        for init in found.unwanted:
            call_off(init)
        await asyncio.gather(*(launching.reaped(init.job) for init in found.unwanted))

    def _take_over(self, found: recovery.Found) -> list[LiveJob]:
        """Go on with the jobs of an earlier supervisor; returns those that wait, and are to be taken up."""
        stopped = self.database.read(steering.find)
        self.executor.draining = stopped.draining
        for number in stopped.jobs:
            self.executor.admission.hold(number)
        if stopped.paused:
            self.executor.admission.pause_all()
        for job, init in found.running:
            resuming.adopt(self.executor, job, init, paused=job.job.number in stopped.jobs)
        for job, outcome in found.ended:
            resuming.conclude(self.executor, job, outcome)
        waiting: list[LiveJob] = []
        unstarted: list[Unfinished | OnDisk] = [*found.awaited, *found.waiting]
        for each in sorted(unstarted, key=lambda one: one.number):  # each keeps its place
            if isinstance(each, OnDisk):
                waiting.append(waking.keep(self.executor, each))
            else:
                resuming.await_client(self.executor, each)
        for number, at_once in stopped.withdrawn.items():
            if (live := self.executor.live.get(number)) is not None:
                live.kill() if at_once else live.stop()
        counts = {name: len(getattr(found, name)) for name in ("running", "ended", "waiting", "awaited", "closed")}
        if any(counts.values()):
            self.log("jobs of an earlier supervisor", **counts, seconds=round(time.time() - self.started, 3))
        return waiting

    async def _start_the_rest(self, left: list[tuple[str, int]]) -> None:
        """What takes long and the first caller does not need."""
        await asyncio.sleep(REST_AFTER)
        await asyncio.to_thread(self.log.start)
        with contextlib.suppress(CbxError):
            await self.executor.planning.warm()
        gc.freeze()  # what is imported by now stays: to look for garbage need not go through it
        while True:
            for home_, number in left:
                await self._remove_layers(home_, number)
            await self._forget_old_jobs()
            await self._trim_audit()
            await self.retention.expire()
            await asyncio.sleep(PRUNED_EVERY)
            left = await asyncio.to_thread(recovery.unrecorded, self.database, self.paths, self.settings.history)

    async def _show_life(self, watched: float) -> None:
        """Tell the service manager that work goes on: only while the store writes and decisions can be made."""
        while True:
            await asyncio.sleep(watched / LIFE_SIGNS)
            with contextlib.suppress(CbxError, sqlite3.Error):  # a full disk is no reason to be killed
                await asyncio.wrap_future(self.database.write(lambda _connection: None))
            try:
                self.executor.admission.decide()
            except Exception as error:  # noqa: BLE001  # whatever it is, another supervisor has to begin anew
                self.log("no decision can be made", error=repr(error))
            else:
                self._manager.alive()

    async def _remove_layers(self, directory: str, number: int) -> None:
        try:
            await self.executor.files.work(0, leftovers.remove, directory, number)
            self.log("layers removed that nobody asks for", directory=directory, checkpoint=number)
        except CbxError as error:
            self.log("layers not removed", directory=directory, checkpoint=number, error=str(error))

    async def _forget_old_jobs(self) -> None:
        history = self.settings.history
        operation = prune(history.jobs_max, time.time() - history.days_max * 86400)
        try:
            forgotten = await asyncio.wrap_future(self.database.write(operation))
        except (CbxError, sqlite3.Error) as error:
            self.log("history not pruned", error=str(error))
            return
        for number in forgotten:
            for attempt in itertools.count(1):
                try:
                    os.unlink(self.paths.log_of(number, attempt))
                except OSError:
                    break

    async def _trim_audit(self) -> None:
        now, days = time.time(), self.settings.history.audit_days_max
        if not days:
            return
        try:
            await asyncio.wrap_future(self.database.write(audit.trim(now - days * 86400, now)))
        except (CbxError, sqlite3.Error) as error:
            self.log("audit trail not trimmed", error=str(error))

    def _open_sockets(self) -> None:
        self.http = HttpServer(self._listener("api", self.paths.http_socket), self)
        self.exec = ExecServer(
            self._listener("exec", self.paths.exec_socket),
            self.executor,
            on_activity=self.active,
            may=self.access.may,
        )
        with open(self.paths.pid_file, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        os.chmod(self.paths.pid_file, 0o644)

    def _listener(self, name: str, path: str) -> socket.socket:
        group = self.settings.access.group
        if name in self._listeners:
            # The unit's socket is at the same path; who may connect is the configuration's to say.
            home.open_to(path, group)
            return self._listeners[name]
        return home.listen(path, group, BACKLOG)

    def _close_door(self) -> None:
        self._unlink_sockets()
        self.exec.close_listener()
        self.http.close_listener()

    def _hang_up(self) -> None:
        self.exec.close()
        self.http.close()
        with contextlib.suppress(OSError):
            os.unlink(self.paths.pid_file)

    def _unlink_sockets(self) -> None:
        if self._listeners:
            return  # the service manager's: who knocks meanwhile is served by the next daemon
        for path in (self.paths.exec_socket, self.paths.http_socket):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload_quietly)

    def _reload_quietly(self) -> None:
        with contextlib.suppress(CbxError):  # it is in the log and in `status`
            self.reload()

    def _launcher_lost(self) -> None:
        if not self._stop.is_set():
            # Inits go on without it and leave their records; a new supervisor sorts that out.
            self.log("the launcher has ended")
            self._lost = True
            self.stop()

    async def _look_and_prepare(self) -> None:
        with contextlib.suppress(CbxError):  # a mount hangs, or the launcher is ending: jobs are told
            self._prepare_boxes(await self.executor.planning.view(0))

    def _prepare_boxes(self, view: box.HostView) -> None:
        """Have boxes made ahead that begin as jobs do now: what is hidden changes as layers come and go."""
        hidden = (view.hidden, view.keep_in_run)
        if hidden == self._prepared:
            return
        policy = Policy(
            tier=Tier.SAFE_PARALLEL,
            identity=Identity(0, 0, (), "root", "/root"),
            workdir="/",
            network=NetworkMode.NONE,
            grants=(),
            environment={},
            limits=self.settings.limits(Tier.SAFE_PARALLEL),
            commit=CommitMode.AUTO,
        )
        try:
            beginnings = [[step.to_json() for step in steps] for steps in (box.standard(policy, view), box.overlaid())]
            self._launcher.prepare(beginnings, box.limit_spec(policy.limits))
        except OSError as error:
            raise CbxError(f"cannot reach the launcher: {error}") from error
        self._prepared = hidden

    # ── idleness ──

    def _watch_idleness(self) -> None:
        if self.idle_exit <= 0:
            return
        idle = self._loop.time() - self._last_activity
        if self._busy():
            self.active()
            idle = 0.0
        if idle >= self.idle_exit and self._may_end():
            self.log("idle", seconds=round(idle))
            self.stop()
            return
        self._loop.call_later(max(0.05, self.idle_exit - idle), self._watch_idleness)

    def _busy(self) -> bool:
        return bool(self.executor.live or self.exec.connections or self.http.connections)

    def _may_end(self) -> bool:
        """Close the door and look once more: a caller who knocked meanwhile is served, and the door opened again."""
        self._unlink_sockets()
        self.exec.accept()
        self.http.accept_waiting()
        if not self._busy():
            return True
        if not self._listeners:
            self.exec.close_listener()
            self.http.close_listener()
            self.http.listen(self._listener("api", self.paths.http_socket))
            self.exec.listen(self._listener("exec", self.paths.exec_socket))
        self.active()
        return False


def _host_report(ready: Ready) -> runner.HostReport:
    places = msgspec.convert(ready.placement, runner.Places) if ready.placement else None
    return runner.HostReport(ready.missing, ready.hybrid, ready.landlock, ready.unshifted, places)
