#!/usr/bin/env python3
"""Breaks the library on purpose, one promise at a time, and asks whether a test notices.

mutants.py [--check | --list] [--only NAME]... [--jobs N] [--all-tests]

The mutants are in tools/mutants/, one table per floor (the format is described there). Each is
applied to a copy of the tree in build/mutants, the tests that it names are built and run, and
the copy is restored; the tree itself is never touched. A test that fails, crashes or does not
end has noticed. Prints one line for each mutant and exits 1 if one survived.

--check      only looks whether every mutant still fits the sources; takes no time
--list       prints their names and what they break
--only NAME  this one only; may be repeated, and the end of a name may be a *
--jobs N     so many copies at the same time, each with one compiler
--all-tests  when the named tests notice nothing, tries all the others
"""

import argparse
import fnmatch
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

FLOORS = ("runtime", "sync", "io", "sim")
# What of the tree is no source, wherever it is.
NOT_COPIED = re.compile(r"build(-.*)?|\.git|\.cache|__pycache__")
CONFIGURE = ["-Doptimization=0", "-Ddebug=false", "-Dtests=enabled", "-Dexamples=enabled"]
BUILD = Path("build/gcc")

# A test that takes this much longer than it does on the healthy tree hangs.
PATIENCE_FACTOR, PATIENCE_SECONDS = 10, 20
# Some mutants allocate without end.
MOST_MEMORY = 8 << 30


class Mutant:
    def __init__(self, table, line):
        self.place = f"{table}:{line}"
        self.name = self.breaks = self.file = ""
        self.tests = []
        self.old = self.new = ""

    def applied_to(self, text):
        # Whole lines, so that no context is needed only to tell `x` from `xy`.
        at = ("\n" + text).index("\n" + self.old)
        return text[:at] + self.new + text[at + len(self.old) :]

    def complaints(self, root):
        for field in ("name", "breaks", "file", "tests", "old"):
            if not getattr(self, field):
                yield f"it says nothing about `{field}`"
        if self.old == self.new:
            yield "it changes nothing"
        for test in self.tests:
            if not (root / test_source(test)).is_file():
                yield f"there is no test {test}"
        try:
            text = (root / self.file).read_text(encoding="utf-8")
        except OSError:
            yield f"there is no file {self.file}"
            return
        found = len(re.findall("(?=\n" + re.escape(self.old) + ")", "\n" + text))
        if self.old and found != 1:
            yield f"the lines that it changes are {found} times in {self.file}, not once"


def test_source(test):
    floor, _, name = test.partition("/")
    return Path("tests", floor, name + "_test.cpp")


def test_target(test):
    return "tests/" + test.replace("/", "_") + "_test"


def read_table(path):
    mutants = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        key, _, value = line.partition(":")
        if line.startswith("#") or not line:
            continue
        if key == "mutant":
            mutants.append(Mutant(path.name, number))
            mutants[-1].name = value.strip()
        elif not mutants:
            raise SystemExit(f"{path.name}:{number}: a mutant begins with its name")
        elif key in ("breaks", "file"):
            setattr(mutants[-1], key, value.strip())
        elif key == "tests":
            mutants[-1].tests = value.split()
        elif line[0] in " -+":
            if line[0] != "+":
                mutants[-1].old += line[1:] + "\n"
            if line[0] != "-":
                mutants[-1].new += line[1:] + "\n"
        else:
            raise SystemExit(f"{path.name}:{number}: unknown: {line}")
    return mutants


def read_all(root):
    folder = root / "tools" / "mutants"
    return [each for path in sorted(folder.glob("*.txt")) for each in read_table(path)]


def check(mutants, root):
    complaints = [f"{m.place}: {m.name}: {c}" for m in mutants for c in m.complaints(root)]
    names = [each.name for each in mutants]
    complaints += [
        f"{m.place}: {m.name}: another mutant has this name"
        for i, m in enumerate(mutants)
        if m.name in names[:i]
    ]
    for line in complaints:
        print(line)
    return not complaints


class Failure(Exception):
    """Something that is not the mutant's merit."""


