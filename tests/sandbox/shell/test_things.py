# ruff: noqa: E501 -- tables of commands, a row a line
"""Packages, services, databases, ports, settings and processes that commands name."""

from __future__ import annotations

import re

import pytest

from cbx_sandbox.shell import matching, things
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import HostKind, Thing


def found(command: str, facts) -> set[str]:
    """Return the things of a command as "kind name", those that it only uses in brackets."""
    effects = analyse(command, facts).effects.system
    texts = {
        f"{effect.thing.value} {effect.name}" if effect.changes else f"[{effect.thing.value} {effect.name}]"
        for effect in effects
    }
    return {text.replace(" ]", "]").strip() for text in texts}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("apt-get install -y nginx=1.2 curl", {"package apt:nginx", "package apt:curl"}),
        ("apt-get -t stable install nginx", {"package apt:nginx"}),
        ("apt-get upgrade", {"package apt:"}),
        ("apt list", set()),
        ("dpkg -i a.deb", {"package apt:a.deb"}),
        ("dpkg -l", set()),
        ("dnf remove httpd", {"package rpm:httpd"}),
        ("pacman -Syu", {"package pacman:"}),
        ("pip install 'requests>=2' -r reqs.txt", {"package pip:requests"}),
        ("python3 -m pip install flask", {"package pip:flask"}),
        ("pip list", set()),
        ("npm install -g typescript", {"package npm:typescript"}),
        ("npm install", set()),
        ("systemctl restart nginx.service ssh", {"service nginx", "service ssh"}),
        ("systemctl status nginx", {"[service nginx]"}),
        ("service mysql stop", {"service mysql"}),
        ("rc-service sshd restart", {"service sshd"}),
        ("psql -d shop -c 'select 1'", {"database postgres:shop"}),
        ("psql postgres://u@h/shop", {"database postgres:shop"}),
        ("dropdb -U u shop", {"database postgres:shop"}),
        ("pg_dump shop", {"[database postgres:shop]"}),
        ("mysql -u root shop", {"database mysql:shop"}),
        ("redis-cli set a 1", {"database redis:0"}),
        ("alembic upgrade head", {"database project:migrations"}),
        ("python manage.py migrate", {"database project:migrations"}),
        ("python3 -m http.server 9000", {"port 9000"}),
        ("python3 -m http.server", {"port 8000"}),
        ("nc -l 8080", {"port 8080"}),
        ("nc example.org 80", set()),
        ("socat TCP-LISTEN:9000,fork TCP:localhost:80", {"port 9000"}),
        ("uvicorn app:app --port 8001", {"port 8001"}),
        ("gunicorn -b 0.0.0.0:8002 app", {"port 8002"}),
        ("flask run", {"port 5000"}),
        ("docker run -p 8080:80 nginx", {"port 8080"}),
        ("kubectl port-forward svc/x 9001:80", {"port 9001"}),
        ("ssh -L 9002:localhost:80 host", {"port 9002"}),
        ("php -S localhost:8003", {"port 8003"}),
        ("sysctl -w vm.swappiness=10", {"setting vm.swappiness"}),
        ("sysctl vm.swappiness", set()),
        ("echo 1 > /proc/sys/net/ipv4/ip_forward", {"setting net.ipv4.ip_forward"}),
        ("timedatectl set-timezone UTC", {"setting timezone"}),
        ("swapoff -a", {"setting swap"}),
        ("modprobe snd", {"setting module.snd"}),
        ("pkill -9 node", {"process node"}),
        ("kill 42", {"process 42"}),
        ("kill $!", set()),
        ("echo systemctl restart nginx", set()),
        ("ssh host systemctl restart nginx", set()),
        ("sudo systemctl restart nginx", {"service nginx"}),
    ],
)  # fmt: skip
def test_things_are_named(command: str, expected: set[str], facts) -> None:
    assert found(command, facts) == expected


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("kill 1234", {HostKind.PROCESS}), ("pkill x", {HostKind.PROCESS}), ("killall x", {HostKind.PROCESS}),
        ("systemctl stop x", {HostKind.SERVICE}), ("sysctl -w a=b", {HostKind.KERNEL}), ("mount /dev/sdb1 /mnt", {HostKind.KERNEL}),
        ("iptables -F", {HostKind.NETWORK}), ("ip link set eth0 down", {HostKind.NETWORK}), ("docker run x", {HostKind.DAEMON}),
        ("kill -9 $$", set()), ("sleep 5 & kill $!", set()), ("sleep 5 & p=$!; kill -TERM $p", set()), ("kill %1", set()),
        ("kill -- -$$", set()), ("coproc cat; kill $COPROC_PID", set()), ("kill $(jobs -p)", set()), ("kill 0", set()),
        ("kill $(pgrep node)", {HostKind.PROCESS}), ("kill $(cat x.pid)", {HostKind.PROCESS}), ("kill %1 1234", {HostKind.PROCESS}),
        ("kill -9 -1", {HostKind.PROCESS}), ("kill -s TERM 7", {HostKind.PROCESS}), ("kill -0 7", set()), ("kill -l", set()),
        ('sleep 5 & pids=($!); kill "${pids[@]}"', set()), ('a & p+=($!); b & p+=($!); kill "${p[@]}"', set()),
        ('p=($!); for q in "${p[@]}"; do kill $q; done', set()), ('p=($! 7); kill "${p[@]}"', {HostKind.PROCESS}),
        ("trap 'kill $P' EXIT; sleep 5 & P=$!", set()), ("trap 'kill $P' EXIT; P=7", {HostKind.PROCESS}),
        ("trap 'kill $P' EXIT", {HostKind.PROCESS}), ('sleep 5 & P=$!; trap "kill $P" EXIT', set()), ("trap 'kill $(jobs -p)' EXIT", set()),
        ("python3 -c 'import os; os.kill(os.getpid(), 9)'", set()), ("python3 -c 'import os; os.kill(7, 9)'", {HostKind.PROCESS}),
        ("python3 -c 'import os; p = os.fork(); os.kill(p, 9)'", set()), ("python3 -c 'import os; os.kill(int(input()), 9)'", {HostKind.PROCESS}),
        ("kill $PPID", {HostKind.PROCESS}), ("xargs kill < pids", {HostKind.PROCESS}), ("echo 'kill 1'", set()),
    ],
)  # fmt: skip
def test_only_what_others_have_started_is_the_hosts(command: str, kinds: set[HostKind], facts) -> None:
    """A job's own processes end with it; everything else is an effect on the host, by its kind."""
    assert {effect.kind for effect in analyse(command, facts).effects.host} == kinds


def test_looking_at_the_hosts_processes_is_no_change_of_them(facts) -> None:
    effects = analyse("ps aux", facts).effects
    assert effects.reads_processes
    assert effects.host == ()
    assert not analyse("cat notes.txt", facts).effects.reads_processes


def test_tables_have_keys_that_mean_something() -> None:
    for table in things.tables()["thing"]:
        assert set(table) <= things.KEYS | matching.KEYS
        assert Thing(table["thing"])
        names = table["names"]
        assert names in things.PLACES if isinstance(names, str) else all(re.compile(text).groups == 1 for text in names)
