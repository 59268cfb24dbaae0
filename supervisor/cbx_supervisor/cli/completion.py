"""The completion for bash, made from the verbs and their options: a file, since starting Python takes too long."""

from __future__ import annotations

import click

from cbx_supervisor.cli.main import VERBS, command
from cbx_supervisor.client.usage import help_text

_HEAD = """\
# bash completion for cbx-sandbox, generated: words of the help. Jobs are not asked for, that would be slow.
_cbx_sandbox() {
    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]:-} kind=${COMP_WORDS[2]:-} words
    if [ "$COMP_CWORD" -le 1 ]; then
"""
_TAIL = """\
        *) words="" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -o bashdefault -F _cbx_sandbox cbx-sandbox
"""


def bash() -> str:
    """The whole file."""
    context = click.Context(command)
    lines = [f'        words="{" ".join(VERBS)} --help --version"', "    else", '        case "$verb" in']
    for verb in VERBS:
        found = command.get_command(context, verb)
        assert found is not None
        if verb in {"run", "submit"}:
            words = _options_of_run()
        elif isinstance(found, click.Group):
            kinds = found.list_commands(context)
            inner = {kind: _options(found.get_command(context, kind)) for kind in kinds}
            cases = " ".join(f'{kind}) words="{" ".join(options)}" ;;' for kind, options in inner.items() if options)
            lines.append(f'        {verb}) case "$kind" in {cases} *) words="{" ".join(kinds)} --help" ;; esac ;;')
            continue
        else:
            words = _options(found)
        lines.append(f'        {verb}) words="{" ".join(words)}" ;;')
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _options(found: click.Command | None) -> list[str]:
    assert found is not None
    options = [name for parameter in found.params for name in parameter.opts if name.startswith("--")]
    return [*options, "--help"]


def _options_of_run() -> list[str]:
    words = help_text().replace(",", " ").replace("[", " ").replace("=", " ").split()
    return list(dict.fromkeys(word for word in words if word.startswith("--") and len(word) > 2 and word[2].isalpha()))
