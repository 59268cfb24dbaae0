"""The one place that joins the parts: analyse, plan, and after the run decide what becomes of its changes."""

from cbx_sandbox.runner.fate import Fate, decide
from cbx_sandbox.runner.granting import writable_directories
from cbx_sandbox.runner.planning import Plan, analysed, plan, seen
from cbx_sandbox.runner.promises import guarantees
from cbx_sandbox.runner.request import Defaults, HostReport, Options, Places, Request, Watching

__all__ = [
    "Defaults",
    "Fate",
    "HostReport",
    "Options",
    "Places",
    "Plan",
    "Request",
    "Watching",
    "analysed",
    "decide",
    "guarantees",
    "plan",
    "seen",
    "writable_directories",
]
