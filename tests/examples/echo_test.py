#!/usr/bin/env python3
"""The echo server, driven by sockets: echo_test.py PROGRAM"""

import os
import signal
import sys
import threading
import time
import unittest

from support import Server, read_all, refusal, wait_until

PROGRAM = sys.argv.pop(1)


class EchoServer(unittest.TestCase):
    def test_what_is_sent_comes_back(self):
        sent = os.urandom(3_000_000)
        with Server(PROGRAM) as server, server.connect() as client:
            writer = threading.Thread(target=self.send_and_end, args=(client, sent))
            writer.start()
            self.assertEqual(read_all(client), sent)
            writer.join()

    @staticmethod
    def send_and_end(client, sent):
        client.sendall(sent)
        client.shutdown(1)

    def test_many_clients_at_once_get_their_own_bytes(self):
        with Server(PROGRAM) as server:
            clients = [server.connect() for _ in range(100)]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number * 50)
            for number, client in enumerate(clients):
                client.shutdown(1)
                self.assertEqual(read_all(client), b"%d" % number * 50)
                client.close()

    def test_a_client_that_says_nothing_is_dropped(self):
        with Server(PROGRAM, "--idle-timeout", 1) as server, server.connect() as client:
            self.assertEqual(read_all(client), b"")

    def test_connections_beyond_the_limit_wait_their_turn(self):
        with Server(PROGRAM, "--max-connections", 1, "--workers", 1) as server:
            with server.connect() as first, server.connect() as second:
                first.sendall(b"a")
                self.assertEqual(first.recv(1), b"a")
                second.sendall(b"b")
                second.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    second.recv(1)
                first.close()
                second.settimeout(30)
                self.assertEqual(second.recv(1), b"b")

    def test_a_signal_drains_and_the_exit_code_is_0(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with Server(PROGRAM) as server, server.connect() as client:
                client.sendall(b"before")
                self.assertEqual(client.recv(6), b"before")
                begun = time.monotonic()
                server.terminate(how)
                self.assertEqual(read_all(client), b"")
                self.assertEqual(server.exit_code(), 0)
                self.assertLess(time.monotonic() - begun, 4) # the drain did not have to cut
                self.assertEqual(server.text(), "")

    def test_no_descriptor_is_left_of_clients_that_leave_anyhow(self):
        with Server(PROGRAM) as server:
            with server.connect() as first:
                first.sendall(b"x")
                first.recv(1)
            wait_until("the first is gone", lambda: server.descriptors() >= 5)
            time.sleep(0.1)
            before = server.descriptors()
            for number in range(300):
                client = server.connect()
                if number % 3:
                    client.sendall(b"y" * 1000)
                if number % 3 == 2:
                    # A reset: unread bytes and no lingering.
                    client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
                client.close()
            wait_until("all are closed", lambda: server.descriptors() == before)

    def test_a_port_in_use_is_one_clear_line_and_exit_code_1(self):
        with Server(PROGRAM) as first:
            code, said = refusal(PROGRAM, "--port", first.port)
        self.assertEqual((code, said.count("\n")), (1, 1), said)
        self.assertIn("Address already in use", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
