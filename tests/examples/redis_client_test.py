#!/usr/bin/env python3
"""The client of Redis beside a scripted server, and beside a real one: PROGRAM SOURCE"""

import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from output_test import promised

failures = 0


def check(claim, sentence):
    global failures
    if not claim:
        failures += 1
        print(sentence)


def run(program, port):
    return subprocess.run(
        [program, "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def same(name, done, expected):
    printed = done.stdout.splitlines()
    good = done.returncode == 0 and not done.stderr and printed == expected
    check(good, f"{name}: exit code {done.returncode}\n {printed}\n {done.stderr}")


class Scripted:
    """Answers a byte at a time, and never what it is to answer at once after BLPOP."""

    def __init__(self, cut_after=None):
        self.cut_after = cut_after  # bytes of an answer, then it hangs up
        self.commands = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = client.makefile("rb")
        while header := lines.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(lines.readline()[1:])
                words.append(lines.read(length + 2)[:-2].decode())
            self.commands.append(words)
            answer = {
                "SET": b"+OK\r\n",
                "GET": b"$5\r\nseven\r\n",
                "INCR": b"-ERR value is not an integer or out of range\r\n",
            }.get(words[0])
            if answer is None:
                lines.readline()  # until the client has gone
                client.close()
                return
            for at, byte in enumerate(answer):
                if at == self.cut_after:
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(bytes([byte]))
                time.sleep(0.001)


def scripted(program, expected):
    server = Scripted()
    same("scripted", run(program, server.port), expected)
    check(server.connections == 2, f"{server.connections} connections, and one was given up")
    asked = [words[0] for words in server.commands]
    check(asked == ["SET", "GET", "INCR", "BLPOP", "GET"], f"it has asked {asked}")
    for at in range(5):
        done = run(program, Scripted(cut_after=at).port)
        told = "redis: receive: Server closed the connection" in done.stderr
        check(done.returncode == 1 and told, f"cut after {at} bytes: {done.stderr}")
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    done = run(program, port)
    told = "Connection refused" in done.stderr
    check(done.returncode == 1 and told, f"nobody listens: {done.stderr}")


def real(program, expected):
    server = shutil.which("redis-server")
    if not server:
        print("there is no redis-server here: the scripted one alone was asked")
        return
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    with tempfile.TemporaryDirectory() as folder:
        running = subprocess.Popen(
            [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            for _ in range(500):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            for _ in range(3):
                same("real", run(program, port), expected)
        finally:
            running.kill()
            running.wait()


def main():
    program, source = sys.argv[1:]
    expected, _ = promised(pathlib.Path(source))
    scripted(program, expected)
    real(program, expected)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