class Copy:
    """A copy of the tree with a build of its own."""

    def __init__(self, root, number):
        self.root = root
        self.tree = root / "build" / "mutants" / str(number)
        self.build = self.tree / BUILD
        self.patience = {}

    def refresh(self):
        """Makes the copy equal to the tree, touching only what differs."""
        wanted = set()
        for folder, folders, files in os.walk(self.root):
            folders[:] = [each for each in folders if not NOT_COPIED.fullmatch(each)]
            for name in files:
                source = Path(folder, name)
                relative = source.relative_to(self.root)
                wanted.add(relative)
                target = self.tree / relative
                content = source.read_bytes()
                if target.is_file() and target.read_bytes() == content:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                shutil.copymode(source, target)
        for folder, folders, files in os.walk(self.tree):
            folders[:] = [each for each in folders if not NOT_COPIED.fullmatch(each)]
            for name in files:
                if Path(folder, name).relative_to(self.tree) not in wanted:
                    Path(folder, name).unlink()

    def configure(self):
        if (self.build / "build.ninja").exists():
            return
        environment = dict(os.environ)
        if "CXX" not in environment:
            environment["CXX"] = "ccache g++" if shutil.which("ccache") else "g++"
        where = [str(self.build), str(self.tree)]
        self.command(["meson", "setup", *where, *CONFIGURE], environment)

    def command(self, arguments, environment=None):
        done = subprocess.run(
            arguments, env=environment, text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            last = (done.stdout + done.stderr).strip().splitlines()[-15:]
            raise Failure("\n".join([f"{' '.join(arguments)} failed:", *last]))

    def compile(self, test):
        self.command(["ninja", "-C", str(self.build), "-j1", test_target(test)])

    def run(self, test):
        """None if all is well, or how the test noticed."""

        def limit():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))

        with subprocess.Popen(
            [str(self.build / test_target(test)), "--abort"],
            cwd=self.build,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=limit,
        ) as process:
            try:
                output, _ = process.communicate(timeout=self.patience.get(test))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return f"{test} does not end"
        if process.returncode in (0, 77):
            return None
        failed = failed_case(output.decode(errors="replace"))
        return f"{test}: {failed}" if failed else f"{test} ends with {process.returncode}"

    def kill_off(self, mutant, tests):
        """How the first of the tests that notices did, or None: the mutant survives."""
        file = self.tree / mutant.file
        healthy = file.read_text(encoding="utf-8")
        file.write_text(mutant.applied_to(healthy), encoding="utf-8")
        try:
            for test in tests:
                self.compile(test)
                noticed = self.run(test)
                if noticed:
                    return noticed
            return None
        finally:
            file.write_text(healthy, encoding="utf-8")


def failed_case(output):
    """The name of the test case that Catch2 complains about: between two lines of dashes."""
    found = re.search(r"^-{70,}\n(.*?)\n-{70,}$", output, re.M | re.S)
    return " ".join(found.group(1).split()) if found else ""


def measure(copy, tests):
    """On the healthy tree every test passes; how long it takes says how long to wait later."""
    patience = {}
    for test in tests:
        copy.compile(test)
        begun = time.monotonic()
        noticed = copy.run(test)
        if noticed:
            raise Failure(f"without any mutant: {noticed}")
        patience[test] = PATIENCE_SECONDS + PATIENCE_FACTOR * (time.monotonic() - begun)
    return patience


def every_test(root):
    for floor in FLOORS:
        for path in sorted((root / "tests" / floor).glob("*_test.cpp")):
            yield f"{floor}/{path.name.removesuffix('_test.cpp')}"


def run_all(mutants, root, options):
    named = sorted({test for each in mutants for test in each.tests})
    copies = [Copy(root, i + 1) for i in range(min(options.jobs, len(mutants)))]
    for copy in copies:
        copy.refresh()
        copy.configure()
    print(f"the {len(named)} tests on the healthy tree ...", flush=True)
    patience = measure(copies[0], named)
    work = queue.SimpleQueue()
    for each in mutants:
        work.put(each)
    counts = {"noticed": 0, "survived": 0, "failed": 0}
    printing = threading.Lock()

    def say(mutant, word, how, begun):
        with printing:
            counts[word] += 1
            seconds = time.monotonic() - begun
            print(f"{word:8}  {mutant.name}  ({seconds:.0f} s)  {how}", flush=True)

    def worker(copy):
        copy.patience = patience
        while True:
            try:
                mutant = work.get_nowait()
            except queue.Empty:
                return
            begun = time.monotonic()
            try:
                noticed = copy.kill_off(mutant, mutant.tests)
                if not noticed and options.all_tests:
                    others = [t for t in every_test(root) if t not in mutant.tests]
                    copy.patience = dict.fromkeys(others, 600) | patience
                    noticed = copy.kill_off(mutant, others)
                if noticed:
                    say(mutant, "noticed", noticed, begun)
                else:
                    say(mutant, "survived", mutant.breaks, begun)
            except Failure as failure:
                say(mutant, "failed", failure, begun)

    threads = [threading.Thread(target=worker, args=(each,)) for each in copies]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    print(
        f"{len(mutants)} mutants, {counts['noticed']} noticed, {counts['survived']} survived"
        + (f", {counts['failed']} could not be tried" if counts["failed"] else "")
    )
    return counts["noticed"] == len(mutants)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--all-tests", action="store_true")
    options = parser.parse_args()

    root = options.root.resolve()
    mutants = read_all(root)
    if not check(mutants, root):
        return 1
    if options.only:
        mutants = [
            each for each in mutants if any(fnmatch.fnmatch(each.name, o) for o in options.only)
        ]
    if not mutants:
        print("no such mutant")
        return 1
    if options.check:
        return 0
    if options.list:
        for each in mutants:
            print(f"{each.name}: {each.breaks}")
        return 0
    begun = time.monotonic()
    try:
        well = run_all(mutants, root, options)
    except Failure as failure:
        print(failure)
        return 1
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
