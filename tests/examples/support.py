"""Starts the example servers, talks to them, and looks at what is left of them."""

import contextlib
import functools
import http.client
import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

# Sanitizers on a loaded machine: what takes longer than this does not come any more.
PATIENCE = 60


def wait_until(what, condition, patience=PATIENCE):
    """Polls, because another process offers nothing to wait for."""
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{patience} s were not enough: {what}")
        time.sleep(0.01)


def refusal(program, *options):
    """A start that is refused: the exit code and what is said on stderr."""
    done = subprocess.run(
        [os.path.abspath(program), *map(str, options)],
        cwd=tempfile.gettempdir(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "", done
    return done.returncode, done.stderr


@functools.cache
def sanitized(program):
    """A program that a sanitizer is in. It needs memory of its own, and
    UndefinedBehaviorSanitizer a descriptor at times: without one it takes valid objects for
    others."""
    with open(program, "rb") as file:
        content = file.read()
    return any(name in content for name in (b"__asan_init", b"__tsan_init", b"__ubsan_handle"))


class Server:
    """A server process. Its stderr is collected, line by line, unless it gets another one."""

    def __init__(self, program, *options, stderr=subprocess.PIPE, preexec_fn=None,
                 descriptors=None, ready=True):
        def prepare():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if preexec_fn:
                preexec_fn()

        environment = dict(os.environ)
        if sanitized(program): # memory that was freed is to count for little
            freed = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
            given = environment.get("ASAN_OPTIONS")
            environment["ASAN_OPTIONS"] = f"{given}:{freed}" if given else freed
        self.process = subprocess.Popen( # pylint: disable=subprocess-popen-preexec-fn
            [program, "--port", "0", *map(str, options)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=prepare,
        )
        self.lines = []
        self.reader = threading.Thread(target=self._collect, daemon=True)
        self.reader.start()
        if ready:
            self.wait_until_ready()

    def wait_until_ready(self):
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line)
        if not match:
            self.process.kill()
            self.reader.join(PATIENCE)
            raise AssertionError(f"not listening: {line!r} {self.text()}")
        self.port = int(match[1])

    def _collect(self):
        for line in self.process.stderr or ():
            self.lines.append(line.rstrip("\n"))

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE)
        self.process.stdout.close()
        if self.process.stderr:
            self.process.stderr.close()
        if failed:
            print("the server said:\n" + "\n".join(self.lines[-100:]))

    def text(self):
        return "\n".join(self.lines)

    def says(self, text):
        """Waits for it, as it may come after the answer to a request."""
        wait_until(f"the server says {text!r}", lambda: text in self.text())

    def connect(self, timeout=PATIENCE, source="127.0.0.1"):
        where = ("127.0.0.1", self.port)
        connection = socket.create_connection(where, timeout, (source, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def terminate(self, how=signal.SIGTERM):
        self.process.send_signal(how)

    def exit_code(self):
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code

    def memory(self):
        """Bytes that are resident, at their most since the start."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) << 10

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def segments(journal):
    """The segments of a journal, by their first record."""
    return [os.path.join(journal, name) for name in sorted(os.listdir(journal))
            if re.fullmatch(r"segment-\d{20}", name)]


def records(journal):
    """What is in the segments of a tracker's journal, see docs/journal.md; the JSON of each."""
    found = []
    for path in segments(journal):
        with open(path, "rb") as file:
            content = file.read()
        epoch, next_number = struct.unpack_from("<QQ", content, 8)
        at = 4096
        while at + 40 <= len(content):
            _, length, number, of, _, kind, _ = struct.unpack_from("<IIQQQII", content, at)
            if of != epoch or number != next_number or kind > 0xFFFFFF00:
                break
            if kind == 1:
                found.append(json.loads(content[at + 40 : at + 40 + length]))
            next_number += 1
            at += 40 + (length + 7) // 8 * 8
    return found


class Tracker(Server):
    """The operation tracker, with a journal of its own unless one is given. `former`: a file
    that it takes over."""

    def __init__(self, program, *options, journal=None, former=None, **more):
        self.folder = None
        if journal is None:
            self.folder = tempfile.TemporaryDirectory()
            journal = os.path.join(self.folder.name, "journal")
        self.journal = journal
        if former is not None:
            options = (*options, "--import", former)
        super().__init__(program, "--journal", journal, *options, **more)

    def __exit__(self, failed, *rest):
        super().__exit__(failed, *rest)
        if self.folder:
            self.folder.cleanup()

    def client(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def request(self, method, path, body=None, headers=None, kept=None):
        """One request, on a connection of its own unless one is given that is kept: status,
        JSON or text, headers."""
        client = kept or self.client()
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            if headers is None:
                headers = {"Content-Type": "application/json"} if method == "POST" else {}
            client.request(method, path, body, headers)
            answer = client.getresponse()
            text = answer.read().decode()
            if text and answer.getheader("Content-Type") == "application/json":
                return answer.status, json.loads(text), answer.headers
            return answer.status, text, answer.headers
        finally:
            if not kept:
                client.close()

    def metrics(self, kept=None):
        found = {}
        for line in self.request("GET", "/metrics", kept=kept)[1].splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found

    def create(self, name="rollout"):
        status, operation, _ = self.request("POST", "/operations", {"name": name})
        assert status == 201, (status, operation)
        return operation["id"]

    def send(self, operation, event, **more):
        path = f"/operations/{operation}/messages"
        status, answer, _ = self.request("POST", path, {"event": event, **more})
        return status, answer

    def get(self, operation):
        return self.request("GET", f"/operations/{operation}")[1]

    def list(self, limit=100):
        """All operations, page by page."""
        found, path = [], f"/operations?limit={limit}"
        while path:
            status, page, _ = self.request("GET", path)
            assert status == 200, (status, page)
            found += page["operations"]
            path = page.get("next")
        return found

    def at_rest(self):
        """How many tasks there are when nobody is connected but the one who asks, and how many
        descriptors when he has left, too. The least of some looks each: whoever was there
        before may still be on his way out, and so may he be, but nobody comes in between."""
        tasks = []
        with contextlib.closing(self.client()) as asker:
            for _ in range(20):
                tasks.append(self.metrics(asker)["toadstone_live_tasks"])
                time.sleep(0.01)
        opened = []
        for _ in range(50): # asks nothing: who asks is a descriptor
            opened.append(self.descriptors())
            time.sleep(0.01)
        return min(tasks), min(opened)


def read_all(connection):
    """Everything up to the end of the stream, or up to a reset."""
    received = b""
    while True:
        try:
            some = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not some:
            return received
        received += some


def statuses(received):
    """The status codes of answers that follow each other."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
