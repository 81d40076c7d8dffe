#!/usr/bin/env python3
"""Critical sections of the tracker that are cut in the middle (S78): PROGRAM

Method: --slow-sync makes each section last, so that a client can leave, or run out of time,
while its request is in one. What the journal holds is compared with what the server says.
"""

import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time
import unittest

from support import Tracker, read_all, records, refusal, statuses

PROGRAM = sys.argv.pop(1)
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "operation_tracker"
CAUSE = re.compile(
    r"mutex 'operation' poisoned: task \d+ 'conn 127\.0\.0\.1:\d+' was cancelled \((\w+)\) "
    r"at store\.cpp:\d+ holding the lock taken at store\.cpp:\d+"
)


def message(operation, event):
    body = json.dumps({"event": event}).encode()
    head = f"POST /operations/{operation}/messages HTTP/1.1\r\nHost: localhost\r\n"
    return (head.encode() + b"Content-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body)


class Interruption(unittest.TestCase):
    def leave_in_the_middle(self, tracker, operation, event):
        """Sends a message and leaves once the server is in the section."""
        client = tracker.connect()
        client.sendall(message(operation, event))
        time.sleep(0.1)
        client.close()

    def test_a_client_that_leaves_in_a_section_poisons_and_the_server_recovers(self):
        with Tracker(PROGRAM, "--slow-sync", 300) as tracker:
            one = tracker.create()
            self.assertEqual(tracker.send(one, "start")[0], 200)
            self.leave_in_the_middle(tracker, one, "pause")
            tracker.says("restored, as it is in the journal")
            causes = CAUSE.findall(tracker.text())
            self.assertEqual(causes, ["requested"])
            self.assertIn(self.places_in_head_comment(), tracker.text())
            tracker.says("the client left during POST /operations/1/messages")
            self.assertEqual(tracker.get(one)["state"], "running")
            found = tracker.metrics()
            self.assertEqual(found['tracker_poisonings_total{reason="requested"}'], 1)
            self.assertEqual(found["tracker_recoveries_total"], 1)
            self.assertGreater(found["tracker_recovery_seconds_total"], 0)
            self.assertEqual(found["tracker_requests_abandoned_total"], 1)
            self.assertEqual(tracker.send(one, "pause")[0], 200)

    @staticmethod
    def places_in_head_comment():
        text = (EXAMPLE / "main.cpp").read_text(encoding="utf-8")
        joined = re.sub(r"\n//\s+", " ", text)
        return re.search(r"at store\.cpp:\d+ holding the lock taken at store\.cpp:\d+",
                         joined)[0]

    def test_a_request_that_runs_out_of_time_in_a_section_does_the_same(self):
        with Tracker(PROGRAM, "--slow-sync", 60000, "--request-timeout", 300) as tracker:
            status, answer, _ = tracker.request("POST", "/operations", {"name": "late"})
            self.assertEqual(status, 503)
            self.assertIn("too long", answer["error"])
            tracker.says("restored, as it is in the journal")
            self.assertEqual(CAUSE.findall(tracker.text()), ["timeout"])
            self.assertEqual(tracker.request("GET", "/operations")[1], {"operations": []})
            found = tracker.metrics()
            self.assertEqual(found['tracker_poisonings_total{reason="timeout"}'], 1)

    def test_a_waiter_that_leaves_poisons_nothing(self):
        with Tracker(PROGRAM, "--slow-sync", 500) as tracker:
            one = tracker.create()
            client = tracker.connect()
            client.sendall(message(one, "start"))
            time.sleep(0.1)
            self.leave_in_the_middle(tracker, one, "pause") # it waits for the lock
            self.assertEqual(statuses(client.recv(1000)), [200])
            client.close()
            self.assertEqual(tracker.get(one)["state"], "running")
            self.assertEqual(tracker.metrics()["tracker_recoveries_total"], 0)

    def test_nobody_else_sees_an_error(self):
        """Half of the clients leave in the middle, again and again, and the others work."""
        with Tracker(PROGRAM, "--slow-sync", 5) as tracker:
            one = tracker.create()
            tracker.send(one, "start")
            stop = threading.Event()
            vandals = [threading.Thread(target=self.vandal, args=(tracker, one, stop))
                       for _ in range(4)]
            for each in vandals:
                each.start()
            results = []
            workers = [threading.Thread(target=self.work, args=(tracker, results))
                       for _ in range(4)]
            for each in workers:
                each.start()
            for each in workers:
                each.join()
            stop.set()
            for each in vandals:
                each.join()
            self.assertEqual(results, [201] * 40)
            found = tracker.metrics()
            self.assertGreater(found["tracker_recoveries_total"], 0)
            listed = tracker.request("GET", "/operations")[1]["operations"]
            self.assertEqual(len(listed), 41)
            written = records(tracker.journal)
            self.assertEqual(sum("event" not in each for each in written), 41)
            self.assertEqual(tracker.get(one)["messages"],
                             sum(each["id"] == one and "event" in each for each in written))

    @staticmethod
    def vandal(tracker, operation, stop):
        while not stop.is_set():
            client = tracker.connect()
            client.sendall(message(operation, "progress"))
            time.sleep(0.007)
            client.close()

    @staticmethod
    def work(tracker, results):
        for _ in range(10):
            results.append(tracker.request("POST", "/operations", {"name": "w"})[0])
            status = tracker.request("GET", "/operations/1")[0]
            if status != 200:
                results.append(status)


class Journal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "journal")

    def write(self, text):
        with open(self.path, "wb") as journal:
            journal.write(text)

    def test_a_restart_knows_everything(self):
        with Tracker(PROGRAM, journal=self.path) as tracker:
            for name in ("a", "b", 'quote " and ü'):
                tracker.create(name)
            tracker.send(2, "start", note="x\ny")
            before = tracker.request("GET", "/operations")[1]
            tracker.terminate()
            self.assertEqual(tracker.exit_code(), 0)
        with Tracker(PROGRAM, journal=self.path) as tracker:
            self.assertEqual(tracker.request("GET", "/operations")[1], before)
            self.assertEqual(tracker.create(), 4)
            tracker.process.kill() # what has been answered is on the disk
        with Tracker(PROGRAM, journal=self.path) as tracker:
            self.assertEqual(len(tracker.request("GET", "/operations")[1]["operations"]), 4)

    def test_a_former_journals_torn_last_line_is_left_out(self):
        whole = b'{"id":1,"name":"a"}\n{"id":1,"event":"start"}\n'
        for tail in (b"{", b'{"id":1,"event":"pau', b'{"id":1,"event":"pause"}', b"\0\0\0"):
            with self.subTest(tail=tail):
                self.write(whole + tail)
                with Tracker(PROGRAM, former=self.path) as tracker:
                    tracker.says(f"left out {len(tail)} bytes")
                    self.assertEqual(tracker.get(1)["state"], "running")
                    self.assertEqual(tracker.send(1, "complete")[0], 200)
                    last = records(tracker.journal)[-1]
                self.assertEqual(last, {"id": 1, "event": "complete"})
                with open(self.path, "rb") as journal:
                    self.assertEqual(journal.read(), whole + tail)

    def test_a_long_former_journal_is_read_in_pieces(self):
        count = 20000
        lines = [b'{"id":%d,"name":"%s"}\n' % (i, b"n" * (i % 90 + 1))
                 for i in range(1, count + 1)]
        self.write(b"".join(lines))
        with Tracker(PROGRAM, former=self.path) as tracker:
            self.assertEqual(tracker.create(), count + 1)

    def test_what_was_taken_over_is_a_journal_of_its_own(self):
        self.write(b'{"id":1,"name":"a"}\n{"id":1,"event":"start"}\n')
        new = self.path + ".new"
        with Tracker(PROGRAM, former=self.path, journal=new) as tracker:
            before = tracker.list()
            tracker.process.kill()
        code, said = refusal(PROGRAM, "--port", 0, "--journal", new, "--import", self.path)
        self.assertEqual(code, 1)
        self.assertIn(f"{new} is no new journal, into which {self.path} could be taken over: "
                      "start without --import", said)
        code, said = refusal(PROGRAM, "--port", 0, "--journal", self.path)
        self.assertEqual((code, said.count("\n")), (1, 1), said)
        self.assertIn(f"{self.path} is not a folder, which a journal is. One of the former "
                      "format, a file, is taken over into a new one by --import", said)
        with Tracker(PROGRAM, journal=new) as tracker:
            self.assertEqual(tracker.list(), before)
            self.assertEqual(tracker.create(), 2)

    def test_a_file_that_is_no_journal_is_left_alone(self):
        cases = (b"root:x:0:0:root:/root:/bin/bash\n", b"no end of line",
                 b'{"id":1,"event":"start"}\n', b'{"id":1,"name":"a"}\n{"id":1,"na\n{"id":2}\n',
                 b'{"id":1,"name":"a"}\n' * 2, b'{"id":-1,"name":"a"}\n', b"\n")
        for text in cases:
            with self.subTest(text=text):
                self.write(text)
                code, said = refusal(PROGRAM, "--port", 0, "--journal", self.path + ".new",
                                     "--import", self.path)
                self.assertEqual((code, said.count("\n")), (1, 1), said)
                self.assertIn(f"{self.path} line ", said)
                self.assertFalse(os.path.exists(self.path + ".new"))
                with open(self.path, "rb") as journal:
                    self.assertEqual(journal.read(), text)

    def test_a_journal_that_cannot_be_opened_is_one_line(self):
        code, said = refusal(PROGRAM, "--port", 0, "--journal", "/no/such/folder/journal")
        self.assertEqual((code, said.count("\n")), (1, 1), said)
        self.assertIn("/no/such/folder: No such file", said)

    def test_a_disk_that_is_full_costs_the_request_and_nothing_else(self):
        # RLIMIT_FSIZE leaves no room for the next segment, as a full disk does.
        with Tracker(PROGRAM, journal=self.path) as tracker:
            one = tracker.create("a")
        before = os.listdir(self.path)
        with Tracker(PROGRAM, journal=self.path) as tracker:
            self.limit_file_size(tracker, 8192)
            for _ in range(3):
                status, answer = tracker.send(one, "start")
                self.assertEqual(status, 507)
                self.assertIn("not appended to the journal", answer["error"])
                self.assertIn("File too large", answer["error"])
            self.assertEqual(tracker.get(one)["state"], "pending")
            self.assertEqual(tracker.request("GET", "/healthz")[0], 200)
            self.limit_file_size(tracker, 1 << 40)
            self.assertEqual(tracker.send(one, "start")[0], 200)
            found = tracker.metrics()
            self.assertEqual(found["tracker_recoveries_total"], 0) # it has not happened
            self.assertEqual(found["tracker_journal_failed"], 0)
        self.assertEqual(len(os.listdir(self.path)), len(before) + 1)

    @staticmethod
    def limit_file_size(tracker, size):
        import resource # pylint: disable=import-outside-toplevel

        hard = resource.prlimit(tracker.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(tracker.process.pid, resource.RLIMIT_FSIZE, (size, hard))


class HalfClosed(unittest.TestCase):
    def test_a_client_that_has_said_everything_looks_like_one_that_left(self):
        with Tracker(PROGRAM, "--slow-sync", 60000) as tracker, tracker.connect() as client:
            client.sendall(b"POST /operations HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Type: application/json\r\nContent-Length: 12\r\n\r\n"
                           b'{"name":"h"}')
            client.shutdown(1)
            self.assertEqual(read_all(client), b"")
            tracker.says("the client left")

    def test_requests_that_need_no_wait_are_answered_all_the_same(self):
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            client.shutdown(1)
            self.assertEqual(statuses(read_all(client)), [200] * 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
