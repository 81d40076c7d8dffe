#!/usr/bin/env python3
"""What including the library costs, and what it must not drag in.

include_cost.py [-I DIR]... -- COMPILER...

Prints how long <toadstone/sync/mutex.hpp> alone compiles at -O0, beside a floor of standard
headers. The times are for people to read and never fail; a forbidden header does.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

MEASURED = "#include <toadstone/sync/mutex.hpp>\n"
FLOOR = "#include <mutex>\n#include <coroutine>\n#include <string>\n"
EVERYTHING = "".join(f"#include <toadstone/{f}.hpp>\n" for f in ("runtime", "sync", "io"))

# <functional> and <sys/*.h> come with the standard library itself, so tools/tidy.py looks for
# those in our own headers. These two come only with whoever writes them.
FORBIDDEN = ("liburing.h", "iostream")
RUNS = 3


def compiles_in_ms(compiler, source):
    """The best of a few runs: the others were disturbed by something else on the machine."""
    best = None
    for _ in range(RUNS):
        start = time.monotonic()
        subprocess.run([*compiler, "-O0", "-c", source, "-o", os.devnull], check=True)
        took = time.monotonic() - start
        best = took if best is None else min(best, took)
    return 1000 * best


def headers_behind(compiler, source):
    rule = subprocess.run(
        [*compiler, "-M", source], check=True, capture_output=True, text=True
    ).stdout
    return rule.replace("\\\n", " ").split()[2:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-I", action="append", default=[], dest="include_dirs")
    parser.add_argument("compiler", nargs="+")
    options = parser.parse_args()

    # A compiler cache would measure itself.
    command = [c for c in options.compiler if os.path.basename(c) not in ("ccache", "sccache")]
    command += ["-std=c++20", *(f"-I{d}" for d in options.include_dirs)]

    failed = False
    with tempfile.TemporaryDirectory() as folder:

        def write(name, text):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return path

        measured = compiles_in_ms(command, write("mutex.cpp", MEASURED))
        floor = compiles_in_ms(command, write("floor.cpp", FLOOR))
        print(f"<toadstone/sync/mutex.hpp> alone at -O0:    {measured:5.0f} ms")
        print(f"<mutex>, <coroutine> and <string> at -O0:   {floor:5.0f} ms")

        for header in headers_behind(command, write("everything.cpp", EVERYTHING)):
            if os.path.basename(header) in FORBIDDEN:
                print(f"a public header includes <{os.path.basename(header)}> ({header})")
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
