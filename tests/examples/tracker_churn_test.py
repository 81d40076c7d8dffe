#!/usr/bin/env python3
"""Connections that are dropped at random points leave nothing: PROGRAM [COUNT]

Method: clients send a random part of a conversation, wait or not, and close or reset. When they
are all gone, the server has as many descriptors and tasks as before, and as many operations as
its journal says.
"""

import json
import random
import socket
import struct
import sys
import threading
import time
import unittest

from support import Tracker, records, wait_until

PROGRAM = sys.argv.pop(1)
COUNT = int(sys.argv.pop(1)) if len(sys.argv) > 1 else 2000
THREADS = 20
SEED = 20260504
CONNECTIONS = "tracker_connections"
TASKS = "toadstone_live_tasks"


def whole_request(choice):
    body = json.dumps({"name": "churn"} if choice.random() < 0.5 else {"event": "progress"})
    path = choice.choice(("/operations", "/operations/1/messages"))
    if choice.random() < 0.4:
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    return (head + body).encode()


def one_client(tracker, choice):
    client = tracker.connect()
    try:
        text = b"".join(whole_request(choice) for _ in range(choice.randint(1, 3)))
        client.sendall(text[: choice.randint(0, len(text))])
        what = choice.random()
        if what < 0.3:
            time.sleep(choice.random() * 0.01)
        elif what < 0.5:
            client.settimeout(0.05)
            client.recv(choice.randint(1, 300))
        if choice.random() < 0.3: # a reset
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif choice.random() < 0.2:
            client.shutdown(socket.SHUT_WR)
            client.settimeout(0.05)
            client.recv(100)
    except (TimeoutError, ConnectionResetError, BrokenPipeError):
        pass
    finally:
        client.close()


class Churn(unittest.TestCase):
    def test_dropped_connections_leave_nothing(self):
        with Tracker(PROGRAM, "--slow-sync", 1, "--idle-timeout", 60000) as tracker:
            one = tracker.create()
            tracker.send(one, "start")
            tasks, descriptors = tracker.at_rest()
            failures = []
            threads = [threading.Thread(target=self.many, args=(tracker, i, failures))
                       for i in range(THREADS)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            self.assertEqual(failures, [])

            wait_until("connections end", lambda: tracker.metrics()[CONNECTIONS] == 1)
            wait_until("tasks end", lambda: tracker.metrics()[TASKS] == tasks)
            wait_until("descriptors are closed", lambda: tracker.descriptors() == descriptors)
            after = tracker.metrics()
            self.assertGreaterEqual(after["tracker_connections_total"], COUNT)
            self.assertGreater(after['tracker_poisonings_total{reason="requested"}'], 0)
            self.compare_with_journal(tracker)
            tracker.terminate()
            self.assertEqual(tracker.exit_code(), 0)
            recoveries = after["tracker_recoveries_total"]
            seconds = after["tracker_recovery_seconds_total"]
            print(f"    {COUNT} connections, {recoveries:.0f} recoveries in {seconds:.4f} s")

    @staticmethod
    def many(tracker, number, failures):
        choice = random.Random(SEED + number)
        try:
            for _ in range(COUNT // THREADS):
                one_client(tracker, choice)
        except Exception as error: # pylint: disable=broad-except
            failures.append(repr(error))

    def compare_with_journal(self, tracker):
        listed = tracker.list()
        written = records(tracker.journal)
        self.assertEqual([each["id"] for each in listed],
                         sorted(each["id"] for each in written if "name" in each))
        moves = sum(each["id"] == 1 and "event" in each for each in written)
        self.assertEqual(listed[0]["messages"], moves)


if __name__ == "__main__":
    print(f"    seed {SEED}")
    unittest.main(verbosity=2)
