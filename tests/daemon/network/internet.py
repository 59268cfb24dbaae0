"""The internet of a test: servers and a name server, run inside of a network namespace of its own. Standalone.

    python internet.py ADDRESS... -- NAME=ADDRESS,ADDRESS...

Every address gets: a web server on port 80, an echo on 443 and 8443, a talker like sshd on 22, a source of bytes on
9000. The name server is on port 53 of the first address. "ready" on stdout when all of them listen.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading


def web(connection):
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    host = connection.getsockname()[0]
    body = f"hello from {host}\n".encode()
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def talker(connection):
    connection.sendall(b"SSH-2.0-Test\r\n")
    line = connection.recv(4096)
    connection.sendall(b"you said " + line)


def source(connection):
    wanted = int(connection.recv(32))
    while wanted > 0:
        wanted -= connection.send(b"x" * min(wanted, 65536))


def listen(address, port, serve):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(128)

    def one(connection):
        with connection:
            try:
                serve(connection)
            except (OSError, ValueError):
                return

    def loop():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def names(address, table):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, peer = server.recvfrom(4096)
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
            at += 1 + query[at]
        kind = struct.unpack_from(">H", query, at + 1)[0]
        name = ".".join(labels).lower()
        found = table.get(name)
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        answers = [
            socket.inet_pton(family, one)
            for one in found or ()
            if family and (":" in one) == (family == socket.AF_INET6)
        ]
        code = 0 if found is not None else 3
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(answers), 0, 0)
        records = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 1, len(raw)) + raw for raw in answers)
        server.sendto(head + query[12 : at + 5] + records, peer)


if __name__ == "__main__":
    split = sys.argv.index("--")
    addresses = sys.argv[1:split]
    table = {
        name: [a for a in value.split(",") if a] for name, _, value in (a.partition("=") for a in sys.argv[split + 1 :])
    }
    for one in addresses:
        for port, serve in ((80, web), (443, echo), (8443, echo), (22, talker), (9000, source)):
            listen(one, port, serve)
    threading.Thread(target=names, args=(addresses[0], table), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
