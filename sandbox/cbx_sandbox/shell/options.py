"""A command line taken apart by a rule: its options, what they take, and its operands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from cbx_sandbox.shell.rules import Option
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.rules import Rule

_FLAG = Option(0, "flag")


class Given(Struct):
    """One option as it was given."""

    name: str
    option: Option
    value: Arg | None
    arg: Arg
    index: int = -1  # of its word among the arguments


class Parsed(Struct):
    """A command line taken apart."""

    options: list[Given] = field(default_factory=list)
    operands: list[Arg] = field(default_factory=list)
    rest: list[Arg] = field(default_factory=list)  # what follows the word at which reading stopped
    open: bool = False  # an unknown word might be an option

    def has(self, *names: str) -> bool:
        """Whether one of the options was given."""
        return any(given.name in names for given in self.options)

    def surely_has(self, *names: str) -> bool:
        """Whether one of the options was given and cannot be what an unknown one before it takes as its value."""
        return any(
            given.name in names and not (index and _may_take(self.options[index - 1], given))
            for index, given in enumerate(self.options)
        )

    def value(self, *names: str) -> Arg | None:
        """Return the argument of the last of the options."""
        for given in reversed(self.options):
            if given.name in names:
                return given.value
        return None


def _may_take(before: Given, given: Given) -> bool:
    return before.option is _FLAG and before.value is None and before.index in {given.index, given.index - 1}


def parse_options(rule: Rule, args: list[Arg], *, stop: bool = False) -> Parsed:
    """Take arguments apart; with ``stop`` at the first operand, as wrappers and subcommands do."""
    parsed = Parsed()
    index = 0
    while index < len(args):
        arg = args[index]
        text = arg.text
        place = index
        index += 1
        if rule.style == "none":
            parsed.operands.append(arg)
            continue
        if text == "--" and rule.style != "keys":
            _finish(parsed, args[index:], stop=stop)
            return parsed
        if rule.style == "keys":
            _key(rule, arg, parsed)
            continue
        if arg.open:
            parsed.open = True
        if not text.startswith("-") or text == "-":
            if stop:
                parsed.operands.append(arg)
                parsed.rest = args[index:]
                return parsed
            parsed.operands.append(arg)
        elif text.startswith("--") or rule.style == "word":
            index += _long(rule, arg, args[index : index + 1], parsed)
        else:
            index += _short(rule, arg, args[index : index + 1], parsed)
        for given in reversed(parsed.options):
            if given.index >= 0:
                break
            given.index = place
        if parsed.options and parsed.options[-1].option.role == "rest":
            parsed.rest = args[index:]
            return parsed
    return parsed


def _finish(parsed: Parsed, args: list[Arg], *, stop: bool) -> None:
    if stop:
        parsed.operands += args[:1]
        parsed.rest = args[1:]
    else:
        parsed.operands += args


def _key(rule: Rule, arg: Arg, parsed: Parsed) -> None:
    """Read key=value."""
    key, equals, value = arg.text.partition("=")
    option = rule.options.get(key) if equals else None
    if arg.open:
        parsed.open = True
    if option is None:
        parsed.operands.append(arg)
    else:
        parsed.options.append(Given(key, option, Arg(value, arg.start, arg.end, arg.pattern, arg.many), arg))


def _long(rule: Rule, arg: Arg, following: list[Arg], parsed: Parsed) -> int:
    """Read --name, --name=value or --name value; return how many further words it took."""
    name, equals, value = arg.text.partition("=")
    if HOLE in name:
        parsed.open = True
    name, option = _named(rule, name)
    if equals:
        attached = Arg(value, arg.start, arg.end, arg.pattern, arg.many)
        parsed.options.append(Given(name, option, attached, arg))
        return 0
    if option.arity == 1 and following:
        parsed.options.append(Given(name, option, following[0], arg))
        return 1
    parsed.options.append(Given(name, option, None, arg))
    return 0


def _named(rule: Rule, name: str) -> tuple[str, Option]:
    """Find an option by its name or by a beginning of it; where several fit, the worst is meant."""
    exact = rule.options.get(name)
    if exact is not None:
        return name, exact
    if rule.style == "word" and name.startswith("--"):
        single = rule.options.get(name[1:])
        if single is not None:
            return name[1:], single
    if rule.style == "gnu" and len(name) > 2:
        fitting = [known for known in rule.options if known.startswith(name) and known.startswith("--")]
        if fitting:
            worst = max(fitting, key=lambda known: (rule.options[known].risky, rule.options[known].arity))
            return worst, rule.options[worst]
    return name, _FLAG


def _short(rule: Rule, arg: Arg, following: list[Arg], parsed: Parsed) -> int:
    """Read a cluster of short options; the first that takes an argument takes the rest."""
    text = arg.text
    whole = rule.options.get(text)
    if whole is not None and len(text) > 2:
        if whole.arity == 1 and following:
            parsed.options.append(Given(text, whole, following[0], arg))
            return 1
        parsed.options.append(Given(text, whole, None, arg))
        return 0
    for index in range(1, len(text)):
        name = "-" + text[index]
        if text[index] == HOLE:
            parsed.open = True
        option = rule.options.get(name, _FLAG)
        remaining = text[index + 1 :]
        if option.arity == 0:
            parsed.options.append(Given(name, option, None, arg))
            continue
        if remaining:
            attached = Arg(remaining.removeprefix("="), arg.start, arg.end, arg.pattern, arg.many)
            parsed.options.append(Given(name, option, attached, arg))
            return 0
        if option.arity == 1 and following:
            parsed.options.append(Given(name, option, following[0], arg))
            return 1
        parsed.options.append(Given(name, option, None, arg))
        return 0
    return 0
