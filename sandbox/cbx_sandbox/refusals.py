"""What is not run: changes of the host itself, what a check denies, and what nobody has agreed to."""

from __future__ import annotations

from collections.abc import Iterable

from cbx_sandbox.errors import ConfirmationError, DeniedError
from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.checks import Check, Verdict
from cbx_sandbox.shell.effects import HostKind

EVERY = "all"


def refuse(
    analysis: Analysis,
    *,
    agreed: bool,
    allowed: frozenset[str],
    root: bool,
    granted: frozenset[HostKind] = frozenset(),
) -> None:
    """Raise DeniedError for what must not run, ConfirmationError for what has to be agreed to first.

    ``agreed``: the caller said yes beforehand; ``allowed``: the codes of checks that root overrides, or "all";
    ``granted``: the changes of the host itself that somebody with the right to them asked for by name.
    """
    if allowed and not root:
        raise DeniedError("cannot use --allow-checks: only root may", hint="leave --allow-checks out, or use sudo")
    _refuse_host_effects(analysis, granted)
    checks = [check for check in analysis.checks if not allowed & {check.code, EVERY}]
    denied = [check for check in checks if check.verdict is Verdict.DENY]
    if denied:
        codes = ",".join(sorted({check.code for check in denied}))
        raise DeniedError(
            f"cannot run this: {denied[0].text}",
            details=_listed(denied),
            hint=f"root may run it all the same, isolated, with --allow-checks {codes}",
        )
    asked = [check for check in checks if check.verdict is Verdict.CONFIRM]
    if asked and not agreed:
        raise ConfirmationError(
            f"cannot run this without being told to: {asked[0].text}",
            details=_listed(asked),
            hint="--yes says that this is meant",
        )


def _refuse_host_effects(analysis: Analysis, granted: frozenset[HostKind]) -> None:
    effects = [effect for effect in analysis.effects.host if effect.kind not in granted]
    if not effects:
        return
    kinds = ", ".join(sorted({effect.kind.value for effect in effects}))
    told = [check for check in analysis.checks if check.verdict is not Verdict.ISOLATE]
    lines = ["; ".join(effect.text for effect in effects), *filter(None, [_listed(told, least=1)])]
    needed = ",".join(sorted({effect.kind.value for effect in analysis.effects.host}))
    raise DeniedError(
        f"cannot run this here: it changes the host itself ({kinds})",
        details="\n".join(lines),
        hint="such changes cannot be rolled back, and would act on a copy inside: run it outside cbx, or, with "
        f"the role host-effects, without that layer: --host-effects {needed}",
    )


def _listed(checks: Iterable[Check], *, least: int = 2) -> str | None:
    """Say what was found, a line each; nothing where the brief has said it all."""
    lines = list(dict.fromkeys(f"{check.text} ({check.code})" for check in checks))
    return "\n".join(lines) if len(lines) >= least else None
