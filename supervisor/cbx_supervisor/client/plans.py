"""A plan for people: what `explain` and `run --dry-run` show of locks, policy and mounts."""

from __future__ import annotations

from typing import Any

from cbx_supervisor.client.failure import printable

CHANGES = {
    "auto": "in an overlay, committed when the command succeeds",
    "hold": "in an overlay, held for review",
    "never": "in an overlay, thrown away",
}


def summary(plan: dict[str, Any]) -> str:
    """Lay out a whole plan: the tier and its reasons, then the rest."""
    reasons = [f"  {printable(reason['text'])}  [{reason['tier']}, {reason['code']}]" for reason in plan["reasons"]]
    return "\n".join([f"tier: {plan['tier']}", *(["", "reasons:", *reasons] if reasons else []), "", details(plan)])


def details(plan: dict[str, Any]) -> str:
    """Lay out what follows from tier and options: locks, policy, mounts."""
    policy = plan["policy"]
    limits = policy["limits"]
    memory, cpus, pids, timeout = (limits[name] for name in ("memory", "cpus", "pids", "timeout"))
    rows = [
        ("user", f"{policy['identity']['uid']}" + (", ids shifted" if policy["shifted"] else "")),
        ("directory", printable(policy["workdir"])),
        ("network", _network(policy)),
        ("changes", _changes(plan)),
        *([("the host", f"may be changed ({', '.join(policy['host_effects'])})")] if policy["host_effects"] else []),
        ("memory", f"{memory / (1 << 20):g} MiB" if memory else "not limited"),
        ("CPU", f"{cpus:g} cores" if cpus else "not limited"),
        ("processes", f"{pids}" if pids else "not limited"),
        ("time", f"{timeout:g} s" if timeout else "not limited"),
        *((name.replace("_", " "), f"{value}") for name, value in policy["placement"].items()),
    ]
    parts = []
    if plan["locks"]:
        parts += ["locks:", *(f"  {lock['mode']}  {printable(lock['path'])}" for lock in plan["locks"]), ""]
    parts += ["policy:", *(f"  {name:<11}{value}" for name, value in rows), ""]
    return "\n".join([*parts, "mounts:", *(f"  {printable(step)}" for step in plan["mounts"])])


def _network(policy: dict[str, Any]) -> str:
    parts = [policy["network"]]
    if policy["allow"]:
        parts.append("to " + ", ".join(printable(entry) for entry in policy["allow"]))
    elif policy["network"] == "allowlist":
        parts.append("that is empty")
    if policy["publish"]:
        parts.append("publishes " + ", ".join(policy["publish"]))
    return "; ".join(parts)


def _changes(plan: dict[str, Any]) -> str:
    policy = plan["policy"]
    if policy["overlay_all"] or any(lock["mode"] == "U" for lock in plan["locks"]):
        return CHANGES[policy["commit"]]
    return "written directly, kept" if any(lock["mode"] == "X" for lock in plan["locks"]) else "none are possible"
