"""From a command line and a rule to effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import builtins, configuration, rules
from cbx_sandbox.shell.effects import Access, HostKind
from cbx_sandbox.shell.estimate import COSTS
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.options import Given, Parsed, parse_options
from cbx_sandbox.shell.state import Offsets, Record
from cbx_sandbox.shell.tiers import CONDITIONAL, DANGEROUS, SAFE, SEQUENTIAL, SHORT, Tier
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule, When
    from cbx_sandbox.shell.state import Where

_URL = expression(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/@\s]*@)?(\[[0-9a-fA-F:.]+\]|[^/:?#\s]+)(?::(\d+))?")
_ACCESS = {"write": Access.WRITE, "append": Access.APPEND, "create": Access.CREATE, "delete": Access.DELETE}
_WRITING = frozenset({"write", "append", "create", "delete", "into", "tree-delete", "rewrite", "under"})
_ASSIGNS = expression(r"[A-Za-z_]\w*\+?=")
_BEGINS = frozenset("if for while until case select { ( [[ ! time coproc function".split())
# Programs called as the subcommands of others are: the first operand of an unknown program names none of them.
_SUBCOMMANDS = frozenset("init halt service at batch mount umount route passwd ip shutdown reboot adduser".split())
MAX_PROBED = 2000  # characters of an argument that is tried as a text
_COST_OF = {SAFE: "quick", CONDITIONAL: "build", SEQUENTIAL: "copy", DANGEROUS: "service"}
_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418, "ftp": 21, "wss": 443, "ws": 80}


def apply(run: Interpreter, call: Call) -> str:
    """Run a program that has a rule."""
    rule = call.rule
    if rule is None:
        return unknown(run, call, call.name)
    configured(run, call.name, call.where)
    if rule.handler:
        from cbx_sandbox.shell.handlers import HANDLERS  # noqa: PLC0415 -- handlers run programs again

        return HANDLERS[rule.handler](run, call, rule)
    return generic(run, call, rule)


def configured(run: Interpreter, name: str, where: Where) -> None:
    """Note the configuration that a program reads by itself."""
    for place in configuration.places(name):
        run.looks(run.named_place(place.rstrip("/")), where, under=place.endswith("/"))


def generic(run: Interpreter, call: Call, rule: Rule) -> str:
    """Run a program whose rule says all there is to know."""
    if only_help(call, rule):
        note_cost(run, rule, SAFE)
        return HOLE
    if call.args and call.args[0].text.startswith("-") and call.args[0].text in rule.subs:  # an option that is one
        return subcommand(run, call, rule, Parsed(operands=call.args[:1], rest=call.args[1:]))
    parsed = parse_options(rule, call.args, stop=bool(rule.subs))
    if rule.subs and parsed.operands:
        return subcommand(run, call, rule, parsed)
    return settle(run, call, rule, parsed)


def only_help(call: Call, rule: Rule) -> bool:
    """Whether the command line asks for help or the version and for nothing else."""
    if not call.args or not all(arg.known for arg in call.args):
        return False
    last = call.args[-1].text
    if last not in {"--help", "--version"} and rule.options.get(last) != rules.HELP:
        return False
    if len(call.args) == 1:
        return True
    # To a subcommand -v says something else.
    return bool(rule.subs) and len(call.args) == 2 and last != "-v" and not call.args[0].text.startswith("-")


def subcommand(run: Interpreter, call: Call, rule: Rule, parsed: Parsed) -> str:
    """Choose the rule of a subcommand and go on with it."""
    word = parsed.operands[0]
    if not word.known:
        tier = rule.worst()
        run.record.reason(
            "unknown-subcommand", f"which subcommand of {call.name} is meant is not known", tier, call.where
        )
        return settle(run, call, rule, Parsed(operands=parsed.rest))
    sub = rule.sub(word.text)
    if sub is None:
        whole = parse_options(rule, [*parsed.operands, *parsed.rest])
        whole.options[:0] = parsed.options
        return settle(run, call, rule, whole)
    for given in parsed.options:
        option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    if sub.handler:
        from cbx_sandbox.shell.handlers import HANDLERS  # noqa: PLC0415 -- handlers run programs again

        inner = replace_call(call, parsed.rest)
        return HANDLERS[sub.handler](run, inner, sub)
    if sub.subs:
        inner_parsed = parse_options(sub, parsed.rest, stop=True)
        if inner_parsed.operands:
            return subcommand(run, call, sub, inner_parsed)
        return settle(run, call, sub, inner_parsed)
    return settle(run, call, sub, parse_options(sub, parsed.rest))


def replace_call(call: Call, args: list[Arg]) -> Call:
    """Return the same call with other arguments."""
    return type(call)(call.name, args, call.rule, call.where, call.stdin)


# What stands for settings that a program of the system prints: what they are is not known, so afterwards every name may
# be another program's.
SETTINGS = 'export PATH="$HOME/.settings:$PATH"\n'


def prints_settings(call: Call, rule: Rule) -> bool:
    """Whether a program is asked for settings for a shell: by the first words after options, or by no words at all."""
    if not all(arg.known for arg in call.args):
        return False
    texts, asking = call.texts(), [entry.split("=") for entry in rule.settings]
    familiar = True
    while texts:
        if any(texts[: len(words)] == words for words in asking):
            return True
        if not texts[0].startswith("-"):
            return False
        option = rule.options.get(texts[0])
        familiar = familiar and option is not None
        texts = texts[2 if option is not None and option.arity == 1 else 1 :]
    return familiar and "none" in rule.settings


# -- settling ---------------------------------------------------------------------------------------------------


def settle(run: Interpreter, call: Call, rule: Rule, parsed: Parsed) -> str:
    """Turn a command line that is taken apart into effects."""
    rule = chosen(rule, parsed)
    tier = rule.tier
    if rule.handler == "":
        for given in parsed.options:
            asked = given.option.tier
            if asked is not None and asked.rank > tier.rank:
                tier = asked
                run.record.reason(rule.name, f"{rule.name} {given.name}", asked, call.where)
    if parsed.open and (rule.risky or rule.unknown is not None):
        floor = rule.unknown or SEQUENTIAL
        if floor.rank > tier.rank:
            run.record.reason("unknown-option", f"an argument of {rule.name} may be an option", floor, call.where)
    touched = False
    for given in parsed.options:
        touched = option_effects(run, call, rule, given) or touched
    touched = operand_effects(run, call, rule, parsed.operands) or touched
    finish(run, call, rule, tier, touched=touched)
    if rule.wrap >= 0 and len(parsed.operands) > rule.wrap:
        return run.dispatch(parsed.operands[rule.wrap :] + parsed.rest, call.stdin, call.where)
    return HOLE


def finish(run: Interpreter, call: Call, rule: Rule, tier: Tier, *, touched: bool) -> None:
    """Note what a rule says of the program as a whole."""
    where = call.where
    for place in rule.writes or ():
        run.writes_place(place, where, tier if tier.rank >= CONDITIONAL.rank else SEQUENTIAL)
    for place in rule.caches:
        path = run.named_place(place)
        run.record.caches[path] = None
        if tier.rank >= CONDITIONAL.rank:
            run.writes_place(place, where, tier)
        elif not run.state.remote:
            run.record.leftovers.setdefault(path, where)
    if rule.writes is None and not touched and not rule.host and tier.rank >= CONDITIONAL.rank:
        run.writes_place("project", where, tier)
    if tier.rank > SAFE.rank:
        # A rule that says itself that it writes nowhere else knows all the places.
        placed = rule.writes == () and tier is SEQUENTIAL
        run.record.reason(rule.name.replace(" ", "-"), rule.why or f"runs {rule.name}", tier, where, placed=placed)
    if rule.host and tier.rank >= SEQUENTIAL.rank and not run.state.remote:
        run.record.host_effect(HostKind(rule.host), rule.why or rule.name, where)
    if rule.network == "yes":
        run.record.connection(None, None, where)
    run.record.reads_processes = run.record.reads_processes or rule.processes
    for resource in rule.resources:
        run.record.resources[_resource(run, resource)] = None
    run.record.benign |= rule.benign
    note_cost(run, rule, tier)


def _resource(run: Interpreter, name: str) -> str:
    kind, colon, place = name.partition(":")
    return f"{kind}:{run.named_place(place)}" if colon else name


def note_cost(run: Interpreter, rule: Rule, tier: Tier) -> None:
    """Add what the program is expected to need."""
    run.record.estimates.append(COSTS[rule.cost or _COST_OF[tier]])


def chosen(rule: Rule, parsed: Parsed) -> Rule:
    """Apply the first condition of the rule that holds."""
    for when in rule.whens:
        if _holds(rule, when, parsed):
            return replace(rule, **rules.fields(when.changes))
    return rule


def _holds(rule: Rule, when: When, parsed: Parsed) -> bool:
    count = len(parsed.operands)
    if not when.least <= count <= when.most or (when.most < 1 << 30 and any(arg.many for arg in parsed.operands)):
        return False
    milder = SHORT[when.changes.get("tier", "dangerous")].rank < rule.tier.rank
    if when.has and not (parsed.surely_has if milder else parsed.has)(*when.has):
        return False
    if when.lacks and (parsed.has(*when.lacks) or parsed.open):
        return False
    return not (
        when.first and not (parsed.operands and parsed.operands[0].known and parsed.operands[0].text in when.first)
    )


# -- options and operands ---------------------------------------------------------------------------------------


def option_effects(run: Interpreter, call: Call, rule: Rule, given: Given) -> bool:
    """Note what an option does with its argument; True where it changes a file."""
    role, value, where = given.option.role, given.value, call.where
    if value is None or (value.text == "-" and role != "dir"):
        return False
    if role == "read":
        run.reads(value, where)
    elif role in {"write", "under", "append", "create", "delete", "attached-write"}:
        tier = rule.tier if rule.tier is CONDITIONAL else SEQUENTIAL
        access = _ACCESS.get(role, Access.WRITE)
        return run.writes(value, where, access=access, under=role == "under", tier=tier) and role != "delete"
    elif role == "prefix":
        return run.writes(Arg(value.text + "*", value.start, value.end, pattern=True, many=value.many), where)
    elif role in {"run", "attached-run"}:
        run.execute_text(value.text, where)
    elif role == "exec":
        run.dispatch([value], None, where)
    elif role == "dir":
        run.state.cwd = run.absolute(value.text) if value.known else None
    elif role == "host":
        connect(run, value, where)
    return False


def connect(run: Interpreter, value: Arg, where: Where) -> None:
    """Note a connection to what a word names."""
    scheme = value.text.partition("://")[0] if "://" in value.text else ""
    found = _URL.match(value.text)
    if not found or HOLE in found.group(1):
        run.record.connection(None, None, where)
        return
    port = int(found.group(2)) if found.group(2) else _PORTS.get(scheme)
    run.record.connection(found.group(1), port, where)


def operand_effects(run: Interpreter, call: Call, rule: Rule, operands: list[Arg]) -> bool:
    """Give each operand its role; True where one is changed."""
    if rule.network == "operand" and operands:
        connect(run, operands[0], call.where)
    if rule.default and len(operands) < len(rule.operands):
        operands = [*operands, Arg(rule.default, *call.where)]
    touched = False
    for role, arg in assign_roles(rule.operands, operands):
        touched = operand(run, call, rule, role, arg) or touched
    return touched


def assign_roles(roles: tuple[str, ...], operands: list[Arg]) -> list[tuple[str, Arg]]:
    """Give operands their roles: one starred role takes what the others leave."""
    starred = next((index for index, role in enumerate(roles) if role.endswith("*")), None)
    if starred is None:
        return list(zip(roles, operands, strict=False))
    before, after = roles[:starred], roles[starred + 1 :]
    tail = min(len(after), max(len(operands) - len(before), 0))
    middle = operands[len(before) : len(operands) - tail]
    return [
        *zip(before, operands, strict=False),
        *((roles[starred][:-1], arg) for arg in middle),
        *zip(after[len(after) - tail :], operands[len(operands) - tail :] if tail else [], strict=False),
    ]


def operand(run: Interpreter, call: Call, rule: Rule, role: str, arg: Arg) -> bool:
    """Note what is done with one operand."""
    where = run.where(arg.start, arg.end)
    tier = rule.tier if rule.tier is CONDITIONAL else SEQUENTIAL
    match role:
        case "read":
            run.reads(arg, where)
        case "tree":
            run.reads(arg, where, under=True)
        case "look":
            path = run.absolute(arg.text) if arg.known else None
            if path is not None and run.is_directory(path):
                run.looks(path, where)
            else:
                run.reads(arg, where)
        case "list":
            path = run.absolute(arg.text) if arg.known else None
            if path is not None and run.is_directory(path):
                run.lists(path, where)
            else:
                run.reads(arg, where, under=True)
        case "prefix":
            return run.writes(Arg(arg.text + "*", arg.start, arg.end, pattern=True, many=arg.many), where, tier=tier)
        case "rewrite":
            run.reads(arg, where)
            return run.writes(arg, where, tier=tier)
        case "under":
            return run.writes(arg, where, under=True, tier=tier)
        case "into":
            path = run.absolute(arg.text) if arg.known else None
            return run.writes(arg, where, under=path is not None and run.facts.kind(path) == "dir", tier=tier)
        case "write" | "append" | "create" | "delete":
            return run.writes(arg, where, access=_ACCESS[role], tier=tier)
        case "tree-delete":
            return run.writes(arg, where, access=Access.DELETE, under=True, tier=tier)
        case "host":
            connect(run, arg, where)
        case "run":
            run.execute_text(arg.text, where)
        case "exec":
            run.dispatch([arg], call.stdin, where)
        case _:
            pass
    return False


# -- programs without a rule --------------------------------------------------------------------------------------


def unknown(run: Interpreter, call: Call, name: str) -> str:
    """Run a program that is not known: it may do to the project what it wants."""
    run.record.unknown[name] = None
    run.record.reason("unknown-program", f"what {name} does is not known", SEQUENTIAL, call.where)
    run.writes_place("project", call.where, SEQUENTIAL)
    run.record.estimates.append(COSTS["unknown"])
    if call.rule is None and run.nesting < 4:
        may_wrap(run, call)
    return HOLE


def may_wrap(run: Interpreter, call: Call) -> None:
    """An unknown program may run what its arguments spell: if that is dangerous, so is this."""
    for index, arg in enumerate(call.args):
        if not arg.known or index > 40:
            continue
        probe = _probe(run)
        if " " in arg.text.strip():
            first = arg.text.split()[0]
            known = rules.find(first.rpartition("/")[2]) or first in builtins.BUILTINS or first in _BEGINS
            if not (known or _ASSIGNS.match(first)) or len(arg.text) > MAX_PROBED:
                continue
            probe.nested(arg.text, call.where)
        else:
            rule = rules.find(arg.text.rpartition("/")[2])
            if (
                rule is None
                or (index == 0 and arg.text in _SUBCOMMANDS)
                or index + 1 >= len(call.args)
                or not (rule.handler or rule.risky or rule.worst() is DANGEROUS)
            ):
                continue
            probe.dispatch(call.args[index:], call.stdin, call.where)
        if probe.record.tier is DANGEROUS and not probe.record.opaque:
            run.record.reason("may-run", f"{call.name} may run {arg.text}", DANGEROUS, call.where)
            return


def _probe(run: Interpreter) -> Interpreter:
    """Return an interpreter whose findings are looked at and thrown away."""
    record = Record(Offsets(""))
    inner = type(run)(run.facts, record, run.state.copy(), nesting=run.nesting + 4)
    inner.steps = run.steps
    inner.anchor = (-1, -1)
    return inner
