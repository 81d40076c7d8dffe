#!/usr/bin/env python3
"""Everything at once, at a document cache: SERVER [options], see --help

Clients put, read, find and remove documents, and know what is right. Meanwhile some documents
are malformed, clients leave in the middle, tasks that index are killed, and the disk refuses
writes for moments (RLIMIT_FSIZE of the running process). What is confirmed must be there, and
nothing else found, whatever happens.

With --compare the same is done to each of the three strategies, and the figures are printed as
a table; --svg FILE draws them. A server that ends is started again.
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

PATIENCE = 60
WORDS = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen")
STRATEGIES = ("terminate", "ignore", "restore")


class Keeper:
    """Watches over a server: starts it again when it ends by itself."""

    def __init__(self, program, strategy, folder, options):
        with socket.socket() as some:
            some.bind(("127.0.0.1", 0))
            self.port = some.getsockname()[1]
        self.command = [program, "--port", str(self.port), "--data", "data", "--on-poison",
                        strategy, *options]
        self.folder = folder
        self.gaps = []
        self.codes = collections.Counter()
        self.stopping = False
        self.process = None
        self.log = open(folder / "log", "ab")  # pylint: disable=consider-using-with
        self.begin()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def begin(self):
        process = subprocess.Popen(self.command, cwd=self.folder, stderr=self.log,
                                   stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        assert line.startswith("listening on "), f"it does not start: {line}"
        self.process = process

    def watch(self):
        while True:
            code = self.process.wait()
            if self.stopping:
                return
            ended = time.monotonic()
            self.codes[code] += 1
            with contextlib.suppress(AssertionError):  # of a server that is stopped at once
                self.begin()
            self.gaps.append(time.monotonic() - ended)

    def stop(self):
        self.stopping = True
        self.process.send_signal(signal.SIGTERM)
        self.thread.join(PATIENCE)
        assert self.process.poll() == 0, f"it ended with {self.process.poll()}"

    def refuse_writes(self, seconds):
        """As a disk that fails: the limit is looked at for each write."""
        pid = self.process.pid
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
            time.sleep(seconds)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


class Client:
    """One connection after the other."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def ask(self, method, path, body=None, kind="text/plain"):
        """The status and the answer. Errors: OSError, HTTPException."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                             timeout=PATIENCE)
            headers = {"Content-Type": kind} if body is not None else {}
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self.leave()
            raise

    def leave(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Document:
    """What is known of one: `text` is confirmed, or None; `maybe` may have happened as well."""

    def __init__(self, name):
        self.name = name
        self.path = "/documents/" + name
        self.lock = threading.Lock()
        self.text = None
        self.old = None
        self.maybe = []


class Run:
    def __init__(self, program, strategy, chosen, folder):
        self.chosen = chosen
        # Filled in peace.
        self.keeper = Keeper(program, "restore", folder, [])
        self.until = 0
        self.count_lock = threading.Lock()
        self.figures = collections.Counter()
        self.times = []
        self.examples = []
        self.fresh = iter(range(1, 1 << 60))
        self.filled = [Document(f"d{i}") for i in range(chosen.documents)]
        self.own = [[Document(f"w{k}-{i}") for i in range(100)] for k in range(3)]
        self.fill()
        self.keeper.stop()
        options = ["--kill-indexers", "20", "--lines-per-turn", "1"]
        self.keeper = Keeper(program, strategy, folder, options)

    def add(self, what, example=None):
        with self.count_lock:
            self.figures[what] += 1
            if example and len(self.examples) < 20:
                self.examples.append(f"{what}: {example}")

    def text(self):
        with self.count_lock:
            unique = next(self.fresh)
        lines = [f"u{unique} " + " ".join(random.choices(WORDS, k=6)) for _ in range(1)]
        lines += [" ".join(random.choices(WORDS, k=8)) for _ in range(random.randrange(6))]
        return "\n".join(lines)

    def fill(self):
        client = Client(self.keeper.port)
        for i in range(0, len(self.filled), 500):
            some = self.filled[i:i + 500]
            for each in some:
                each.text = self.text()
            body = "\n".join(json.dumps({"id": e.name, "text": e.text}) for e in some)
            status, said = client.ask("POST", "/documents", body, "application/json")
            assert status == 200, said
            assert all(each["status"] == "stored" for each in said["documents"]), said
        client.leave()

    def request(self, client, *what):
        """A well-formed one, which counts. None: it was not served."""
        begun = time.monotonic()
        try:
            status, said = client.ask(*what)
        except (OSError, http.client.HTTPException):
            self.add("unserved")
            time.sleep(0.01)
            return None, None
        if status >= 500:
            self.add("unserved", said)
            return status, None
        self.add("served")
        with self.count_lock:
            self.times.append(time.monotonic() - begun)
        return status, said

    def change(self, client, what):
        removes = what.text is not None and random.random() < 0.1
        text = None if removes else self.text()
        with what.lock:
            what.maybe.append(text)
            if removes:
                status, _ = self.request(client, "DELETE", what.path)
            else:
                status, _ = self.request(client, "PUT", what.path, text)
            if status in (200, 404):
                what.old, what.text, what.maybe = what.text, text, []

    def spoil(self, client, what):
        """A malformed one in the place of a good one, which has to stay."""
        text = self.text() + "\n[link](without an end"
        with what.lock:
            try:
                status, said = client.ask("PUT", what.path + "?format=markdown", text)
                if status not in (422, 503):
                    self.add("wrong", f"malformed, and {status} {said}")
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        self.add("malformed")

    def look(self, client, what):
        with what.lock:
            possible = [what.text, *what.maybe]
            status, said = self.request(client, "GET", what.path)
            if said is not None:
                found = said["text"] if status == 200 else None
                if found not in possible:
                    self.add("wrong", f"{what.name} is {found!r}, not {possible}")
                elif not what.maybe:
                    self.search(client, what)

    def search(self, client, what):
        """By the word that only it has; and not by the one that it had before."""
        for text, there in ((what.text, True), (what.old, False)):
            if text is None:
                continue
            word = text.split()[0]
            query = urllib.parse.urlencode({"q": word})
            _, said = self.request(client, "GET", "/search?" + query)
            if said is None:
                return
            found = [each["id"] for each in said["documents"]]
            if found != ([what.name] if there else []):
                self.add("wrong", f"{word} of {what.name} ({there}) finds {found}")

    def work(self, own):
        client = Client(self.keeper.port)
        while time.monotonic() < self.until:
            dice = random.random()
            if dice < 0.02:
                self.spoil(client, random.choice(random.choice([own, self.filled])))
            elif dice < 0.4:
                self.change(client, random.choice(own))
            else:
                self.look(client, random.choice(random.choice([own, self.filled])))
        client.leave()

    def leave_again_and_again(self):
        """Sends most of a long document, or all of it, and is gone."""
        others = [Document(f"l{i}") for i in range(50)]
        while time.monotonic() < self.until:
            what = random.choice(others)
            body = "\n".join([self.text()] * 200).encode()
            head = f"PUT {what.path} HTTP/1.1\r\nHost: localhost\r\n" \
                   f"Content-Length: {len(body)}\r\n\r\n".encode()
            with contextlib.suppress(OSError), \
                    socket.create_connection(("127.0.0.1", self.keeper.port), 5) as stream:
                stream.sendall(head + body)
                time.sleep(random.random() * 0.004)
            self.add("left")
            time.sleep(0.02)

    def trouble_the_disk(self):
        while time.monotonic() < self.until:
            time.sleep(1)
            self.keeper.refuse_writes(0.01)
            self.add("disk faults")

    def go(self):
        self.until = time.monotonic() + self.chosen.seconds
        threads = [threading.Thread(target=self.work, args=(own,)) for own in self.own]
        threads += [threading.Thread(target=self.leave_again_and_again),
                    threading.Thread(target=self.trouble_the_disk)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(self.chosen.seconds + 2 * PATIENCE)
            assert not each.is_alive(), "a client waits for ever"
        status = self.keeper_status()
        lost = self.missing()
        self.keeper.stop()
        self.keeper.stopping = False
        self.keeper.begin()
        lost |= self.missing()
        self.keeper.stopping = True
        self.keeper.process.terminate()
        self.keeper.process.wait(PATIENCE)
        return self.result(status, lost)

    def keeper_status(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return Client(self.keeper.port).ask("GET", "/status")[1]
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < until
                time.sleep(0.05)

    def missing(self):
        """Those that are not as they were confirmed."""
        client = Client(self.keeper.port)
        some = random.sample(self.filled, min(len(self.filled), self.chosen.sample))
        lost = set()
        for what in [*(each for own in self.own for each in own), *some]:
            possible = [what.text, *what.maybe]
            for _ in range(100):
                try:
                    status, said = client.ask("GET", what.path)
                    break
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)
            found = said["text"] if status == 200 else None
            if found not in possible:
                lost.add(what.name)
        client.leave()
        return lost

    def result(self, status, lost):
        times = sorted(self.times)
        served, unserved = self.figures["served"], self.figures["unserved"]
        restored = bool(status["recoveries"])
        gaps = sorted(self.keeper.gaps)
        p99 = None
        if restored:
            p99 = status["recovery_p99_ms"]
        elif gaps:
            p99 = 1000 * gaps[len(gaps) * 99 // 100]
        return {
            "requests": served + unserved,
            "availability": served / max(1, served + unserved),
            "p99": 1000 * times[len(times) * 99 // 100] if times else 0,
            "recoveries": status["recoveries"] if restored else len(gaps),
            "recovery": p99,
            "wrong": self.figures["wrong"],
            "lost": len(lost),
            "figures": self.figures,
            "killed": status["killed"],
            "examples": self.examples,
            "codes": self.keeper.codes,
        }


def run(program, strategy, chosen):
    random.seed(7)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        one = Run(program, strategy, chosen, pathlib.Path(folder))
        try:
            got = one.go()
        except BaseException:
            print((pathlib.Path(folder) / "log").read_bytes()[-4000:].decode(errors="replace"),
                  file=sys.stderr)
            raise
        finally:
            one.keeper.stopping = True
            one.keeper.process.kill()
            one.keeper.process.wait()
            one.keeper.log.close()
    print(f"{strategy}: {got['requests']} requests, {dict(got['figures'])}, "
          f"{got['killed']} indexers killed, ended by itself {dict(got['codes'])}")
    for each in got["examples"]:
        print(f"  {each[:300]}")
    return got


def table(results):
    lines = ["| on poison | requests | served | p99 of answers | recoveries | recovery, p99 "
             "| wrong answers | lost documents |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, got in results.items():
        recovery = f"{got['recovery']:.3f} ms" if got["recovery"] is not None else "-"
        lines.append(f"| {name} | {got['requests']} | {100 * got['availability']:.3f} % | "
                     f"{got['p99']:.1f} ms | {got['recoveries']} | {recovery} | "
                     f"{got['wrong']} | {got['lost']} |")
    return "\n".join(lines)


def drawn(results):
    """Four small charts, a bar for each strategy."""
    charts = (("not served, %", lambda g: 100 * (1 - g["availability"])),
              ("recovery p99, ms", lambda g: g["recovery"] or 0),
              ("wrong answers", lambda g: g["wrong"]), ("lost documents", lambda g: g["lost"]))
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 190" role="img" '
             'font-family="sans-serif" font-size="13">',
             "<title>Three ways to live with an index that was left in the middle</title>",
             '<rect width="760" height="190" fill="#fff"/>']
    colours = {"terminate": "#c77", "ignore": "#cb6", "restore": "#4a8"}
    for i, (title, value) in enumerate(charts):
        left = 20 + 185 * i
        most = max(value(got) for got in results.values()) or 1
        parts.append(f'<text x="{left}" y="20" font-weight="bold">{title}</text>')
        for j, (name, got) in enumerate(results.items()):
            top = 36 + 48 * j
            width = 150 * value(got) / most
            parts.append(f'<text x="{left}" y="{top + 10}" fill="#555">{name}: '
                         f"{value(got):.4g}</text>")
            parts.append(f'<rect x="{left}" y="{top + 16}" width="{max(width, 1):.1f}" '
                         f'height="14" fill="{colours[name]}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("server")
    parser.add_argument("--seconds", type=float,
                        default=float(os.environ.get("TOADSTONE_CACHE_FUZZ_SECONDS", "10")))
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--sample", type=int, default=1000,
                        help="documents looked at in the end, of those that nobody changed")
    parser.add_argument("--compare", action="store_true", help="all three strategies")
    parser.add_argument("--svg", help="where to draw the comparison")
    parser.add_argument("--folder", help="for the data, instead of the temporary one")
    chosen = parser.parse_args()
    program = str(pathlib.Path(chosen.server).resolve())
    if chosen.compare:
        results = {name: run(program, name, chosen) for name in STRATEGIES}
        print(table(results))
        if chosen.svg:
            pathlib.Path(chosen.svg).write_text(drawn(results), encoding="utf-8")
        return
    got = run(program, "restore", chosen)
    assert got["wrong"] == 0, "wrong answers"
    assert got["lost"] == 0, "confirmed documents are lost"
    assert got["figures"]["malformed"] > 0 and got["figures"]["left"] > 0, "nothing happened"
    assert got["recoveries"] > 0, "nothing was restored"
    assert not got["codes"], "it ended by itself"
    assert got["availability"] > 0.9999, "too many requests were not served"


if __name__ == "__main__":
    main()
