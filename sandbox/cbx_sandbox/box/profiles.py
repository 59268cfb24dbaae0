"""The filter of each tier, made from ``seccomp.toml`` once in the life of a launcher: its children have the bytes."""

from __future__ import annotations

import errno
import functools
import os
import tomllib
from collections.abc import Mapping
from typing import Any

from cbx_sandbox.box.spec import LOGGED, RULES
from cbx_sandbox.linux import seccomp


@functools.cache
def programs() -> Mapping[str, bytes]:
    """The filters of this machine, by the name of the tier, with and without ``RULES`` and ``LOGGED`` behind it."""
    machine = os.uname().machine
    profile = data()
    numbers = seccomp.numbers(machine)
    return {
        tier + rules + log: seccomp.compiled(
            machine, *judged(profile, tier, numbers, logged=bool(log), rules=bool(rules))
        )
        for tier in profile["tiers"]
        for rules in ("", RULES)
        for log in ("", LOGGED)
    }


@functools.cache
def keepers() -> Mapping[str, bytes]:
    """Filters beside a tier's that keep a placement as it is, by what they keep."""
    machine = os.uname().machine
    numbers = seccomp.numbers(machine)
    refused = seccomp.Verdict(seccomp.answer(errno.EPERM))
    return {
        name: seccomp.compiled(machine, {numbers[call]: refused for call in calls.split()}, seccomp.ALLOW)
        for name, calls in data()["placed"].items()
    }


def data() -> dict[str, Any]:
    """The profiles as they are written down."""
    with open(os.path.join(os.path.dirname(__file__), "seccomp.toml"), "rb") as file:
        return tomllib.load(file)


def judged(
    profile: Mapping[str, Any], tier: str, numbers: Mapping[str, int], *, logged: bool = False, rules: bool = False
) -> tuple[dict[int, seccomp.Verdict], int]:
    """The verdicts of a tier by number, and that on every other call.

    ``rules`` adds what changes of the host's network need.
    ``logged`` lets through and logs what no group has; calls that are judged by their arguments, and those of other
    architectures, are refused all the same: they are ways out, not needs that a profile forgot.
    """
    checks: dict[str, list[seccomp.Check]] = {}
    for entry in profile["checks"]:
        if tier in entry.get("tiers", [tier]):
            made = seccomp.Check(
                tuple(_condition(each, rules=rules) for each in entry["when"]), _answer(entry["answer"])
            )
            for name in entry["calls"]:
                checks.setdefault(name, []).append(made)
    actions: dict[str, int] = {}
    for word, names in profile["refused"].items():
        actions |= dict.fromkeys(names.split(), seccomp.LOG if logged else _answer(word))
    for group in profile["tiers"][tier]:
        actions |= dict.fromkeys(profile["groups"][group].split(), seccomp.ALLOW)
    default = seccomp.LOG if logged else seccomp.ABSENT
    verdicts = {
        numbers[name]: seccomp.Verdict(actions.get(name, default), tuple(checks.get(name, ())))
        for name in actions.keys() | checks.keys()
        if name in numbers
    }
    return verdicts, default


def _condition(entry: Mapping[str, Any], *, rules: bool) -> seccomp.Condition:
    none_of = "not_in" in entry
    values = (*entry["not_in" if none_of else "in"], *(entry.get("rules", ()) if rules else ()))
    mask = entry.get("mask", 0xFFFFFFFF)
    return seccomp.Condition(entry["arg"], values, none_of=none_of, mask=mask, wide=entry.get("wide", False))


def _answer(word: str) -> int:
    return seccomp.answer(0 if word == "done" else getattr(errno, word))
