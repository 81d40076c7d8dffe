#!/usr/bin/env python3
"""The operation tracker as an HTTP server: tracker_http_test.py PROGRAM"""

import http.client
import json
import pathlib
import shlex
import signal
import socket
import sys
import threading
import time
import unittest

from support import Tracker, read_all, refusal, statuses, wait_until

PROGRAM = sys.argv.pop(1)
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "operation_tracker"
JSON = {"Content-Type": "application/json"}
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def post(path, body, more=b""):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n" + more + b"\r\n" + body


class NormalUse(unittest.TestCase):
    def test_an_operation_goes_its_way(self):
        with Tracker(PROGRAM) as tracker:
            status, created, headers = tracker.request("POST", "/operations", {"name": "a"})
            self.assertEqual(status, 201)
            self.assertEqual(
                created, {"id": 1, "name": "a", "state": "pending", "messages": 0}
            )
            self.assertEqual(headers["Content-Type"], "application/json")
            self.assertIsNotNone(headers["Date"])
            way = [
                ("start", "running"),
                ("progress", "running"),
                ("pause", "paused"),
                ("resume", "running"),
                ("complete", "completed"),
            ]
            for count, (event, state) in enumerate(way, 1):
                status, moved = tracker.send(1, event, note=f"{count} ü")
                self.assertEqual((status, moved["state"]), (200, state))
                self.assertEqual((moved["messages"], moved["note"]), (count, f"{count} ü"))
            self.assertEqual(tracker.get(1), moved)
            self.assertEqual(tracker.create("b"), 2)
            listed = tracker.request("GET", "/operations")[1]["operations"]
            self.assertEqual([each["id"] for each in listed], [1, 2])

    def test_illegal_moves_are_told_and_harm_nothing(self):
        with Tracker(PROGRAM) as tracker:
            one = tracker.create()
            for event in ("progress", "pause", "resume", "complete"):
                status, answer = tracker.send(one, event)
                self.assertEqual(status, 409)
                self.assertIn(f"'{event}' is not possible", answer["error"])
            self.assertEqual(tracker.send(one, "fail")[0], 200)
            self.assertEqual(tracker.send(one, "start")[0], 409)
            self.assertEqual(tracker.metrics()["tracker_recoveries_total"], 0)

    def test_metrics_count(self):
        with Tracker(PROGRAM) as tracker:
            one = tracker.create()
            tracker.create()
            tracker.send(one, "fail")
            tracker.request("GET", "/nowhere")
            found = tracker.metrics()
            self.assertEqual(found['tracker_requests_total{code="201"}'], 2)
            self.assertEqual(found['tracker_requests_total{code="404"}'], 1)
            self.assertEqual(found["tracker_operations"], 2)
            self.assertEqual(found["tracker_live_operations"], 1)
            self.assertGreaterEqual(found["tracker_connections"], 1)
            self.assertGreater(found["toadstone_live_tasks"], 0)
            self.assertGreater(found["tracker_uptime_seconds"], 0)


class HeadComment(unittest.TestCase):
    def test_the_commands_in_main_cpp_print_what_is_said_there(self):
        lines = (EXAMPLE / "main.cpp").read_text(encoding="utf-8").splitlines()
        start = "//     $ curl localhost:8080/"
        pairs = [(line, after) for line, after in zip(lines, lines[1:])
                 if line.startswith(start) and after.startswith("//     {")]
        self.assertGreater(len(pairs), 5)
        with Tracker(PROGRAM) as tracker:
            for line, printed in pairs:
                path, *data = shlex.split(line.removeprefix(start))
                method = "POST" if data else "GET"
                answer = tracker.request(method, "/" + path, data[1] if data else None)
                self.assertEqual(answer[1], json.loads(printed.removeprefix("//")), line)


