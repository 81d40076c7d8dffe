#!/usr/bin/env python3
"""The operation tracker and its journal, with others about: PROGRAM"""

import fcntl
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import unittest

from support import Tracker, refusal, segments

PROGRAM = sys.argv.pop(1)


def take_lock(file):
    """An open file description lock, as another server would have it."""
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(file, 37, wanted) # F_OFD_SETLK


class KeptConnection:
    """One that the server knows: it has answered a request there."""

    def __init__(self, tracker):
        self.client = tracker.client()
        tracker.request("GET", "/healthz", kept=self.client)

    def begin_create(self, name):
        """Returns when the request is sent."""
        headers = {"Content-Type": "application/json"}
        self.client.request("POST", "/operations", json.dumps({"name": name}), headers)

    def created(self):
        """The id in the answer."""
        answer = self.client.getresponse()
        operation = json.loads(answer.read())
        self.client.close()
        return operation["id"]


class Alone(unittest.TestCase):
    """S120: one journal has one server."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "journal")

    def test_a_second_server_is_refused_and_changes_nothing(self):
        with Tracker(PROGRAM, journal=self.path) as tracker:
            tracker.create("one")
            before = self.content()
            code, said = refusal(PROGRAM, "--port", 0, "--journal", self.path,
                                 "--journal-wait", 200)
            self.assertEqual(code, 1)
            self.assertIn("is open in another process, which has not ended within 200 ms: stop "
                          "that one first", said)
            self.assertEqual(self.content(), before)
            self.assertEqual(tracker.create("two"), 2)
        with Tracker(PROGRAM, "--journal-wait", 0, journal=self.path) as tracker:
            self.assertEqual(len(tracker.list()), 2) # a kill leaves no lock behind

    def content(self):
        found = {}
        for name in os.listdir(self.path):
            with open(os.path.join(self.path, name), "rb") as file:
                found[name] = file.read()
        return found

    def test_a_port_in_use_is_told_before_the_journal_is_touched(self):
        other = os.path.join(os.path.dirname(self.path), "other")
        with Tracker(PROGRAM, journal=self.path) as tracker:
            code, said = refusal(PROGRAM, "--port", tracker.port, "--journal", other)
            self.assertEqual(code, 1)
            self.assertIn("Address already in use", said)
            self.assertFalse(os.path.exists(other))

    def test_a_restart_may_overlap(self):
        """The old one drains while the new one waits; nobody gets an id that is taken."""
        with Tracker(PROGRAM, "--slow-sync", 500, "--drain-timeout", 60000,
                     "--request-timeout", 60000, journal=self.path) as old, \
                Tracker(PROGRAM, "--journal-wait", 60000, journal=self.path,
                        ready=False) as new:
            new.says("waiting for its end")
            # Each has its connection; its request is in the server's socket before the signal.
            last = [KeptConnection(old) for _ in range(4)]
            for each in last:
                each.begin_create("last")
            old.terminate()
            new.wait_until_ready()
            first = new.create("first of the new one")
            answers = [each.created() for each in last]
            self.assertEqual(sorted(answers), [1, 2, 3, 4])
            self.assertEqual(first, 5)
            self.assertEqual(old.exit_code(), 0)
            self.assertEqual(len(new.list()), 5)

    def test_a_signal_ends_the_waiting_and_the_loading(self):
        """S128"""
        os.mkdir(self.path)
        with open(os.path.join(self.path, "lock"), "wb") as lock:
            take_lock(lock)
            tracker = Tracker(PROGRAM, "--journal-wait", 3600000, journal=self.path,
                              ready=False)
            with tracker:
                tracker.says("waiting for its end")
                tracker.terminate()
                self.assertEqual(tracker.exit_code(), 0)
                self.assertIn("draining after SIGTERM", tracker.text())


class NoJournal(unittest.TestCase):
    """S128: what is no journal is refused at once, and what was one is not written into."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "journal")

    def refused(self, path, why, option="--journal"):
        begun = time.monotonic()
        options = [option, path]
        if option == "--import":
            options += ["--journal", path + ".new"]
        code, said = refusal(PROGRAM, "--port", 0, *options)
        self.assertEqual((code, said.count("\n")), (1, 1), said)
        self.assertIn(why, said)
        self.assertLess(time.monotonic() - begun, 20)

    def test_pipes_and_devices(self):
        os.mkfifo(self.path)
        for path in (self.path, "/dev/full", "/dev/null", "/dev/zero"):
            self.refused(path, f"{path} is not a folder")
        for path in ("/dev/full", "/dev/null", "/dev/zero"):
            self.refused(path, f"{path} is not an ordinary file", "--import")
        self.refused(os.path.dirname(self.path), "is not empty, and no journal")
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["journal"])

    def test_ids_that_are_out_of_range(self):
        for number in (0, 2**53, 2**64 - 1):
            with open(self.path, "w", encoding="ascii") as journal:
                journal.write('{"id":%d,"name":"a"}\n' % number)
            self.refused(self.path, "the id is not between 1 and 9007199254740991", "--import")

    def test_the_last_id_is_the_last(self):
        with open(self.path, "w", encoding="ascii") as journal:
            journal.write('{"id":%d,"name":"last"}\n' % (2**53 - 1))
        with Tracker(PROGRAM, former=self.path) as tracker:
            for _ in range(2):
                status, answer, _ = tracker.request("POST", "/operations", {"name": "more"})
                self.assertEqual(status, 503)
                self.assertIn("no more ids", answer["error"])
            self.assertEqual(tracker.send(2**53 - 1, "start")[0], 200)
            self.assertEqual(len(tracker.list()), 1)

    def test_a_line_without_end_costs_no_time(self):
        with open(self.path, "wb") as journal:
            journal.write(b'{"id":1,"name":"a"}\n{')
            journal.truncate(1 << 30) # a gibibyte without an end of line
        self.refused(self.path, "longer than any record", "--import")

    def test_a_nul_hides_nothing(self):
        with open(self.path, "wb") as journal:
            journal.write(b'{"id":1,"name":"a"}\0{"id":2}\n{"id":2,"name":"b"}\n')
        self.refused(self.path, "damaged", "--import")

    def lost(self, tracker):
        """The journal is gone: nothing changes any more, and everybody is told."""
        status, answer, _ = tracker.request("POST", "/operations", {"name": "lost"})
        self.assertEqual(status, 503)
        self.assertIn("was renamed, removed or replaced", answer["error"])
        for _ in range(3):
            self.assertEqual(tracker.send(1, "start")[0], 503)
        status, answer, _ = tracker.request("GET", "/healthz")
        self.assertEqual(status, 503)
        self.assertIn("the journal has failed", answer["error"])
        self.assertEqual([each["id"] for each in tracker.list()], [1])
        self.assertEqual(tracker.get(1)["state"], "pending")
        self.assertEqual(tracker.metrics()["tracker_journal_failed"], 1)
        tracker.says("the journal has failed") # which comes by a thread of its own
        self.assertEqual(tracker.text().count("the journal has failed"), 1)

    def test_a_journal_that_was_renamed_or_removed(self):
        for what in (lambda: os.rename(self.path, self.path + ".old"),
                     lambda: shutil.rmtree(self.path), self.replace,
                     lambda: os.remove(os.path.join(self.path, "lock")),
                     lambda: os.remove(segments(self.path)[-1])):
            with Tracker(PROGRAM, journal=self.path) as tracker:
                if not tracker.list():
                    tracker.create("one")
                what()
                self.lost(tracker)
                tracker.terminate()
                self.assertEqual(tracker.exit_code(), 74)
            for path in (self.path, self.path + ".old"):
                shutil.rmtree(path, ignore_errors=True)

    def replace(self):
        os.rename(self.path, self.path + ".old")
        os.mkdir(self.path)

    def test_health_alone_finds_out(self):
        with Tracker(PROGRAM, journal=self.path) as tracker:
            tracker.create("one")
            shutil.rmtree(self.path)
            self.assertEqual(tracker.request("GET", "/healthz")[0], 503)

    def test_a_supervisor_may_have_it_end_by_itself(self):
        with Tracker(PROGRAM, "--when-journal-fails", "exit", journal=self.path) as tracker:
            tracker.create("one")
            shutil.rmtree(self.path)
            self.assertEqual(tracker.request("POST", "/operations", {"name": "x"})[0], 503)
            self.assertEqual(tracker.exit_code(), 74)


class Repair(unittest.TestCase):
    def test_a_client_that_leaves_does_not_cost_the_whole_journal(self):
        """A repair waits for the record that the cut change may have written, and reads
        nothing.

        Method: the first record becomes unreadable, and nobody notices.
        """
        with Tracker(PROGRAM, "--slow-sync", 300) as tracker:
            self.assertEqual(tracker.create("one"), 1)
            with open(segments(tracker.journal)[0], "r+b") as journal:
                journal.seek(4096)
                journal.write(b"#" * 40)
            client = tracker.connect()
            body = b'{"event":"start"}'
            client.sendall(b"POST /operations/1/messages HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.1)
            client.close()
            tracker.says("restored, as it is in the journal")
            self.assertEqual(tracker.get(1)["state"], "pending")
            self.assertEqual(tracker.send(1, "start")[0], 200)
            self.assertEqual(tracker.metrics()["tracker_recoveries_total"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
