"""An analysis as JSON and as text that marks the part of the command that each reason is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbx_supervisor.cli import marking, output
from cbx_supervisor.cli.paint import Paint
from cbx_supervisor.client.failure import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbx_sandbox.shell.analysis import Analysis
    from cbx_sandbox.shell.effects import Effects, Span
    from cbx_sandbox.shell.tiers import Reason, Tier


def describe(analysis: Analysis) -> dict[str, Any]:
    """Return an analysis as plain JSON values; spans are byte offsets into the command's UTF-8."""
    return {
        "command": analysis.text,
        "tier": analysis.tier.value,
        "reasons": [describe_reason(reason) for reason in analysis.reasons],
        "effects": describe_effects(analysis.effects),
        "checks": [
            {"code": check.code, "verdict": check.verdict.value, "text": check.text, "span": _span(check.span)}
            for check in analysis.checks
        ],
        "priority": analysis.priority,
        "estimate": analysis.estimate.describe(),
        "programs": list(analysis.programs),
        "opaque": analysis.opaque,
    }


def describe_reason(reason: Reason) -> dict[str, Any]:
    """Return why a text is at least in a tier."""
    return {"code": reason.code, "text": reason.text, "tier": reason.tier.value, "span": _span(reason.span)}


def describe_effects(effects: Effects) -> dict[str, Any]:
    """Return what a text is predicted to touch."""
    return {
        "paths": [
            {
                "access": effect.access.value,
                "path": effect.path,
                "certainty": effect.certainty.value,
                "span": _span(effect.span),
            }
            for effect in effects.paths
        ],
        "host": [
            {"kind": effect.kind.value, "text": effect.text, "span": _span(effect.span)} for effect in effects.host
        ],
        "network": [
            {"host": effect.host, "port": effect.port, "span": _span(effect.span)} for effect in effects.network
        ],
        "reads_processes": effects.reads_processes,
        "resources": list(effects.resources),
        "caches": list(effects.caches),
        "system": [
            {
                "kind": effect.thing.value,
                "name": effect.name or None,
                "changes": effect.changes,
                "span": _span(effect.span),
            }
            for effect in effects.system
        ],
    }


def _span(span: Span | None) -> list[int] | None:
    return None if span is None else [span.start, span.end]


def render(
    analysis: Analysis,
    tier: Tier | None = None,
    reasons: Sequence[Reason] | None = None,
    *,
    width: int = marking.WIDTH,
    paint: Paint | None = None,
) -> str:
    """Lay out an analysis for people; a plan may have raised the tier for reasons of its own."""
    paint = paint or Paint(on=False)
    reasons = analysis.reasons if reasons is None else reasons
    parts = [
        f"tier: {paint.tier((tier or analysis.tier).value)}" + (" (not understood in full)" if analysis.opaque else "")
    ]
    said = [
        (reason.span, reason.tier.value, f"{reason.text}  [{reason.tier.value}, {reason.code}]") for reason in reasons
    ]
    parts += ["", "reasons:", *_marked(analysis.text, said, width, paint)] if said else []
    told = [
        (check.span, "DANGEROUS_ISOLATED", f"{check.verdict.value}: {check.text}  [{check.code}]")
        for check in analysis.checks
    ]
    parts += ["", "checks:", *_marked(analysis.text, told, width, paint)] if told else []
    effects = render_effects(analysis.effects)
    if effects:
        parts += ["", "effects:", effects]
    cost = analysis.estimate
    needs = f"{output.seconds(cost.seconds)}, {cost.memory_mb} MiB, bound by {cost.bound.value}"
    if cost.source.value == "learned":
        needs += f" (learned, confidence {cost.confidence:.2f})"
    parts += ["", f"estimate: {needs}; priority {analysis.priority:g}"]
    return "\n".join(parts)


def render_effects(effects: Effects) -> str:
    """Lay out effects, a line each, the certain paths without a remark."""
    rows = [
        (effect.access.value, effect.path, "" if effect.certainty.value == "literal" else f"({effect.certainty.value})")
        for effect in effects.paths
    ]
    rows += [("connect", f"{effect.host or 'any host'}:{effect.port or 'any port'}", "") for effect in effects.network]
    rows += [("host", effect.text, f"({effect.kind.value})") for effect in effects.host]
    rows += [
        ("change" if effect.changes else "use", f"{effect.thing.value} {effect.name or '(any)'}", "")
        for effect in effects.system
    ]
    rows += [("uses", resource, "") for resource in effects.resources]
    rows += [("cache", cache, "") for cache in effects.caches]
    if effects.reads_processes:
        rows.append(("read", "the host's processes", ""))
    seen = dict.fromkeys(rows)
    width = max((len(access) for access, _what, _remark in seen), default=0)
    return "\n".join(f"  {access:<{width}}  {printable(what)} {remark}".rstrip() for access, what, remark in seen)


def _marked(text: str, said: Sequence[tuple[Span | None, str, str]], width: int, paint: Paint) -> list[str]:
    """Lay out messages, each below the part of the text that it is about; of one part the text is shown once."""
    lines: list[str] = []
    shown: Span | None = None
    for span, tier, message in said:
        if span is not None and span != shown:
            lines += marking.marked(text, span, width, lambda strokes, tier=tier: paint(strokes, paint.strokes(tier)))  # type: ignore[misc]  # a default binds the loop's value
        shown = span
        lines.append(f"  {printable(message)}")
    return lines
