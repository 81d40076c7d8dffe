#!/usr/bin/env python3
"""Servers whose stderr nobody reads, or has: unread_stderr_test.py ECHO TRACKER

A line of the log is written after each of the failures below. With the pipe full, a worker that
wrote it would stand still for ever, and the server with it.
"""

import os
import signal
import sys
import time
import unittest

from support import PATIENCE, Server, Tracker, read_all, wait_until

TRACKER = sys.argv.pop()
ECHO = sys.argv.pop()


class Stderr:
    """What a server gets for its descriptor 2."""

    def __init__(self, kind):
        self.kind = kind
        self.reader, self.writer = os.pipe()
        if kind == "full":
            os.set_blocking(self.writer, False)
            try:
                while True:
                    os.write(self.writer, b"x" * 4096)
            except BlockingIOError:
                os.set_blocking(self.writer, True)
        if kind == "without a reader":
            os.close(self.reader)
            self.reader = -1

    def close(self):
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)

    def how(self):
        if self.kind == "closed":
            return {"stderr": None, "preexec_fn": lambda: os.close(2)}
        return {"stderr": self.writer}

    def drained(self):
        """What is there, without the filling."""
        os.set_blocking(self.reader, False)
        text = b""
        while True:
            try:
                some = os.read(self.reader, 65536)
            except BlockingIOError:
                some = b""
            if not some:
                return text.decode().lstrip("x")
            text += some


class NobodyReads(unittest.TestCase):
    def each_kind(self):
        for kind in ("full", "without a reader", "closed"):
            with self.subTest(stderr=kind):
                stderr = Stderr(kind)
                try:
                    yield stderr
                finally:
                    stderr.close()

    def ends(self, server, stderr):
        if stderr.kind == "full":
            # Nobody has set the shared description to O_NONBLOCK.
            self.assertTrue(os.get_blocking(stderr.writer))
        server.terminate(signal.SIGTERM)
        self.assertEqual(server.exit_code(), 0)

    @staticmethod
    def comes(stderr, text):
        """Once somebody reads, the lines that have waited are there."""
        said = []

        def told():
            said.append(stderr.drained())
            return text in "".join(said)

        wait_until(f"{text!r} in the log", told)

    @staticmethod
    def does_not_read(server):
        """Fails by its time limit, which is no reset: the server says so in its log."""
        client = server.connect()
        client.setblocking(False)
        until = time.monotonic() + PATIENCE
        sent = 0
        while time.monotonic() < until:
            try:
                sent += client.send(b"x" * 65536)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break  # it has given up
        client.close()

    def test_the_echo_server_goes_on_answering_and_ends_on_sigterm(self):
        for stderr in self.each_kind():
            options = ["--workers", 1, "--idle-timeout", 1]
            with Server(ECHO, *options, **stderr.how()) as server:
                for _ in range(2):
                    self.does_not_read(server)
                    with server.connect() as client:
                        client.sendall(b"hello")
                        client.shutdown(1)
                        self.assertEqual(read_all(client), b"hello")
                if stderr.kind == "full":
                    self.comes(stderr, "failed with")
                self.ends(server, stderr)

    def test_the_tracker_goes_on_answering_and_ends_on_sigterm(self):
        for stderr in self.each_kind():
            options = ["--workers", 1, "--slow-sync", 50]
            with Tracker(TRACKER, *options, **stderr.how()) as tracker:
                one = tracker.create()
                for _ in range(20):
                    with tracker.connect() as client:
                        body = b'{"event":"start"}'
                        head = f"POST /operations/{one}/messages HTTP/1.1\r\nHost: x\r\n"
                        head += "Content-Type: application/json\r\n"
                        head += f"Content-Length: {len(body)}\r\n\r\n"
                        client.sendall(head.encode() + body)
                    self.assertEqual(tracker.get(one)["id"], one)
                self.ends(tracker, stderr)

    def test_a_closed_standard_error_is_dev_null_and_no_client(self):
        with Server(ECHO, stderr=None, preexec_fn=lambda: os.close(2)) as server:
            with server.connect() as client:
                client.sendall(b"x")
                self.assertEqual(client.recv(1), b"x")
                self.assertEqual(os.readlink(f"/proc/{server.process.pid}/fd/2"), "/dev/null")

    def test_what_was_queued_is_written_when_the_reader_is_back(self):
        stderr = Stderr("full")
        try:
            with Tracker(TRACKER, "--workers", 1, stderr=stderr.writer) as tracker:
                tracker.create()
                self.comes(stderr, "operations: 0")
                self.ends(tracker, stderr)
        finally:
            stderr.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
