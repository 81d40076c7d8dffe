#!/usr/bin/env python3
"""The operation tracker and clients that want too much of it: PROGRAM

Memory, places and time that a client may have without giving anything for it.
"""

import json
import os
import socket
import sys
import tempfile
import time
import unittest

from support import Tracker, read_all, sanitized, statuses, wait_until

PROGRAM = sys.argv.pop(1)
HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = (b"POST /operations HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n")
MEBIBYTE = 1 << 20
SOME = MEBIBYTE * (4 if sanitized(PROGRAM) else 1) # what memory may grow by


def post(body):
    head = b"POST /operations HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def flood(client, piece, most=64 * MEBIBYTE):
    """Sends until the server has had enough. Returns how much that was."""
    sent = 0
    client.settimeout(5)
    try:
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    except (ConnectionResetError, BrokenPipeError, TimeoutError):
        pass
    return sent


class Memory(unittest.TestCase):
    """S121: whatever is buffered and not yet taken is limited."""

    def flooded(self, begin, piece, status):
        with Tracker(PROGRAM, "--workers", 1) as tracker:
            tracker.create()
            before = tracker.memory()
            with tracker.connect() as client:
                client.sendall(begin)
                sent = flood(client, piece * (65536 // len(piece)))
                # What the kernel's buffers take is not read by the server.
                self.assertLess(sent, 32 * MEBIBYTE)
                self.assertIn(statuses(read_all(client)), ([status], [])) # or it was reset
            self.assertLess(tracker.memory() - before, 4 * SOME)
            self.assertEqual(tracker.request("GET", "/healthz")[0], 200)

    def test_of_a_chunks_extensions(self):
        self.flooded(CHUNKED + b"5;", b"a=b;", 400)

    def test_of_the_digits_of_a_chunks_size(self):
        self.flooded(CHUNKED, b"0", 400)

    def test_of_trailers(self):
        self.flooded(CHUNKED + b'c\r\n{"name":"t"}\r\n0\r\n', b"A: b\r\n", 400)

    def test_of_chunks_with_next_to_nothing_in_them(self):
        self.flooded(CHUNKED, b"1;" + b"e" * 4000 + b"\r\n \r\n", 400)

    def test_of_the_head(self):
        self.flooded(b"GET / HTTP/1.1\r\n" + HOST, b"A: b\r\n", 431)
        self.flooded(b"GET /", b"a", 431)

    def test_of_the_body(self):
        self.flooded(CHUNKED, b"1000\r\n" + b" " * 4096 + b"\r\n", 413)

    def test_of_empty_lines(self):
        with Tracker(PROGRAM, "--workers", 1, "--idle-timeout", 500) as tracker:
            tracker.create()
            before = tracker.memory()
            with tracker.connect() as client:
                flood(client, b"\r\n" * 8192, 1 << 40) # until the deadline
                read_all(client)
            self.assertLess(tracker.memory() - before, 4 * SOME)

    def test_small_chunks_are_all_right(self):
        body = b'{"name":"%s"}' % (b"n" * 200)
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            client.sendall(CHUNKED + chunks + b"0\r\n\r\n")
            self.assertEqual(statuses(client.recv(10000)), [201])


class Lists(unittest.TestCase):
    """S122: lists come in pages, and all answers under way have a budget."""

    COUNT = 5000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "journal")
        with open(self.path, "w", encoding="ascii") as journal:
            for number in range(1, self.COUNT + 1):
                journal.write('{"id":%d,"name":"%s"}\n' % (number, "n" * 150))

    def test_pages_together_are_the_whole(self):
        with Tracker(PROGRAM, former=self.path) as tracker:
            page = tracker.request("GET", "/operations")[1]
            self.assertEqual([each["id"] for each in page["operations"]],
                             list(range(1, 101)))
            self.assertEqual(page["next"], "/operations?after=100&limit=100")
            for limit in (7, 250, 1000, 10**9):
                listed = [each["id"] for each in tracker.list(limit)]
                self.assertEqual(listed, list(range(1, self.COUNT + 1)))
            page = tracker.request("GET", "/operations?after=4998")[1]
            self.assertEqual([each["id"] for each in page["operations"]], [4999, 5000])
            self.assertNotIn("next", page)
            page = tracker.request("GET", f"/operations?after={2**64 - 1}&limit=5")[1]
            self.assertEqual(page, {"operations": []})
            for query in ("limit=0", "limit=x", "limit=", "after=-1", f"after={2**64}"):
                status, answer, _ = tracker.request("GET", "/operations?" + query)
                self.assertEqual(status, 400, query)
                self.assertIn(query.split("=", maxsplit=1)[0], answer["error"])

    def test_a_page_has_an_end_in_bytes_too(self):
        with open(self.path, "w", encoding="ascii") as journal:
            for number in range(1, 51):
                journal.write('{"id":%d,"name":"n"}\n{"id":%d,"event":"start","note":"%s"}\n'
                              % (number, number, "\\u0001" * 2000))
        with Tracker(PROGRAM, former=self.path) as tracker:
            page = tracker.request("GET", "/operations?limit=1000")[1]
            self.assertLess(len(json.dumps(page)), 64 * 1024 + 13000)
            self.assertGreaterEqual(len(page["operations"]), 5)
            self.assertEqual(len(tracker.list(1000)), 50)

    def test_clients_that_do_not_read_cost_no_more_than_the_budget(self):
        budget = 2 * MEBIBYTE
        clients = []
        with Tracker(PROGRAM, "--max-answers", budget, "--request-timeout", 60000,
                     former=self.path) as tracker:
            before = tracker.memory()
            for _ in range(100):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", tracker.port))
                ask = b"GET /operations?limit=1000 HTTP/1.1\r\n" + HOST + b"\r\n"
                client.setblocking(False)
                client.send(ask * 300)
                clients.append(client)
            refused = []
            wait_until("somebody is told to come back", lambda: self.refusal(tracker, refused))
            status, answer, headers = refused[0]
            self.assertEqual((status, headers["Retry-After"]), (503, "1"))
            self.assertIn("come back", answer["error"])
            self.assertEqual(tracker.request("GET", "/healthz")[0], 200)
            self.assertLess(tracker.memory() - before, budget + 16 * SOME)
            for each in clients:
                each.close()
            wait_until("there is room again",
                       lambda: tracker.request("GET", "/operations")[0] == 200)

    @staticmethod
    def refusal(tracker, refused):
        answer = tracker.request("GET", "/operations")
        if answer[0] == 503:
            refused.append(answer)
        return bool(refused)


class Places(unittest.TestCase):
    """S124: a place is kept only by who uses it."""

    def test_empty_lines_do_not_put_off_the_deadline(self):
        with Tracker(PROGRAM, "--idle-timeout", 500) as tracker, tracker.connect() as client:
            begun = time.monotonic()
            client.settimeout(0.05)
            while time.monotonic() - begun < 30:
                try:
                    client.send(b"\r\n")
                    if client.recv(100) == b"":
                        break
                except TimeoutError:
                    continue
                except (ConnectionResetError, BrokenPipeError):
                    break
            self.assertLess(time.monotonic() - begun, 20)

    def test_the_deadline_is_that_of_the_whole_head(self):
        with Tracker(PROGRAM, "--idle-timeout", 500, "--header-timeout", 60000) as tracker:
            with tracker.connect() as client:
                client.sendall(GET[:-2]) # all but its end
                self.assertEqual(statuses(read_all(client)), [408])

    def test_the_idlest_makes_room(self):
        with Tracker(PROGRAM, "--max-connections", 2, "--workers", 1) as tracker:
            first, second, third = tracker.connect(), tracker.connect(), None
            for each in (first, second, first):
                each.sendall(GET)
                self.assertEqual(statuses(each.recv(1000)), [200])
            with tracker.connect() as third:
                third.sendall(GET)
                self.assertEqual(statuses(third.recv(1000)), [200])
                self.assertEqual(read_all(second), b"")
                first.sendall(GET)
                self.assertEqual(statuses(first.recv(1000)), [200])
            first.close()
            second.close()

    def test_heads_that_never_end_keep_nobody_out(self):
        with Tracker(PROGRAM, "--max-connections", 8, "--idle-timeout", 60000,
                     "--header-timeout", 60000) as tracker:
            slow = [tracker.connect() for _ in range(24)]
            for each in slow:
                try:
                    each.sendall(GET[:-2])
                except (ConnectionResetError, BrokenPipeError):
                    pass # it had to go already
            for _ in range(20):
                begun = time.monotonic()
                self.assertEqual(tracker.request("GET", "/healthz")[0], 200)
                self.assertLess(time.monotonic() - begun, 20)
            for each in slow:
                each.close()

    def test_an_address_has_its_share(self):
        with Tracker(PROGRAM, "--max-per-address", 2, "--workers", 1) as tracker:
            greedy = [tracker.connect(source="127.0.0.7") for _ in range(2)]
            for each in greedy:
                each.sendall(GET)
                self.assertEqual(statuses(each.recv(1000)), [200])
            with tracker.connect(source="127.0.0.7") as third:
                self.assertEqual(read_all(third), b"")
            with tracker.connect(source="127.0.0.8") as other:
                other.sendall(GET)
                self.assertEqual(statuses(other.recv(1000)), [200])
            for each in greedy:
                each.close()

    @unittest.skipIf(sanitized(PROGRAM), "UBSan would take valid objects for others")
    def test_without_descriptors_it_says_so(self):
        """S125"""
        with Tracker(PROGRAM, "--workers", 1, descriptors=11) as tracker:
            clients = [tracker.connect() for _ in range(12)]
            tracker.says("can be accepted on 127.0.0.1:")
            tracker.says("Too many open files")
            for each in clients:
                each.close()
            said = tracker.text().count("Too many open files")
            self.assertLessEqual(said, 2)


class Framing(unittest.TestCase):
    """S126: what a proxy could read in another way is refused."""

    @classmethod
    def setUpClass(cls):
        cls.tracker = Tracker(PROGRAM)
        cls.tracker.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.tracker.__exit__(None)

    def answers(self, sent):
        with self.tracker.connect() as client:
            client.sendall(sent)
            return read_all(client)

    def test_lines_that_go_on_in_the_next(self):
        head = b"GET /healthz HTTP/1.1\r\n" + HOST
        for folded in (b"Transfer-Encoding:\r\n chunked\r\n", b"Content-Length: 1\r\n\t2\r\n",
                       b"X: a\r\n b\r\n", b"Content-Length:\r\n 0\r\n"):
            with self.subTest(folded=folded):
                self.assertEqual(statuses(self.answers(head + folded + b"\r\n")), [400])

    def test_trailers_are_no_headers(self):
        trailers = (b"Connection: close\r\nContent-Type: text/plain\r\n"
                    b"Origin: http://evil.example\r\nExpect: tea\r\n")
        sent = CHUNKED + b'c\r\n{"name":"t"}\r\n0\r\n' + trailers + b"\r\n"
        sent += GET[:-2] + b"Connection: close\r\n\r\n"
        self.assertEqual(statuses(self.answers(sent)), [201, 200])

    def test_what_is_expected(self):
        head = b"GET /healthz HTTP/1.1\r\n" + HOST
        self.assertEqual(statuses(self.answers(head + b"Expect: tea\r\n\r\n")), [417])
        twice = b"Expect: 100-continue\r\nExpect: tea\r\n\r\n"
        self.assertEqual(statuses(self.answers(head + twice)), [417])
        body = b'{"name":"e"}'
        old = post(body).replace(b"HTTP/1.1", b"HTTP/1.0")
        with self.tracker.connect() as client:
            cut = old.replace(HOST, HOST + b"Expect: 100-continue\r\n")
            client.sendall(cut[: -len(body)])
            client.settimeout(0.3)
            with self.assertRaises(TimeoutError): # no 100 for HTTP/1.0
                client.recv(100)
            client.sendall(body)
            client.settimeout(30)
            self.assertEqual(statuses(client.recv(1000)), [201])

    def test_json_ends_where_the_body_does(self):
        for body in (b'{"name":"a"}\0', b'{"name":"a"}\0{"name":"b"}', b'\0{"name":"a"}',
                     b'{"name":"a"\0}'):
            with self.subTest(body=body):
                status, answer, _ = self.tracker.request("POST", "/operations", body)
                self.assertEqual(status, 400)
                self.assertIn("JSON", answer["error"])


class Browsers(unittest.TestCase):
    """S127: a web page of somebody else changes and reads nothing."""

    def status(self, tracker, method="POST", path="/operations", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "Content-Type" not in named and method == "POST":
            named["Content-Type"] = "application/json"
        return tracker.request(method, path, '{"name":"b"}' if method == "POST" else None,
                               named)[0]

    def test_forms_and_scripts_of_other_origins_change_nothing(self):
        with Tracker(PROGRAM) as tracker:
            own = f"127.0.0.1:{tracker.port}"
            for kind in ("text/plain", "application/x-www-form-urlencoded",
                         "multipart/form-data; boundary=x", "application/jsonx", ""):
                self.assertEqual(self.status(tracker, Content_Type=kind), 415, kind)
            for origin in ("http://evil.example", "null", f"http://{own}.evil.example",
                           "http://127.0.0.1:1", "file://"):
                self.assertEqual(self.status(tracker, Origin=origin), 403, origin)
            self.assertEqual(tracker.list(), [])
            for kind in ("application/json", "Application/JSON; charset=utf-8"):
                self.assertEqual(self.status(tracker, Content_Type=kind), 201)
            for origin in (f"http://{own}", f"https://{own}"):
                self.assertEqual(self.status(tracker, Origin=origin), 201)
            self.assertEqual(self.status(tracker, path="/operations/1/messages",
                                         Origin="http://evil.example"), 403)

    def test_a_name_that_is_not_its_own_leads_nowhere(self):
        with Tracker(PROGRAM, "--allow-host", "tracker.example") as tracker:
            for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "",
                         "tracker.example.evil", "[evil]", "127.0.0.1.evil.example"):
                self.assertEqual(self.status(tracker, "GET", Host=host), 421, host)
                self.assertEqual(self.status(tracker, "GET", "/healthz", Host=host), 421)
            for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80", "10.0.0.1",
                         "tracker.example", "Tracker.Example:80"):
                self.assertEqual(self.status(tracker, "GET", Host=host), 200, host)
            self.assertEqual(self.status(tracker, "GET", "http://evil.example/operations"), 421)
            self.assertEqual(self.status(tracker, "GET", "http://localhost/operations",
                                         Host="evil.example"), 200)
        with Tracker(PROGRAM, "--allow-host", "*") as tracker:
            self.assertEqual(self.status(tracker, "GET", Host="anything.example"), 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
