#!/usr/bin/env python3
"""The client of HTTP by libcurl beside a server of Python's: PROGRAM SOURCE"""

import http.server
import os
import pathlib
import subprocess
import sys
import threading

failures = 0


def check(claim, sentence):
    global failures
    if not claim:
        failures += 1
        print(sentence)


class Seven(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = self.path == "/seven"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", "7" if found else "0")
        self.end_headers()
        self.wfile.write(b"seven!\n" if found else b"")

    def log_message(self, *_):
        pass


def run(program, *urls):
    environment = {**os.environ, "no_proxy": "*"}
    return subprocess.run(
        [program, *urls],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


def main():
    program, source = sys.argv[1:]
    lines = pathlib.Path(source).read_text().splitlines()
    head = [each.removeprefix("//     ") for each in lines]
    expected = [each for each in head if each.startswith("http")]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Seven)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{server.server_port}"
    done = run(program, at + "/seven", at + "/missing")
    printed = done.stdout.replace(at, "http://127.0.0.1:8080").splitlines()
    good = done.returncode == 0 and not done.stderr and sorted(printed) == sorted(expected)
    check(good, f"exit code {done.returncode}\n {printed}\n {done.stderr}")
    done = run(program, "http://127.0.0.1:1/")
    told = "fetch http://127.0.0.1:1/: " in done.stderr
    check(done.returncode == 1 and told, f"nobody listens: {done.returncode} {done.stderr}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
