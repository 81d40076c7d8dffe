#!/usr/bin/env python3
"""Counts the user instructions of the hot paths and fails when one of them became dearer.

    bench/gate.py BUILD            # a release build with -Dbench=enabled
    bench/gate.py --build BUILD    # make that build first, with g++, or bring it up to date

Each figure is the slope between two runs under valgrind --tool=callgrind,
(I(b) - I(a)) / (b - a), so that start-up and end do not count. The counts repeat, whatever else
the machine does.

bench/bounds.txt holds what each path may cost. A figure fails when it is above `held` by more
than 1 %; `bound` and `aim` are where it is meant to be. A change that makes a path dearer, or
cheaper, moves `held` in a commit of its own; --hold writes the new figures there.

The figures are those of g++ 12.2 -O3 on x86-64. Those of other compilers are not judged.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOUNDS = HERE / "bounds.txt"
PAGE = HERE.parent / "docs" / "what_poison_costs.md"
TOLERANCE = 1.01
# How far the figures of PAGE may be from what is counted.
PAGE_TOLERANCE = 0.05
PROGRAMS = (
    "bench_cancel",
    "bench_channels",
    "bench_echo",
    "bench_fiber",
    "bench_mutex",
    "bench_poison",
    "bench_spawn",
)
# Of a run that does not get going; see Run.stuck().
TRIES = 20
FEW, MANY = 10_000, 60_000
SLEEPERS = 100_000


class Failed(Exception):
    """A count could not be taken."""


class NotThere(Exception):
    """The library has no such thing yet."""


# --- runs of programs ---


def said_by(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    return done.stdout.strip()


def state_of(pid):
    """Processor time and whether any thread could run, of a process that is still there."""
    ticks, awake = 0, False
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        awake = awake or fields[0] not in "SZ"
        ticks += int(fields[11]) + int(fields[12])
    return ticks, awake


class Run:
    """A program under callgrind.

    valgrind 3.19 runs one thread at a time and does not know that io_uring_enter(2) waits. The
    programs see to it that the worker has to do all the time; but if it is chosen first when it
    is born, before its first task, it sleeps and nobody else runs. Such a run is killed and
    tried again.
    """

    def __init__(self, command, profile, **more):
        self.profile = profile
        self.errors = open(f"{profile}.err", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--vgdb=no", f"--callgrind-out-file={profile}"]
            + [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
            **more,
        )
        self.ticks, self.since = -1, time.monotonic()

    def stuck(self):
        """Nothing has happened for a second, and nothing could have."""
        try:
            ticks, awake = state_of(self.process.pid)
        except OSError:
            return False
        if awake or ticks != self.ticks:
            self.ticks, self.since = ticks, time.monotonic()
        return time.monotonic() - self.since > 1

    def wait(self):
        """Its exit code, or None after it got stuck."""
        while self.process.poll() is None:
            if self.stuck():
                self.kill()
                return None
            time.sleep(0.02)
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()

    def first_line(self):
        """What it prints first, or None after it got stuck."""
        lines = []
        reader = threading.Thread(target=lambda: lines.append(self.process.stdout.readline()))
        reader.start()
        while reader.is_alive():
            if self.stuck():
                self.kill()
            reader.join(0.05)
        return lines[0] if lines[0] else None

    def close(self):
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()
        self.errors.close()

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def instructions(self):
        found = re.findall(r"^(?:totals|summary): (\d+)", Path(self.profile).read_text(), re.M)
        if not found:
            raise Failed(f"no count in {self.profile}")
        return int(found[-1])


class Counter:
    """Takes the counts. `programs`: where the benches are; `keep`: where the profiles go."""

    def __init__(self, programs, keep):
        self.programs, self.keep = programs, keep
        self.step = 0
        self.lock = threading.Lock()
        self.cpu = max(os.sched_getaffinity(0))
        self.priority = self.may_have_priority()

    @staticmethod
    def may_have_priority():
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except PermissionError:
            return False
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return True

    def profile(self, name):
        with self.lock:
            self.step += 1
            return self.keep / (f"{self.step:02d}." + re.sub(r"[^\w]+", "_", name))

    def total(self, program, subject, count):
        for _ in range(TRIES):
            run = Run(
                [self.programs / program, "--only", subject, "--count", count],
                self.profile(f"{subject}.{count}"),
            )
            try:
                code = run.wait()
                if code == 0:
                    return run.instructions()
                if code is not None:
                    if "there is no subject" in run.said():
                        raise NotThere(subject)
                    raise Failed(f"{program} --only '{subject}':\n{run.said()}")
            finally:
                run.close()
        raise Failed(f"{program} --only '{subject}' got stuck {TRIES} times")

    def operation(self, program, subject, few=FEW, many=MANY):
        less = self.total(program, subject, few)
        return (self.total(program, subject, many) - less) / (many - few)

    def nesting(self):
        """Instructions of a checkpoint 64 boundaries deep over those one deep."""
        deep, flat = (
            self.operation("bench_spawn", f"checkpoint, {depth} deep") for depth in (64, 1)
        )
        return deep / flat

    def cancellation(self):
        asleep = self.total("bench_cancel", "sleepers, asleep", SLEEPERS)
        return (self.total("bench_cancel", "sleepers, cancelled", SLEEPERS) - asleep) / SLEEPERS

    def sleeper_bytes(self):
        command = [self.programs / "bench_cancel", "--only", "sleepers, bytes each"]
        command += ["--count", str(SLEEPERS)]
        return float(said_by(command))

    # Server and load share a processor, and the server does not run while the load does: so
    # the load writes to all connections before the server sees the first message.
    def on_server_side(self):
        os.sched_setaffinity(0, {self.cpu})
        if not self.priority:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    def on_load_side(self):
        os.sched_setaffinity(0, {self.cpu})
        if self.priority:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

    def echo_total(self, server, connections, requests):
        program = str(self.programs / "bench_echo")
        for _ in range(TRIES):
            run = Run(
                [program, "--serve", server, "--connections", connections],
                self.profile(f"echo.{server}.{connections}.{requests}"),
                preexec_fn=self.on_server_side,
            )
            try:
                line = run.first_line()
                if line is None:
                    if run.process.returncode not in (None, -9):
                        raise Failed(run.said())
                    continue
                echo, stop = line.split()
                command = [program, "--load", echo, "--stop", stop, "--in-step", "1"]
                command += ["--connections", str(connections), "--count", str(requests)]
                load = subprocess.run(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=300,
                    preexec_fn=self.on_load_side,
                )
                if load.returncode != 0:
                    raise Failed(f"echo, {server}, {connections} connections: {load.stdout}")
                if run.wait() == 0:
                    return run.instructions()
            finally:
                run.close()
        raise Failed(f"the server {server} got stuck {TRIES} times")

    def echo(self, server, connections):
        few, many = 1000, 6000
        less = self.echo_total(server, connections, few)
        return (self.echo_total(server, connections, many) - less) / (many - few)


# The paths of bounds.txt, and how to take their figures. The echoes one after the other,
# because they want a processor; the others beside them.
ECHOES = {
    "echo, bare loop, 1 connection": lambda c: c.echo("bare", 1),
    "echo, bare loop, 20 connections": lambda c: c.echo("bare", 20),
    "echo, recv(), 1 connection": lambda c: c.echo("recv", 1),
    "echo, recv(), 20 connections": lambda c: c.echo("recv", 20),
    "echo, as shipped, 1 connection": lambda c: c.echo("shipped", 1),
    "echo, as shipped, 20 connections": lambda c: c.echo("shipped", 20),
}


def fiber_switch(counter):
    """A switch and back over the bare one: an await that suspends, without what the same costs
    in a coroutine."""
    bare, child, switched = (
        counter.operation("bench_fiber", subject)
        for subject in ("bare fcontext, pair", "co_await child", "fiber::await child")
    )
    return (switched - child) / bare


def operation(program, subject, *runs):
    return lambda c: c.operation(program, subject, *runs)


OTHERS = {
    "lock and unlock": operation("bench_mutex", "sync::mutex lock"),
    "local_mutex lock and unlock": operation("bench_mutex", "sync::local_mutex lock"),
    "shared_mutex read and unlock": operation("bench_mutex", "sync::shared_mutex read"),
    "hand-over of a mutex": operation("bench_mutex", "sync::mutex hand-over"),
    "condition variable, notify + wake": operation(
        "bench_mutex", "sync::condition_variable notify + wake"
    ),
    "mpsc send and recv": operation("bench_channels", "mpsc send + recv"),
    "unbounded mpsc send and recv": operation("bench_channels", "mpsc unbounded send + recv"),
    "oneshot, made, sent, received": operation("bench_channels", "oneshot: make, send, recv"),
    "transaction of 64 bytes": operation("bench_mutex", "sync::mutex transaction, 64 bytes"),
    "semaphore acquire and release": operation("bench_mutex", "sync::semaphore acquire"),
    "child call and return": operation("bench_spawn", "co_await child"),
    "spawn and join": operation("bench_spawn", "spawn and join"),
    "spawn and join, batches of 1000": operation(
        "bench_spawn", "spawn and join, batches of 1000"
    ),
    "yield, alone": operation("bench_spawn", "yield_now, alone"),
    "yield, among 100": operation("bench_spawn", "yield_now, 100 tasks"),
    "with_timeout of a free lock": operation("bench_mutex", "with_timeout of sync::mutex lock"),
    "with_timeout of a ready child": operation("bench_spawn", "with_timeout of a ready child"),
    "checkpoint, 64 deep over 1 deep": Counter.nesting,
    "run_fiber and return": operation("bench_fiber", "run_fiber and return"),
    "fiber::await of a free lock": operation("bench_fiber", "fiber::await a free lock"),
    "switch to a fiber, over a bare one": fiber_switch,
    "sleeper, cancelled": Counter.cancellation,
    "sleeper, bytes": Counter.sleeper_bytes,
}


# Rows of PAGE, under the same name.
OTHERS |= {
    row: operation("bench_poison", row)
    for row in (
        "mutex, poisons",
        "mutex, poisons nothing",
        "local_mutex, poisons",
        "local_mutex, poisons nothing",
        "shared_mutex, poisons",
        "shared_mutex, poisons nothing",
        "ten, mutex, poisons",
    )
}
# An exception takes thousands of instructions.
OTHERS |= {
    row: operation("bench_poison", row, 300, 1800)
    for row in (
        "exception, mutex, poisons",
        "cancellation, mutex, poisons",
        "poison(), recover(), complete()",
    )
}


def dearer(figure, held):
    return held is not None and figure > held * TOLERANCE


def measure(counter, bounds, chosen):
    """The figures of the chosen paths; text where there is none."""
    figures, failures = {}, []

    def work_off(paths):
        for path, figure in paths.items():
            if path not in chosen:
                continue
            try:
                figures[path] = figure(counter)
                # Where timers are armed, a machine that is far too busy adds turns of a wheel.
                if dearer(figures[path], bounds[path][2]):
                    figures[path] = min(figures[path], figure(counter))
            except NotThere:
                figures[path] = "not there yet"
            except (Failed, OSError, subprocess.SubprocessError, ValueError) as error:
                failures.append(f"{path}: {error}")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for lane in [pool.submit(work_off, paths) for paths in (ECHOES, OTHERS)]:
            lane.result()
    if failures:
        raise Failed("\n".join(failures))
    return figures


# --- what is held ---


def read_bounds():
    """{path: [bound, aim, held]}, numbers or None."""
    bounds = {}
    for number, line in enumerate(BOUNDS.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        path, *fields = (field.strip() for field in line.split("|"))
        if len(fields) != 3 or path not in {**ECHOES, **OTHERS}:
            raise Failed(f"{BOUNDS}:{number}: not a path with bound, aim and held")
        bounds[path] = [None if field == "-" else float(field) for field in fields]
    return bounds


def shown(figure):
    if figure is None:
        return "-"
    if isinstance(figure, str):
        return figure
    return f"{figure:.2f}" if figure < 20 else f"{figure:.1f}"


def write_held(bounds, figures):
    lines = []
    for line in BOUNDS.read_text().splitlines():
        path = line.partition("|")[0].strip()
        if path in bounds and isinstance(figures.get(path), float):
            bound, aim, _ = (field.strip() for field in line.split("|")[1:])
            line = f"{path:<34} | {bound:>5} | {aim:>4} | {shown(figures[path]):>7}"
        lines.append(line)
    BOUNDS.write_text("\n".join(lines) + "\n")


def verdict(figure, bound, held):
    """What to say of it, and whether it fails."""
    if isinstance(figure, str):
        return figure, held is not None
    if held is None:
        return "not held yet", False
    if dearer(figure, held):
        return f"FAILED: {100 * (figure / held - 1):+.1f} %", True
    words = []
    if figure * TOLERANCE < held:
        words.append(f"{100 * (figure / held - 1):+.1f} %: hold it")
    if bound is not None and figure > bound * TOLERANCE:
        words.append("above its bound")
    return ", ".join(words) or "good", False


def print_row(path, count, held, bound, aim, words):
    print(f"{path:<34} {count:>8} {held:>8} {bound:>7} {aim:>7}  {words}")


def print_markdown(bounds, figures):
    print("| path | user instructions | bound | aim |\n|---|---:|---:|---:|")
    for path, (bound, aim, _) in bounds.items():
        if path in figures:
            print(f"| {path} | {shown(figures[path])} | {shown(bound)} | {shown(aim)} |")


def print_table(bounds, figures):
    failed = 0
    print_row("path", "count", "held", "bound", "aim", "verdict")
    for path, (bound, aim, held) in bounds.items():
        if path not in figures:
            continue
        words, fails = verdict(figures[path], bound, held)
        failed += fails
        count = "-" if isinstance(figures[path], str) else shown(figures[path])
        print_row(path, count, shown(held), shown(bound), shown(aim), words)
    return failed


# --- the page about poisoning ---


def page_figures():
    """{row: its instructions, or None}, of the tables of PAGE."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        fields = [field.strip() for field in line.strip("|").split("|")]
        if line.startswith("| ") and len(fields) == 7 and fields[0]:
            rows[fields[0]] = None if fields[1] == "-" else float(fields[1])
    return rows


