"""``cbx-supervisor``: the daemon. Root only, one per host, usually started by its unit or by root's first client."""

from __future__ import annotations

import asyncio
import os
import sys

from cbx_sandbox.errors import CbxError, UsageError

USAGE = """\
usage: cbx-supervisor [--idle-exit SECONDS] [--ready-fd N] [--service] [--print-settings]

  --idle-exit SECONDS  end after so long without jobs and callers; 0: never (default: the setting, 300)
  --ready-fd N         write a line to this descriptor once the sockets are open
  --service            the launcher is a service of its own: only talk to it, and leave its jobs alone at the end
  --print-settings     print every setting with its default, as a file for /etc/cbx/cbx.toml
"""


def main(argv: list[str] | None = None) -> None:
    """Run the daemon and exit."""
    try:
        status = run(sys.argv[1:] if argv is None else argv)
    except CbxError as error:
        sys.stderr.write(f"cbx-supervisor: {error}\n")
        status = error.exit_status
    sys.exit(status)


def run(argv: list[str]) -> int:
    """Parse, and do what is asked for."""
    options = _options(argv)
    if "help" in options:
        sys.stdout.write(USAGE)
        return 0
    if "print-settings" in options:
        from cbx_supervisor import settings_sources  # noqa: PLC0415  # --help needs none of it

        sys.stdout.write(settings_sources.reference())
        return 0
    if os.geteuid() != 0:
        raise UsageError("cannot start the supervisor: only root can", hint="run: sudo cbx-supervisor")
    return _supervise(options)


def _supervise(options: dict[str, float]) -> int:
    """Take the lock, start the launcher, serve."""
    os.umask(0o077)
    os.chdir("/")

    from cbx_supervisor import paths as places  # noqa: PLC0415
    from cbx_supervisor import trusted_files  # noqa: PLC0415
    from cbx_supervisor.daemon import home  # noqa: PLC0415
    from cbx_supervisor.daemon.systemd import Manager  # noqa: PLC0415

    manager = Manager(os.environ, os.getpid())
    listeners = manager.listeners()

    paths = places.from_environment(os.environ, uid=os.geteuid())
    for place in (paths.runtime, paths.state, paths.config, paths.lock):
        trusted_files.check_way(place)
    for program in (__file__, sys.executable):
        # Whose checkout it runs from is the caller's business; that all the world can change it is not.
        trusted_files.check_way(program, owners=False)
    home.make_directories(paths)
    lock = home.StartLock(paths.lock)
    holder = lock.take(paths.exec_socket)
    if holder is not None:
        sys.stderr.write(f"cbx-supervisor: process {holder} serves {paths.runtime} already\n")
        return 0
    home.raise_descriptor_limit()
    if not _under_systemd():
        for failure in home.leave_callers_groups(paths.cgroup):
            sys.stderr.write(f"cbx-supervisor: cannot enter {failure}\n")
    # What is imported from here on takes half a second of a processor, of which it has its own group's share by now.
    from cbx_supervisor import settings_sources  # noqa: PLC0415

    settings = settings_sources.load(paths.config, os.environ)
    # A process that forks has no threads: the launcher is started before anything here has one.
    from cbx_sandbox.box.launcher_client import LauncherClient  # noqa: PLC0415

    launcher = LauncherClient(paths.cgroup, paths.launcher_socket, may_start="service" not in options)
    # What follows imports much; the launcher starts up meanwhile.
    from cbx_supervisor.daemon.log import Log  # noqa: PLC0415
    from cbx_supervisor.daemon.service import Service  # noqa: PLC0415

    log = Log()

    async def serve() -> int:
        idle = options.get("idle-exit", settings.timeouts.idle_exit_seconds)
        ready = options.get("ready-fd")
        stay = "service" in options
        service = Service(paths, settings, launcher, log, idle, manager=manager, listeners=listeners, jobs_stay=stay)
        status = await service.run(None if ready is None else int(ready))
        if stay:
            # Everything is on disk. To unwind what still watches over a job would be to call the job off.
            log.start()
            os._exit(status)
        return status

    try:
        return asyncio.run(serve())
    finally:
        log.start()


def _options(argv: list[str]) -> dict[str, float]:
    options: dict[str, float] = {}
    rest = list(argv)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        name = {"-h": "help"}.get(word, word.removeprefix("--"))
        if name in {"help", "print-settings", "service"} and not equals:
            options[name] = 1
        elif name in {"idle-exit", "ready-fd"}:
            text = value if equals else rest.pop(0) if rest else ""
            try:
                options[name] = float(text)
            except ValueError:
                raise UsageError(f"--{name} needs a number, not {text!r}", hint=USAGE) from None
        else:
            raise UsageError(f"no such option: {word}", hint=USAGE)
    return options


def _under_systemd() -> bool:
    """True in a unit of systemd's: it gave us a cgroup of our own, and tracks us by it."""
    return os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


if __name__ == "__main__":
    main()
