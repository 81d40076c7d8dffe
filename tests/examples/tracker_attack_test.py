#!/usr/bin/env python3
"""Good clients beside hostile ones, and kills (S129): PROGRAM [--full]

Method: some good clients work at their own pace, alone at first, then beside hostile ones from
other addresses of the loopback, each of which does one nasty thing after the other. Later the
server is killed in the middle of it, again and again, and started again on the same journal:
all that it ever confirmed has to be there. Everything is bounded in number and time.

The short form looks whether everybody good is served, nobody hostile is, nothing is lost and
the memory stays small. With --full, for tools/attack.sh, there are 2,000 hostile clients, and
the 99th percentile of the good ones' latencies may at most double.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import resource
import socket
import struct
import sys
import tempfile
import time

from support import Tracker

SEED = 20260601
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"POST /operations HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
BROKEN = (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError, OSError)


def post(path, body, more=b""):
    head = f"POST {path} HTTP/1.1\r\n".encode() + HOST + JSON + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path):
    return f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n"


# --- good clients ---


class Good:
    """Works on operations of its own, and knows what was confirmed."""

    def __init__(self, port, choice, confirmed, latencies):
        self.port, self.choice = port, choice
        self.confirmed = confirmed # id: messages
        self.latencies = latencies
        self.stream = None
        self.mine = []
        self.again = 0

    async def ask(self, request):
        """One request, again when the connection was closed before the answer: status, JSON.
        Status 0: it may have happened, or not."""
        begun = time.monotonic()
        for _ in range(2 if request.startswith(b"POST") else 20):
            try:
                if self.stream is None:
                    self.stream = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = self.stream
                writer.write(request)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                body = await asyncio.wait_for(reader.readexactly(length), 60)
                self.latencies.append(time.monotonic() - begun)
                if b"Connection: close" in head:
                    self.leave()
                return int(STATUS.match(head)[1]), json.loads(body)
            except BROKEN:
                self.leave()
                self.again += 1
                if request.startswith(b"POST"):
                    break
        return 0, None

    def leave(self):
        if self.stream:
            self.stream[1].close()
        self.stream = None

    async def step(self):
        if not self.mine or self.choice.random() < 0.3:
            status, answer = await self.ask(post("/operations", b'{"name":"good"}'))
            if status:
                assert status == 201 and answer["id"] not in self.confirmed, (status, answer)
                self.confirmed[answer["id"]] = 0
                self.mine.append(answer["id"])
            return
        which = self.choice.choice(self.mine)
        if self.choice.random() < 0.5:
            event = "progress" if self.confirmed[which] else "start"
            body = b'{"event":"%s"}' % event.encode()
            status, answer = await self.ask(post(f"/operations/{which}/messages", body))
            if status == 200:
                self.confirmed[which] = max(self.confirmed[which], answer["messages"])
            else: # a start that was confirmed to nobody has happened
                assert status in (0, 409), (status, answer)
                self.mine.remove(which)
        elif self.choice.random() < 0.5:
            status, answer = await self.ask(get(f"/operations/{which}"))
            assert status == 200 or status == 0, (status, answer)
            if status:
                assert answer["messages"] >= self.confirmed[which], "went backwards"
        else:
            status, answer = await self.ask(get(f"/operations?after={which - 1}&limit=20"))
            assert status in (0, 200), (status, answer)

    async def work(self, until):
        try:
            while time.monotonic() < until:
                await self.step()
                await asyncio.sleep(self.choice.random() * 0.02)
        finally:
            self.leave()


async def good_clients(port, count, seconds, confirmed):
    """Latencies of all requests, and how often a connection had to be made again."""
    latencies = []
    until = time.monotonic() + seconds
    clients = [Good(port, random.Random(SEED + i), confirmed, latencies)
               for i in range(count)]
    await asyncio.gather(*(each.work(until) for each in clients))
    return latencies, sum(each.again for each in clients)


# --- hostile clients ---


async def pause(choice):
    await asyncio.sleep(0.5 + choice.random())


async def trickle(reader, writer, choice, text):
    """Some bytes now and then, for as long as the server puts up with it."""
    for byte in text:
        if reader.at_eof():
            return
        writer.write(bytes([byte]))
        await writer.drain()
        await pause(choice)


async def slow_head(reader, writer, choice):
    await trickle(reader, writer, choice, get("/operations") * 2)


async def empty_lines(reader, writer, choice):
    await trickle(reader, writer, choice, b"\r\n" * 40)


async def slow_body(reader, writer, choice):
    writer.write(post("/operations", b'{"name":"slow"}')[:-10])
    await trickle(reader, writer, choice, b" " * 9)


async def stays(reader, seconds):
    """Until the server has had enough, or that long."""
    try:
        await asyncio.wait_for(reader.read(1), seconds)
    except (asyncio.TimeoutError, ConnectionError):
        pass


async def silence(reader, writer, choice):
    if choice.random() < 0.5:
        writer.write(b"GET /operations HTTP/1.1\r\nHo")
    await stays(reader, 10 * choice.random())


async def does_not_read(reader, writer, choice):
    writer.transport.pause_reading()
    writer.write(get("/operations?limit=1000") * 40)
    await asyncio.sleep(2 + 8 * choice.random())


async def floods(reader, writer, choice):
    begin, piece = choice.choice((
        (CHUNKED + b"5;", b"a=b;"), (CHUNKED, b"0"),
        (CHUNKED + b'c\r\n{"name":"t"}\r\n0\r\n', b"A: b\r\n"),
        (b"GET / HTTP/1.1\r\n" + HOST, b"A: b\r\n"), (b"", b"\r\n"), (b"GET /", b"a"),
    ))
    writer.write(begin)
    for _ in range(8): # 128 KiB, far beyond every limit
        if reader.at_eof():
            return
        writer.write(piece * (16384 // len(piece)))
        await writer.drain()
    await stays(reader, 2)


async def leaves(reader, writer, choice):
    """In the middle of a change, with a reset."""
    writer.write(post("/operations", b'{"name":"gone"}'))
    await writer.drain()
    if choice.random() < 0.5:
        await asyncio.sleep(0.002 * choice.random())
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


NONSENSE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
    b"GET /operations HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
    b"GET /operations HTTP/1.1\r\n" + HOST + b"Expect: tea\r\n\r\n",
    b"GET /operations HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /operations HTTP/3.0\r\n" + HOST + b"\r\n",
    post("/operations", b'{"name":"o"}', b"Origin: http://evil.example\r\n"),
    post("/operations", b'{"name":"o"}').replace(b"application/json", b"text/plain"),
    post("/operations", b'{"name":"n"}\0{}'),
    post("/operations", b"[" * 5000),
    post("/operations/1/messages", b'{"event":"explode"}'),
    post("/operations", b"x" * 70000),
)


async def nonsense(reader, writer, choice):
    """Gives how often it was not refused."""
    writer.write(choice.choice(NONSENSE))
    answer = await asyncio.wait_for(reader.read(1000), 30)
    found = STATUS.match(answer)
    assert not found or found[1][:1] in b"45", answer


HOSTILE = (slow_head, empty_lines, slow_body, silence, does_not_read, floods, leaves, nonsense)


async def hostile(number, port, until, done):
    """One nasty thing after the other, from an address that it shares with a hundred others."""
    choice = random.Random(SEED * 7 + number)
    source = f"127.0.1.{1 + number // 100}"
    await asyncio.sleep(2 * choice.random())
    while time.monotonic() < until:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(source, 0))
            done["connections"] += 1
            what = choice.choice(HOSTILE)
            left = max(0.1, until - time.monotonic())
            await asyncio.wait_for(what(reader, writer, choice), left)
            done["requests"] += 1
        except BROKEN:
            done["requests"] += 1
        except AssertionError as error:
            done["accepted"] += 1
            print(f"    accepted: {error}", file=sys.stderr)
        finally:
            if writer:
                writer.transport.abort()
        await pause(choice)


def hostile_process(first, count, port, seconds, result):
    os.nice(10)
    done = {"connections": 0, "requests": 0, "accepted": 0}

    async def all_of_them():
        until = time.monotonic() + seconds
        await asyncio.gather(*(hostile(i, port, until, done)
                               for i in range(first, first + count)))

    asyncio.run(all_of_them())
    result.put(done)


class Attack:
    """Hostile clients in processes of their own, from here to the end of the block."""

    PROCESSES = 2

    def __init__(self, port, count, seconds):
        self.result = multiprocessing.Queue()
        each = count // self.PROCESSES
        self.processes = [
            multiprocessing.Process(target=hostile_process,
                                    args=(i * each, each, port, seconds, self.result))
            for i in range(self.PROCESSES)
        ]
        self.done = {}

    def __enter__(self):
        for each in self.processes:
            each.start()
        return self

    def __exit__(self, *_):
        reports = [self.result.get(timeout=120) for _ in self.processes]
        for each in self.processes:
            each.join()
        self.done = {key: sum(report[key] for report in reports) for key in reports[0]}


# --- phases ---


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] * 1e3


def told(what, latencies):
    median, slow = percentile(latencies, 50), percentile(latencies, 99)
    print(f"    {what}: {len(latencies)} requests of good clients, "
          f"p50 {median:.1f} ms, p99 {slow:.1f} ms", flush=True)
    return slow


def check(tracker, confirmed):
    """How much of what was confirmed is not there."""
    listed = {each["id"]: each["messages"] for each in tracker.list(1000)}
    return sum(listed.get(which, -1) < messages for which, messages in confirmed.items())


def latencies(chosen, folder, confirmed):
    """Good clients alone, then beside hostile ones: both 99th percentiles in ms."""
    journal = os.path.join(folder, "journal")
    with Tracker(chosen.program, "--max-connections", chosen.hostile * 3 // 4,
                 journal=journal) as tracker:
        asyncio.run(good_clients(tracker.port, chosen.good, 1, confirmed)) # warm
        found, _ = asyncio.run(
            good_clients(tracker.port, chosen.good, chosen.seconds, confirmed))
        alone = told("alone   ", found)
        with Attack(tracker.port, chosen.hostile, chosen.seconds + 3) as attack:
            time.sleep(2.5) # they are all there
            open_now = tracker.metrics()["tracker_connections"]
            found, again = asyncio.run(
                good_clients(tracker.port, chosen.good, chosen.seconds, confirmed))
        beside = told("attacked", found)
        done = attack.done
        print(f"    hostile: {chosen.hostile} clients, {open_now:.0f} connected at once, "
              f"{done['connections']} connections, {done['requests']} attempts, "
              f"{done['accepted']} that should have been refused and were not; "
              f"good clients connected again {again} times")
        print(f"    memory: {tracker.memory() / (1 << 20):.0f} MiB resident at most")
        assert done["accepted"] == 0
        assert not tracker.text().count("a request failed"), tracker.text()
        assert tracker.memory() < chosen.memory << 20
        lost = check(tracker, confirmed)
        tracker.terminate()
        assert tracker.exit_code() == 0
    return alone, beside, lost


def kills(chosen, folder, confirmed):
    """Killed at any time and started again, it knows all that it has confirmed."""
    journal = os.path.join(folder, "journal")
    choice = random.Random(SEED)
    lost = requests = 0
    for _ in range(chosen.kills):
        with Tracker(chosen.program, journal=journal) as tracker:
            lost += check(tracker, confirmed)
            seconds = 0.5 + choice.random()
            with Attack(tracker.port, 200, seconds):
                clients = multiprocessing.Queue()
                worker = multiprocessing.Process(
                    target=good_process,
                    args=(tracker.port, chosen.good, seconds, confirmed, clients))
                worker.start()
                time.sleep(seconds * choice.random())
                tracker.process.kill()
                known, count = clients.get(timeout=120)
                worker.join()
            confirmed.update(known)
            requests += count
    with Tracker(chosen.program, journal=journal) as tracker:
        lost += check(tracker, confirmed)
    print(f"    kills: {chosen.kills}, {requests} requests meanwhile, "
          f"{len(confirmed)} operations and {sum(confirmed.values())} messages confirmed, "
          f"{lost} lost", flush=True)
    return lost


def good_process(port, count, seconds, confirmed, result):
    known = dict(confirmed)
    found, _ = asyncio.run(good_clients(port, count, seconds, known))
    result.put((known, len(found)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program")
    parser.add_argument("--full", action="store_true")
    chosen = parser.parse_args()
    chosen.good = 16
    size = (2000, 20, 25) if chosen.full else (200, 4, 3)
    chosen.hostile, chosen.seconds, chosen.kills = size
    chosen.memory = 256 if chosen.full else 1024 # MiB; sanitizers need some
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    # Not the speed of a disk is measured, and a kill loses nothing of a file system in memory.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    confirmed = {}
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        alone, beside, lost = latencies(chosen, folder, confirmed)
        lost += kills(chosen, folder, confirmed)
    print(f"    p99 beside hostile clients / alone: {beside / alone:.2f}")
    if lost or (chosen.full and beside > 2 * alone):
        sys.exit("    failed: something was lost, or good clients had to wait too long")


if __name__ == "__main__":
    print(f"    seed {SEED}")
    main()