def outdated(figures):
    """What PAGE says otherwise than counted."""
    said = page_figures()
    for path, figure in figures.items():
        on_page = said.get(path)
        if on_page and abs(figure / on_page - 1) > PAGE_TOLERANCE:
            yield f"{PAGE.name} says {on_page} of '{path}', which takes {shown(figure)}"


# --- the build ---


def make(build):
    if not (build / "build.ninja").exists():
        setup = ["meson", "setup", str(build), str(HERE.parent), "--buildtype=release"]
        setup += ["-Dbench=enabled", "-Dtests=disabled", "-Dexamples=disabled"]
        compiler = os.environ.get("CXX") or ("ccache g++" if shutil.which("ccache") else "g++")
        subprocess.run(setup, check=True, env={**os.environ, "CXX": compiler})
    targets = [f"bench/{program}" for program in PROGRAMS]
    subprocess.run(["ninja", "-C", str(build), *targets], check=True)


def judged(build):
    """Why the figures of this build are not held to anything; empty if they are."""
    options = json.loads((build / "meson-info/intro-buildoptions.json").read_text())
    option = {each["name"]: each["value"] for each in options}
    wanted = {"optimization": "3", "default_library": "static", "b_lto": False}
    wanted |= {"b_sanitize": "none", "debug": False}
    for name, value in wanted.items():
        if option[name] != value:
            return f"{name} is {option[name]}, not {value}"
    compiler = said_by([build / "bench/bench_spawn", "--compiler"])
    if not re.fullmatch(r"g\+\+ 12\.2\.\d+ x86-64", compiler):
        return f"built by {compiler}"
    return ""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, metavar="BUILD")
    parser.add_argument("--build", action="store_true", help="make the build first")
    parser.add_argument("--only", metavar="TEXT", help="the paths that contain TEXT")
    parser.add_argument(
        "--of",
        nargs=2,
        metavar=("PROGRAM", "SUBJECT"),
        help="count another subject of a bench instead, by the name that the bench prints",
    )
    parser.add_argument("--markdown", action="store_true", help="a table for docs/")
    parser.add_argument("--hold", action="store_true", help="write the figures to bounds.txt")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the profiles there")
    chosen = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("gate: needs valgrind (tools/setup.sh installs it)")
    keep = chosen.keep or Path(tempfile.mkdtemp(prefix="toadstone-gate-"))
    keep.mkdir(parents=True, exist_ok=True)
    try:
        if chosen.build:
            make(chosen.directory)
        counter = Counter(chosen.directory.resolve() / "bench", keep)
        if chosen.of:
            program, subject = chosen.of
            print(f"{subject}: {shown(counter.operation(program, subject))}")
            return 0
        bounds = read_bounds()
        paths = [path for path in bounds if not chosen.only or chosen.only in path]
        begun = time.monotonic()
        figures = measure(counter, bounds, paths)
        if chosen.markdown:
            print_markdown(bounds, figures)
            return 0
        failed = print_table(bounds, figures)
        print(f"user instructions, but bytes of a sleeper; {time.monotonic() - begun:.0f} s")
        reason = judged(chosen.directory)
    except (Failed, NotThere, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"gate: {error}")
    finally:
        if not chosen.keep:
            shutil.rmtree(keep, ignore_errors=True)
    if reason:
        print(f"not judged: {reason}")
        return 0
    if chosen.hold:
        write_held(bounds, figures)
        return 0
    if failed:
        print(f"gate: {failed} dearer than held; see bench/bounds.txt")
    old = list(outdated(figures))
    for complaint in old:
        print(f"gate: {complaint}; bench/poison.py writes it again")
    return 1 if failed or old else 0


if __name__ == "__main__":
    sys.exit(main())
