#!/usr/bin/env python3
"""A program with a journal, killed again and again, beside SQLite: JOURNAL_LINES JOURNAL_CHECK

Each line that it has printed is told to a database. After each kill the journal has these, with
their numbers, and nothing that was not sent.
"""

import contextlib
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading

PATIENCE = 60
ROUNDS = 25

program, checker = (str(pathlib.Path(each).resolve()) for each in sys.argv[1:3])
dice = random.Random(7)


class Kept:
    """What was sent, and what was confirmed."""

    def __init__(self, path):
        self.oracle = sqlite3.connect(path, check_same_thread=False)
        self.oracle.execute("CREATE TABLE sent (line TEXT PRIMARY KEY)")
        self.oracle.execute("CREATE TABLE kept (number INTEGER PRIMARY KEY, line TEXT UNIQUE)")
        self.lines = 0

    def send(self, count):
        fresh = [f"line {i} {'x' * dice.randrange(300)}" for i in
                 range(self.lines, self.lines + count)]
        self.lines += count
        with self.oracle:
            self.oracle.executemany("INSERT INTO sent VALUES (?)", [(each,) for each in fresh])
        return "".join(each + "\n" for each in fresh)

    def confirm(self, printed):
        number, _, line = printed.partition(" ")
        with self.oracle:
            self.oracle.execute("INSERT INTO kept VALUES (?, ?)", (int(number), line))

    def compare(self, journal):
        """`journal`: all its lines, in order."""
        assert len(set(journal)) == len(journal), "a line is there twice"
        with self.oracle:
            self.oracle.execute("CREATE TEMP TABLE there (number INTEGER, line TEXT)")
            self.oracle.executemany("INSERT INTO there VALUES (?, ?)", enumerate(journal, 1))
            wrong = self.oracle.execute(
                "SELECT * FROM kept EXCEPT SELECT * FROM there").fetchall()
            assert not wrong, f"confirmed and not there: {wrong[:3]}"
            invented = self.oracle.execute(
                "SELECT line FROM there EXCEPT SELECT line FROM sent").fetchall()
            assert not invented, f"never sent: {invented[:3]}"
            # What was not confirmed and is there stays there.
            self.oracle.execute("INSERT OR IGNORE INTO kept SELECT * FROM there")
            self.oracle.execute("DROP TABLE there")


def check(*arguments):
    return subprocess.run([checker, *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE, check=False)


def lines_of(log, states):
    """All lines, of the newest snapshot and behind it."""
    done = check("--print", log, states)
    assert done.returncode == 0, done
    newest = sorted(states.glob("snapshot-0*"))[-1:]
    before = newest[0].read_bytes()[28:-4].decode().splitlines() if newest else []
    behind = [each.split(": ", 1)[1] for each in done.stdout.splitlines()
              if each.startswith("record ")]
    return before + behind


def live(kept, log, states, lines, kill_after):
    """One process that gets so many lines, and is killed when it has printed so many."""
    with subprocess.Popen([program, log, states], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        assert said.startswith("found "), said

        def feed(text):
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(text)
                process.stdin.flush()
                if kill_after is None:
                    process.stdin.close()

        feeder = threading.Thread(target=feed, args=[kept.send(lines)])
        feeder.start()
        printed = 0
        for line in process.stdout:
            if not line.endswith("\n"):
                break
            kept.confirm(line[:-1])
            printed += 1
            if printed == kill_after:
                process.send_signal(signal.SIGKILL)
        feeder.join()
        code = process.wait(PATIENCE)
        expected = 0 if kill_after is None else -signal.SIGKILL
        assert code == expected, code
    return int(said.split()[1])


def flip(path, byte):
    content = bytearray(path.read_bytes())
    content[byte] ^= 4
    path.write_bytes(content)


# A kill takes nothing from the page cache: no disk is needed, and a busy one takes minutes.
memory = pathlib.Path("/dev/shm")
with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
    root = pathlib.Path(folder)
    log, states = root / "log", root / "states"
    log.mkdir()
    states.mkdir()
    kept = Kept(root / "oracle.db")
    for _ in range(ROUNDS):
        lines = dice.randrange(20, 150)
        live(kept, log, states, lines, dice.randrange(1, lines))
        kept.compare(lines_of(log, states))
    live(kept, log, states, 50, None)
    whole = lines_of(log, states)
    kept.compare(whole)

    # A damage: refused by both, and what is before it is saved.
    first = sorted(log.glob("segment-0*"))[-2]
    flip(first, 4096 + 60)
    done = check(log, states)
    assert done.returncode == 1 and "damaged: " in done.stdout, done
    assert first.name in done.stdout and "--salvage" in done.stdout, done
    saved, saved_states = root / "saved", root / "saved_states"
    saved.mkdir()
    saved_states.mkdir()
    done = check("--salvage", log, states, saved, saved_states)
    assert done.returncode == 1, done
    done = check(saved, saved_states)
    assert done.returncode == 0 and "the journal is whole" in done.stdout, done
    rest = lines_of(saved, saved_states)
    assert rest and rest == whole[: len(rest)], (len(rest), len(whole))
    done = check("--salvage", log, states, saved, saved_states)
    assert done.returncode == 2 and "is not empty" in done.stderr, done
    print(f"{ROUNDS} kills, {len(whole)} lines, {len(rest)} saved from a damaged journal")
