#!/usr/bin/env python3
"""Random mutations of valid requests are answered, and the server lives: PROGRAM [COUNT]"""

import random
import re
import sys
import unittest

from support import Tracker, read_all

PROGRAM = sys.argv.pop(1)
COUNT = int(sys.argv.pop(1)) if len(sys.argv) > 1 else 400
SEED = 20260505

HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
VALID = (
    b"POST /operations HTTP/1.1\r\n" + HEAD + b'Content-Length: 14\r\n\r\n{"name":"fuzz"',
    b"POST /operations HTTP/1.1\r\n" + HEAD + b'Content-Length: 15\r\n\r\n{"name":"fuzz"}',
    b"POST /operations/1/messages HTTP/1.1\r\n" + HEAD + b"Content-Length: 31\r\n\r\n"
    b'{"event":"progress","note":"n"}',
    b"POST /operations HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    b'f\r\n{"name":"fuzz"}\r\n0\r\n\r\n',
    b"GET /operations/1 HTTP/1.1\r\n" + HEAD + b"Connection: keep-alive\r\n\r\n",
    b"GET /operations?limit=3&after=0 HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"HEAD http://localhost/healthz?a=b HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\n\r\n",
)
SPICE = (b"\r\n", b"\0", b"\xff", b"\xc3\x28", b"{", b"[" * 100, b'"', b":", b"1e999", b"-1",
         b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b" ", b"%00", b"\\u0000",
         b"99999999999999999999", b"HTTP/9.9", b"A" * 5000)


def mutated(choice):
    text = bytearray(choice.choice(VALID) + choice.choice((b"", choice.choice(VALID))))
    for _ in range(choice.randint(1, 6)):
        place = choice.randrange(len(text) + 1)
        what = choice.random()
        if what < 0.3:
            text[place:place] = choice.choice(SPICE)
        elif what < 0.5:
            del text[place : place + choice.randint(1, 20)]
        elif what < 0.8 and place < len(text):
            text[place] = choice.randrange(256)
        elif what < 0.9:
            text[place:place] = text[choice.randrange(len(text) + 1) :][:40]
        else:
            del text[place:]
    return bytes(text)


class Fuzz(unittest.TestCase):
    def test_whatever_comes_the_server_answers_or_closes(self):
        choice = random.Random(SEED)
        with Tracker(PROGRAM, "--header-timeout", 2000, "--request-timeout", 2000) as tracker:
            tracker.create()
            tracker.send(1, "start")
            for number in range(COUNT):
                sent = mutated(choice)
                with self.subTest(number=number, sent=sent), tracker.connect() as client:
                    client.sendall(sent)
                    client.shutdown(1)
                    answer = read_all(client)
                    self.assertTrue(re.match(rb"HTTP/1\.1 \d{3} |$", answer), answer)
                    self.assertNotIn(b"HTTP/1.1 500", answer)
            self.assertEqual(tracker.request("GET", "/healthz")[0], 200)
            self.assertEqual(tracker.send(1, "progress")[0], 200)
            tracker.terminate()
            self.assertEqual(tracker.exit_code(), 0)


if __name__ == "__main__":
    print(f"    seed {SEED}")
    unittest.main(verbosity=2)
