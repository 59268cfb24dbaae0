# ruff: noqa: E501 -- tables of commands, a row a line
"""How two commands get along."""

from __future__ import annotations

import pytest

from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.relations import relate


@pytest.mark.parametrize(
    ("first", "second", "relation", "code"),
    [
        ("ls", "cat notes.txt", "independent", None),
        ("cat notes.txt", "sort notes.txt", "independent", None),
        ("echo a > x", "echo b > y", "independent", None),
        ("echo a > x", "cat x", "dependent", "read-after-write"),
        ("cat x", "echo a > x", "conflicting", "write-after-read"),
        ("echo a > x", "echo b > x", "conflicting", "write-after-write"),
        ("echo a >> x", "echo b >> x", "conflicting", "append-append"),
        ("touch src/new", "make", "conflicting", "write-after-write"),
        ("make", "cat src/a.c", "dependent", "read-after-write"),
        ("cat src/*.c", "sed -i s/a/b/ src/a.c", "conflicting", "write-after-read"),
        ("cat src/*.h", "sed -i s/a/b/ src/a.c", "independent", None),
        ("cat x", "rm x", "dangerous", "delete"),
        ("rm x", "cat x", "dangerous", "delete"),
        ("echo a > x", "rm -r .", "dangerous", "create-delete"),
        ("touch $X", "cat src/a.c", "dependent", "read-after-write"),
        ("ls", "reboot", "dangerous", "machine"),
        ("systemctl restart x", "ip link set y down", "critical", "machine"),
        ("systemctl restart x", "systemctl stop y", "conflicting", "both-service"),
        ("ps aux", "kill 1", "dependent", "process"),
        ("git add a", "git commit -m x", "conflicting", "write-after-write"),
        ("cd /srv/a && make", "cd /srv/b && make", "independent", None),
    ],
)
def test_pairs(first: str, second: str, relation: str, code: str | None, facts) -> None:
    got, ties = relate(analyse(first, facts).effects, analyse(second, facts).effects)
    assert got == relation, ties
    assert code is None or code in {tie.code for tie in ties}


def test_caches_are_shared(facts) -> None:
    """Two projects may fill the same cache: the tool locks it."""
    first, second = analyse("cd /srv/a && npm ci", facts).effects, analyse("cd /srv/b && npm ci", facts).effects
    assert relate(first, second) == ("independent", ())


@pytest.mark.parametrize(
    ("first", "second", "relation", "code", "resource", "cell"),
    [
        ("apt-get install a", "apt-get install b", "conflicting", "package-manager", "package:apt:b", "modify directory conditional directory-lock"),
        ("pip install a", "systemctl status x", "independent", None, None, None),
        ("systemctl restart a", "systemctl status a", "dependent", "service", "service:a", "modify process conditional process-lock"),
        ("systemctl status a", "systemctl status a", "independent", None, None, None),
        ("psql -d shop -c 'select 1'", "dropdb shop", "conflicting", "database", "database:postgres:shop", "modify file conditional file-lock"),
        ("cd /srv/a && psql -d shop -c 'select 1'", "cd /srv/b && psql -d other -c 'select 1'", "independent", None, None, None),
        ("psql -c 'select 1'", "dropdb shop", "conflicting", "database", "database:postgres:shop", "modify file conditional file-lock"),
        ("cd /srv/a && dropdb shop", "cd /srv/b && redis-cli set a 1", "independent", None, None, None),
        ("alembic upgrade head", "python manage.py migrate", "conflicting", "database", "database:project:migrations", "modify file conditional file-lock"),
        ("python3 -m http.server 9000", "nc -l 9000", "conflicting", "port", "port:9000", "create network conditional network-lock"),
        ("nc -l 9001", "nc -l 9000", "independent", None, None, None),
        ("sysctl -w a.b=1", "sysctl -w a.b=2", "critical", "setting", "setting:a.b", "system memory conditional semaphore"),
        ("pkill node", "pkill node", "conflicting", "same-process", "process:node", "delete process conditional process-lock"),
        ("rm -r src", "cat src/a.c", "dangerous", "delete", "/work/project/src/a.c", "delete file restricted isolate"),
        ("cat src/a.c", "rm -r src", "dangerous", "delete", "/work/project/src", "delete directory restricted isolate"),
        ("echo a > x", "cat x", "dependent", "read-after-write", "/work/project/x", "create file conditional file-lock"),
        ("echo a >> notes.txt", "echo b >> notes.txt", "conflicting", "append-append", "/work/project/notes.txt", "modify file conditional file-lock"),
        ("ls", "iptables -F", "dangerous", "machine", "host:network", "system network restricted alone"),
        ("git add a", "git commit -m x", "conflicting", "resource", "git-index:/work/project/.git", "modify file conditional file-lock"),
    ],
)  # fmt: skip
def test_a_tie_names_the_resource_and_the_cell_that_resolves_it(
    first: str, second: str, relation: str, code: str | None, resource: str | None, cell: str | None, facts
) -> None:
    got, ties = relate(analyse(first, facts).effects, analyse(second, facts).effects)
    assert got == relation, ties
    if code is None:
        return
    tie = next(tie for tie in ties if tie.code == code and tie.resource == resource)
    assert f"{tie.cell.operation} {tie.cell.resource} {tie.cell.safety} {tie.cell.resolution}" == cell
    assert ties[0].relation == got
