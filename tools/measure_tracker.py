#!/usr/bin/env python3
"""Measures the operation tracker: what shared commits, a second worker, a long history and
clients that leave cost.

    tools/measure_tracker.py PROGRAM [--disk FOLDER] [--memory FOLDER] [--runs N]
                             [--seconds S] [--records N] [--only PART...]

PROGRAM is an operation_tracker that is built with optimisation, FOLDER one on a real disk
(build/) and one in memory (/dev/shm). Takes about six minutes, on a machine that should do
nothing else meanwhile; the load is printed. What is compared is run in turn, and the medians
are printed with the least and the most. Needs wrk (tools/setup.sh).
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import pathlib
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "examples"))

from support import Tracker, segments # pylint: disable=wrong-import-position

CREATE = ("/operations", '{"name":"one of many"}')
PROGRESS = ("/operations/1/messages", '{"event":"progress"}')


def post(path, body):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def cpu_seconds(tracker):
    with open(f"/proc/{tracker.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(tracker, what, clients, seconds):
    """Requests a second, and the server's CPU seconds for one of them."""
    path, body = what
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = '{body}'\n"
                     "wrk.headers['Content-Type'] = 'application/json'\n")
        script.flush()
        before = cpu_seconds(tracker)
        done = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", script.name,
             f"http://127.0.0.1:{tracker.port}{path}"],
            capture_output=True, text=True, check=True)
        spent = cpu_seconds(tracker) - before
    assert "Non-2xx" not in done.stdout, done.stdout
    count = int(re.search(r"(\d+) requests in", done.stdout)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    return rate, spent / count


@contextlib.contextmanager
def serving(chosen, where, *options):
    with tempfile.TemporaryDirectory(dir=where) as folder:
        with Tracker(chosen.program, *options, journal=os.path.join(folder, "j")) as tracker:
            yield tracker


def spread(values, digits=0):
    return (f"{statistics.median(values):.{digits}f} "
            f"({min(values):.{digits}f} to {max(values):.{digits}f})")


def bare_syncs(folder):
    """Syncs a second of one program that does nothing else: what the disk is worth now."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"\0" * (1 << 20))
        file.flush()
        os.fsync(file.fileno())
        begun, count = time.monotonic(), 0
        while time.monotonic() - begun < 0.5:
            os.pwrite(file.fileno(), b"x" * 100, count * 100 % (1 << 20))
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.monotonic() - begun)


def records_per_sync(journal):
    """Records of one write have one number in common, see docs/journal.md."""
    records, writes = 0, 0
    for path in segments(journal):
        with open(path, "rb") as file:
            content = file.read()
        at, last = 4096, 0
        while at + 40 <= len(content):
            _, length, number, _, first, kind, _ = struct.unpack_from("<IIQQQII", content, at)
            if number == 0 or kind > 0xFFFFFF00:
                break
            records += 1
            writes += first != last
            last = first
            at += 40 + (length + 7) // 8 * 8
    return records / writes


def commits(chosen):
    together, each, shared, bare = [], [], [], []
    for _ in range(chosen.runs):
        for how, rates in (("together", together), ("each", each)):
            with serving(chosen, chosen.disk, "--commit", how) as tracker:
                bare.append(bare_syncs(chosen.disk))
                load(tracker, CREATE, 64, 1)
                rates.append(load(tracker, CREATE, 64, chosen.seconds)[0])
                if how == "together":
                    shared.append(records_per_sync(tracker.journal))
    ratios = [a / b for a, b in zip(together, each)]
    print(f"real disk: {spread(bare)} bare syncs a second\n"
          f"POST, 64 clients: {spread(together)} a second with shared commits, "
          f"{spread(shared, 1)} records for a sync; {spread(each)} with a sync each: "
          f"{spread(ratios, 1)} times", flush=True)


def workers(chosen):
    found = {1: ([], []), 2: ([], [])}
    for _ in range(chosen.runs):
        for count, (rates, costs) in found.items():
            with serving(chosen, chosen.memory, "--workers", count) as tracker:
                load(tracker, CREATE, 64, 1)
                rate, cost = load(tracker, CREATE, 64, chosen.seconds)
                rates.append(rate)
                costs.append(count / cost) # if nobody else wanted the processors
    for count, (rates, costs) in found.items():
        print(f"POST, 64 clients, memory, {count} worker{'s'[:count - 1]}: {spread(rates)} a "
              f"second, {spread(costs)} by the CPU that one costs")
    ratios = [two / one for one, two in zip(found[1][1], found[2][1])]
    print(f"two workers over one, by CPU: {spread(ratios, 2)}", flush=True)


def history(chosen):
    """So many records of one operation, and the last of them in no snapshot yet."""
    with tempfile.TemporaryDirectory(dir=chosen.memory) as folder:
        journal = os.path.join(folder, "j")
        with Tracker(chosen.program, journal=journal) as tracker:
            tracker.create()
            tracker.send(1, "start")
            begun = time.monotonic()
            while (have := tracker.get(1)["messages"]) < chosen.records:
                load(tracker, PROGRESS, 64, 2)
            took = time.monotonic() - begun
            tracker.terminate()
            tracker.exit_code()
        size = sum(os.path.getsize(os.path.join(journal, each)) for each in os.listdir(journal))
        print(f"one operation with {have} records, {have / took:.0f} a second (memory): "
              f"{size / 2**20:.1f} MiB of files")
        on_disk = tempfile.mkdtemp(dir=chosen.disk)
        try:
            shutil.copytree(journal, os.path.join(on_disk, "j"))
            starts_and_repairs(chosen, os.path.join(on_disk, "j"))
        finally:
            shutil.rmtree(on_disk)


def starts_and_repairs(chosen, journal):
    starts = []
    for _ in range(chosen.runs * 2):
        begun = time.monotonic()
        with Tracker(chosen.program, journal=journal) as tracker:
            starts.append(1e3 * (time.monotonic() - begun))
            tracker.terminate()
            tracker.exit_code()
    print(f"start with it, real disk: {spread(starts)} ms")
    with Tracker(chosen.program, journal=journal) as tracker:
        for i in range(600):
            client = tracker.connect()
            client.sendall(post(*PROGRESS))
            time.sleep(0.0002 * (i % 20))
            client.close()
        time.sleep(0.5)
        # Many have waited only for the lock, and left nothing.
        told = re.findall(r"restored, as it is in the journal, in (\d+) us", tracker.text())
        repairs = [int(each) / 1e3 for each in told]
        assert tracker.send(1, "progress")[0] == 200
    ordered = sorted(repairs)
    print(f"repair of it, {len(ordered)} times: median {statistics.median(ordered):.2f} ms, "
          f"p99 {ordered[len(ordered) * 99 // 100]:.2f} ms, most {ordered[-1]:.2f} ms",
          flush=True)


# --- good clients beside leaving ones ---


async def good(port, until, latencies):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(request):
        begun = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        body = await reader.readexactly(length)
        latencies.append(time.monotonic() - begun)
        return body

    made = await ask(post(*CREATE))
    number = int(re.match(rb'\{"id":(\d+)', made)[1])
    path = f"/operations/{number}/messages"
    await ask(post(path, '{"event":"start"}'))
    while time.monotonic() < until:
        await ask(post(path, PROGRESS[1]))
        await ask(f"GET /operations/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await asyncio.sleep(0.005)
    writer.close()


async def leaves(port, until, number):
    while time.monotonic() < until:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(f"/operations/{1 + number % 4}/messages", PROGRESS[1]))
        await asyncio.sleep(0.001 * (number % 5))
        writer.transport.abort()
        await asyncio.sleep(0.02)


def leaving_process(port, seconds, count):
    os.nice(5)

    async def all_of_them():
        until = time.monotonic() + seconds
        await asyncio.gather(*(leaves(port, until, i) for i in range(count)))

    asyncio.run(all_of_them())


def percentile(values, percent):
    return 1e3 * sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def beside(chosen):
    """16 good clients with operations of their own, alone, then beside 16 that leave."""
    alone, attacked, poisoned = [], [], 0
    for _ in range(chosen.runs):
        with serving(chosen, chosen.disk) as tracker:
            for _ in range(4):
                tracker.send(tracker.create(), "start")
            for times, others in ((alone, 0), (attacked, 16)):
                leavers = multiprocessing.Process(
                    target=leaving_process, args=(tracker.port, chosen.seconds + 1, others))
                leavers.start()
                time.sleep(0.5)
                found = []

                async def all_good(port=tracker.port, found=found):
                    until = time.monotonic() + chosen.seconds
                    await asyncio.gather(*(good(port, until, found) for _ in range(16)))

                asyncio.run(all_good())
                leavers.join()
                times.append(percentile(found, 99))
            poisoned += tracker.metrics()['tracker_poisonings_total{reason="requested"}']
    ratios = [b / a for a, b in zip(alone, attacked)]
    print(f"p99 of 16 good clients, real disk: {spread(alone, 1)} ms, beside 16 that leave "
          f"{spread(attacked, 1)} ms: {spread(ratios, 2)} times; "
          f"{poisoned:.0f} sections were cut", flush=True)


PARTS = {"commits": commits, "workers": workers, "history": history, "beside": beside}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("--disk", default=str(ROOT / "build"))
    parser.add_argument("--memory", default="/dev/shm")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS))
    chosen = parser.parse_args()
    for part in chosen.only:
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
        PARTS[part](chosen)


if __name__ == "__main__":
    main()