class Connections(unittest.TestCase):
    def test_a_connection_serves_many_requests(self):
        with Tracker(PROGRAM) as tracker:
            client = http.client.HTTPConnection("127.0.0.1", tracker.port, timeout=30)
            for number in range(1, 51):
                client.request("POST", "/operations", json.dumps({"name": "n"}), JSON)
                self.assertEqual(json.load(client.getresponse())["id"], number)
            self.assertEqual(tracker.metrics()["tracker_connections_total"], 2)
            client.close()

    def test_pipelined_requests_are_answered_in_order(self):
        requests = [post("/operations", b'{"name":"p"}') for _ in range(20)]
        requests.append(b"GET /operations/7 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        requests.append(b"GET /operations/99 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            client.sendall(b"".join(requests) + LAST_GET)
            answers = read_all(client)
            self.assertEqual(statuses(answers), [201] * 20 + [200, 404, 200])
            places = [answers.index(b'{"id":%d,' % number) for number in range(1, 21)]
            self.assertEqual(places, sorted(places))

    def test_bytes_may_come_one_at_a_time(self):
        chunked = (
            b"POST /operations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\n\r\n"
            b'5;a=b\r\n{"nam\r\nc\r\ne":"chunks"}\r\n0\r\nTrailer: t\r\n\r\n'
        )
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            for byte in chunked + post("/operations", b'{"name":"b"}') + LAST_GET:
                client.sendall(bytes([byte]))
            answers = read_all(client)
            self.assertEqual(statuses(answers), [201, 201, 200])
            self.assertIn(b'"name":"chunks"', answers)

    def test_http_1_0_closes_unless_asked_to_stay(self):
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answers = read_all(client)
            self.assertEqual(statuses(answers), [200, 200])
            self.assertIn(b"Connection: keep-alive", answers)

    def test_head_has_no_body(self):
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            client.sendall(LAST_GET.replace(b"GET", b"HEAD"))
            answer = read_all(client)
            self.assertIn(b"Content-Length: 16\r\n", answer)
            self.assertTrue(answer.endswith(b"\r\n\r\n"))

    def test_a_client_may_wait_for_permission_to_send_the_body(self):
        body = b'{"name":"patient"}'
        with Tracker(PROGRAM) as tracker, tracker.connect() as client:
            whole = post("/operations", body, b"Expect: 100-continue\r\n")
            client.sendall(whole[: -len(body)])
            self.assertEqual(client.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(body)
            self.assertEqual(statuses(client.recv(1000)), [201])


class Refusals(unittest.TestCase):
    """Every refusal is a sentence in JSON, and the server goes on."""

    @classmethod
    def setUpClass(cls):
        cls.tracker = Tracker(PROGRAM, "--max-header", 1000, "--max-body", 2000)
        cls.tracker.__enter__()
        cls.tracker.create()

    @classmethod
    def tearDownClass(cls):
        cls.tracker.__exit__(None)

    def refused(self, status, answer):
        self.assertEqual(answer[0], status, answer)
        self.assertGreater(len(answer[1]["error"].split()), 3)
        return answer

    def test_unknown_routes(self):
        for path in ("/", "/operation", "/operations/", "/operations/x", "/operations/1/y",
                     "/operations/-1", "/operations/99999999999999999999999",
                     "/operations/1/messages/", "/operations//messages"):
            with self.subTest(path=path):
                self.refused(404, self.tracker.request("GET", path))
        self.refused(404, self.tracker.request("GET", "/operations/12"))
        self.refused(404, self.tracker.request("POST", "/operations/12/messages",
                                               {"event": "start"}))

    def test_wrong_methods(self):
        for method, path, allow in (
            ("DELETE", "/operations", "GET, HEAD, POST"),
            ("POST", "/operations/1", "GET, HEAD"),
            ("GET", "/operations/1/messages", "POST"),
            ("POST", "/healthz", "GET, HEAD"),
            ("PUT", "/metrics", "GET, HEAD"),
            ("BREW", "/operations", "GET, HEAD, POST"),
        ):
            with self.subTest(method=method, path=path):
                answer = self.refused(405, self.tracker.request(method, path))
                self.assertEqual(answer[2]["Allow"], allow)

    def test_bodies_that_are_not_as_expected(self):
        bodies = {
            "empty": b"",
            "no JSON": b"name=rollout",
            "cut": b'{"name":"a',
            "trailing": b'{"name":"a"} x',
            "bad UTF-8": b'{"name":"\xff\xfe"}',
            "a NUL": b'{"name":"a\0b"}',
            "lone surrogate": b'{"name":"\\ud800"}',
            "array": b'["name"]',
            "a number": b"17",
            "null": b"null",
            "wrong type": b'{"name":7}',
            "no name": b'{"nam":"a"}',
            "empty name": b'{"name":""}',
            "long name": b'{"name":"%s"}' % (b"n" * 201),
            "huge number": b'{"name":"a","n":1e999}',
            "deep": b'{"name":' + b"[" * 500 + b"]" * 500 + b"}",
            "deeper": b"[" * 1900,
        }
        for what, body in bodies.items():
            with self.subTest(what):
                self.refused(400, self.tracker.request("POST", "/operations", body))
        messages = {
            "no event": b"{}",
            "unknown event": b'{"event":"explode"}',
            "wrong type": b'{"event":["start"]}',
            "wrong note": b'{"event":"start","note":{}}',
            "bytes": b'{"event":"\xc3\x28"}',
        }
        for what, body in messages.items():
            with self.subTest(what):
                path = "/operations/1/messages"
                self.refused(400, self.tracker.request("POST", path, body))

    def raw(self, sent):
        with self.tracker.connect() as client:
            client.sendall(sent)
            answer = read_all(client)
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nConnection: close", head)
        return statuses(answer), json.loads(body)

    def test_what_is_no_http(self):
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        long_head = head + b"X: " + b"y" * 1000 + b"\r\n\r\n"
        cases = (
            (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n"),
            (400, b"GET\r\n\r\n"),
            (400, b"GET /healthz\r\n\r\n"),
            (505, b"GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n"),
            (400, head + b"no colon\r\n\r\n"),
            (400, head + b"Bad Name: x\r\n\r\n"),
            (400, head + b"X: a\0b\r\n\r\n"),
            (400, b"GET /healthz HTTP/1.1\r\n\r\n"),
            (400, head + b"Host: y\r\n\r\n"),
            (400, head + b"Content-Length: -1\r\n\r\n"),
            (400, head + b"Content-Length: 1x\r\n\r\n"),
            (400, head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            (400, head + b"Content-Length: 99999999999999999999999\r\n\r\n"),
            (400, head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            (400, head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
            (501, head + b"Transfer-Encoding: gzip\r\n\r\n"),
            (501, head + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            (431, long_head),
            (431, b"GET /" + b"y" * 3000),
            (413, post("/operations", b"z" * 2001)),
            (413, head + b"Content-Length: 1000000000000\r\n\r\n"),
            (413, head + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"z" * 3000),
        )
        for status, sent in cases:
            with self.subTest(sent=sent[:80]):
                codes, body = self.raw(sent)
                self.assertEqual(codes, [status], body)
                self.assertGreater(len(body["error"].split()), 3)

    def test_a_refusal_reaches_a_client_that_is_still_sending(self):
        with self.tracker.connect() as client:
            client.sendall(post("/operations", b"z" * 300_000))
            self.assertEqual(statuses(read_all(client)), [413])

    def test_the_server_is_as_before(self):
        self.assertEqual(self.tracker.request("GET", "/healthz")[:2], (200, {"status": "ok"}))


class Deadlines(unittest.TestCase):
    def test_a_head_has_to_come_in_time_however_busily_it_comes(self):
        with Tracker(PROGRAM, "--header-timeout", 500) as tracker:
            with tracker.connect() as client:
                begun = time.monotonic()
                client.setblocking(False)
                answer = b""
                while not answer and time.monotonic() - begun < 20:
                    client.send(b"G" if time.monotonic() - begun < 0.05 else b"E")
                    time.sleep(0.02)
                    try:
                        answer = client.recv(1000)
                    except BlockingIOError:
                        continue
                self.assertEqual(statuses(answer), [408])
                self.assertGreater(time.monotonic() - begun, 0.45)

    def test_a_body_has_to_come_in_time(self):
        with Tracker(PROGRAM, "--request-timeout", 300) as tracker:
            with tracker.connect() as client:
                client.sendall(post("/operations", b'{"name":"a"}')[:-3])
                self.assertEqual(statuses(read_all(client)), [408])

    def test_a_connection_may_be_idle_only_so_long(self):
        with Tracker(PROGRAM, "--idle-timeout", 300) as tracker:
            with tracker.connect() as client:
                self.assertEqual(read_all(client), b"")
            with tracker.connect() as client:
                client.sendall(GET)
                self.assertEqual(statuses(read_all(client)), [200])

    def test_a_client_that_does_not_read_is_dropped(self):
        with Tracker(PROGRAM, "--request-timeout", 500) as tracker:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", tracker.port))
                client.settimeout(20)
                with self.assertRaises((ConnectionResetError, BrokenPipeError)):
                    while True: # the answers fill the buffers, then nothing moves any more
                        client.sendall(GET.replace(b"healthz", b"metrics") * 100)
            wait_until("it is dropped", lambda: tracker.metrics()["tracker_connections"] == 1)


class Limits(unittest.TestCase):
    def test_connections_beyond_the_limit_wait_while_all_are_busy(self):
        with Tracker(PROGRAM, "--max-connections", 2, "--workers", 1,
                     "--slow-sync", 300) as tracker:
            busy = [tracker.connect(), tracker.connect()]
            body = b'{"name":"b"}'
            for each in busy: # it has the head, so none of them is idle
                head = post("/operations", body, b"Expect: 100-continue\r\n")[: -len(body)]
                each.sendall(head)
                self.assertEqual(statuses(each.recv(1000)), [100])
            for each in busy:
                each.sendall(body)
            with tracker.connect() as third:
                third.sendall(GET)
                self.assertEqual(statuses(third.recv(1000)), [200])
            for each in busy: # whoever was idle first had to go, after his answer
                self.assertEqual(statuses(each.recv(1000)), [201])
                each.close()

    def test_the_command_line_is_checked(self):
        for options in (["--port", "70000"], ["--workers", "-1"], ["--max-body", "0"],
                        ["--idle-timeout", "0"], ["--nonsense"], ["--host", "no.such.host"]):
            with self.subTest(options=options):
                code, said = refusal(PROGRAM, *options)
                self.assertIn(code, (1, 2), said)
                self.assertIn(options[-1] if len(options) == 1 else options[0][2:], said)


class Draining(unittest.TestCase):
    def test_a_signal_lets_requests_in_flight_finish(self):
        with Tracker(PROGRAM, "--slow-sync", 500) as tracker:
            idle = tracker.connect()
            busy = tracker.connect()
            busy.sendall(post("/operations", b'{"name":"last"}'))
            time.sleep(0.2)
            tracker.terminate()
            self.assertEqual(read_all(idle), b"")
            answer = read_all(busy)
            self.assertEqual(statuses(answer), [201])
            self.assertIn(b"\r\nConnection: close", answer)
            idle.close()
            busy.close()
            self.assertEqual(tracker.exit_code(), 0)
            self.assertIn("draining after SIGTERM", tracker.text())
            self.assertIn("0 of them cut", tracker.text())

    def test_the_drain_has_an_end(self):
        with Tracker(PROGRAM, "--slow-sync", 60000, "--drain-timeout", 300,
                     "--request-timeout", 60000) as tracker:
            with tracker.connect() as busy:
                busy.sendall(post("/operations", b'{"name":"never"}'))
                time.sleep(0.2)
                begun = time.monotonic()
                tracker.terminate(signal.SIGINT)
                self.assertEqual(tracker.exit_code(), 0)
                self.assertLess(time.monotonic() - begun, 20)
                self.assertIn("1 of them cut", tracker.text())

    def test_clients_at_work_see_no_reset(self):
        # Each asks again and again until it is told to go; every answer that begins is whole.
        with Tracker(PROGRAM) as tracker:
            results = []
            clients = [threading.Thread(target=self.ask_until_closed, args=(tracker, results))
                       for _ in range(8)]
            for each in clients:
                each.start()
            time.sleep(0.3)
            tracker.terminate()
            for each in clients:
                each.join()
            self.assertEqual(tracker.exit_code(), 0)
            self.assertEqual(results, ["closed"] * 8)

    @staticmethod
    def ask_until_closed(tracker, results):
        client = http.client.HTTPConnection("127.0.0.1", tracker.port, timeout=30)
        try:
            while True:
                client.request("POST", "/operations", '{"name":"w"}', JSON)
                answer = client.getresponse()
                json.load(answer)
                if answer.getheader("Connection") == "close":
                    break
            results.append("closed")
        except http.client.RemoteDisconnected:
            results.append("closed") # between two requests
        except Exception as error: # pylint: disable=broad-except
            results.append(repr(error))
        finally:
            client.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
