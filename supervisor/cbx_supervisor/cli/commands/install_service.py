"""`install-service`: cbx as a service of systemd's."""

from __future__ import annotations

import os

import click

from cbx_sandbox.errors import CbxError, UsageError
from cbx_supervisor import paths
from cbx_supervisor.cli import installation, output


@click.command(short_help="Install cbx as a service of systemd's.")
@click.option("--enable", is_flag=True, help="Start it now and at every boot.")
@click.option("--uninstall", is_flag=True, help="Stop it, jobs included, and take its files away.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(enable: bool, uninstall: bool, dry_run: bool) -> None:
    """Install cbx as a service of systemd's, or bring an installed one up to date.

    Two units: the launcher, which is the parent of all jobs, and the supervisor, which may be restarted at any time;
    sockets, a slice, the group cbx and the completion for bash. The state in /var/lib/cbx is never touched.
    """
    if enable and uninstall:
        raise UsageError("cannot both enable and uninstall")
    if not dry_run:
        _check(uninstall=uninstall)
    there = os.path.exists(installation.PLACES["cbx-supervisor.service"])
    if uninstall:
        steps = installation.uninstall() if there else []
    else:
        steps = installation.install(installation.files(), enable=enable, restart=there)
    for step in steps:
        output.show(str(step))
        if not dry_run:
            step.carry_out()


def _check(*, uninstall: bool) -> None:
    if os.geteuid() != 0:
        raise UsageError("cannot install a service: only root can", hint="use sudo, or --dry-run to look")
    if not os.path.isdir("/run/systemd/system"):
        raise CbxError("cannot install a service: systemd does not run here", hint="`cbx-supervisor` runs without it")
    places = paths.Paths()
    if uninstall or os.path.exists(installation.PLACES["cbx-supervisor.service"]):
        return
    try:
        with open(places.pid_file, encoding="ascii") as file:
            pid = int(file.read())
    except (OSError, ValueError):
        return
    if os.path.exists(f"/proc/{pid}"):
        raise CbxError(
            f"cannot install the service: process {pid} is a supervisor that a client started",
            hint=f"wait for its jobs, or end them with it: kill {pid}",
        )
