#!/usr/bin/env python3
"""forms_test.py lint|run PROGRAM BUILDDIR COMPILER

lint: tools/lint finds the marked forms of co_await beside this script, and no others.
run: with the compiler at hand each form goes right, or is one that the lint finds. COMPILER is
Meson's name and version of it: of g++ 12, each form that the lint finds has to go wrong, else
it would cry wolf.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINT = HERE.parents[1] / "tools/lint"
SOURCES = sorted(HERE.glob("*_forms.cpp"))
# Kinds that are not seen by running: luck, a compile error, and what no compiler gets wrong.
NOT_SEEN = {"alignment", "list", "unheld"}


def marks(source):
    """{line: kind} of what is marked."""
    found = {}
    for number, line in enumerate(source.read_text().splitlines(), 1):
        mark = re.match(r"\s*// wrong: (\w+)$", line)
        if mark:
            found[number + 1] = mark[1]
    return found


def kinds_of_forms():
    """{name: kinds}: what is marked in a form, or above it in what it calls."""
    forms, current, above = {}, None, set()
    for line in (line for source in SOURCES for line in source.read_text().splitlines()):
        mark = re.match(r"\s*// wrong: (\w+)$", line)
        named = re.match(r"FORM\((\w+)\)", line)
        if mark:
            (forms[current] if current else above).add(mark[1])
        if named:
            current = named[1]
            forms[current], above = above, set()
        if line == "}" or (named and line.endswith("}")):
            current = None
    return forms


def check_lint(build):
    done = subprocess.run(
        [sys.executable, LINT, "-p", build, *SOURCES], capture_output=True, text=True
    )
    if "no clang-query" in done.stderr:
        print("skipped: there is no clang-query-19")
        sys.exit(77)
    found = {}
    for path, line, kind in re.findall(
        r"^(.*?):(\d+):\d+: .* \[(\w+)\]$", done.stdout, flags=re.MULTILINE
    ):
        found.setdefault(Path(path).name, {})[int(line)] = kind
    failed = done.returncode != 1
    for source in SOURCES:
        wanted, got = marks(source), found.get(source.name, {})
        for line in sorted(wanted.keys() | got.keys()):
            if wanted.get(line) != got.get(line):
                failed = True
                print(f"{source}:{line}: marked {wanted.get(line)}, found {got.get(line)}")
    if failed:
        print(done.stderr)
    return failed


def check_runs(program, compiler):
    gcc_12 = re.match(r"gcc (\d+)", compiler)
    gcc_12 = gcc_12 is not None and int(gcc_12[1]) <= 12
    listing = subprocess.run([program], capture_output=True, text=True, check=True)
    listed = listing.stdout.split()
    forms = kinds_of_forms()
    failed = len(listed) < 100
    for name in listed:
        done = subprocess.run([program, name], capture_output=True, text=True, timeout=60)
        right = done.returncode == 0
        wanted = not (gcc_12 and forms[name] - NOT_SEEN)
        if right != wanted:
            failed = True
            what = "right, but the lint finds it" if right else done.stdout + done.stderr
            print(f"{name} {sorted(forms[name])}: {what}")
    print(f"{len(listed)} forms with {compiler}")
    return failed


def main():
    what, program, build, compiler = sys.argv[1:]
    failed = check_lint(build) if what == "lint" else check_runs(program, compiler)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
