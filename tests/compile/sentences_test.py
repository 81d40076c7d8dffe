#!/usr/bin/env python3
"""Compiles snippets that are wrong and looks for the sentence that tells a user so.

sentences_test.py [--only PART] -I DIR... -- COMPILER...

The snippets and the sentences are in sentences.txt. Each compiler that is given, and g++ and
clang++-19 if they are there, has to say the sentence, and no other error that would lead a user
astray. The headers are compiled once for each. A case with -O among its flags is compiled to
the end.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = Path(__file__).with_name("sentences.txt")
WARNINGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic"]
HEADER = """\
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <coroutine>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace std::chrono_literals;

task<int> gives(int value);
"""
FUNCTION = """\
task<> snippet([[maybe_unused]] task_scope& scope, [[maybe_unused]] sync::mutex<int>& lock,
               [[maybe_unused]] join_handle<int>& handle) {
    const int first = 0; // g++ 12 wants a declaration before anything else
    static_cast<void>(first);
"""


class Case:
    def __init__(self, text):
        self.name, *lines = text.strip("\n").split("\n")
        self.says, self.only, self.flags, self.silent = "", "", [], False
        while lines and (field := re.match(r"(says|only|flags): (.*)|silent$", lines[0])):
            if not field.group(1):
                self.silent = True
            elif field.group(1) == "flags":
                self.flags = field.group(2).split()
            else:
                setattr(self, field.group(1), field.group(2))
            lines.pop(0)
        assert self.silent != bool(self.says), f"{self.name}: says or silent?"
        if lines[0] == "outside":
            self.code = "\n".join(lines[1:]) + "\n"
        else:
            self.code = FUNCTION + "\n".join(lines) + "\n    co_return;\n}\n"


class Compiler:
    """With the headers compiled beforehand, once for each set of flags."""

    def __init__(self, command, includes, folder):
        told = subprocess.run([*command, "--version"], capture_output=True, text=True)
        self.kind = "clang++" if "clang" in told.stdout else "g++"
        self.command = [*command, *WARNINGS, *includes]
        self.folder = folder / self.kind
        self.folder.mkdir()
        self.compiled = {}

    def headers(self, flags):
        if flags not in self.compiled:
            header = self.folder / f"headers{len(self.compiled)}.hpp"
            header.write_text(HEADER)
            out = header.with_suffix(".hpp.pch" if self.kind == "clang++" else ".hpp.gch")
            subprocess.run(
                [*self.command, *flags, "-x", "c++-header", header, "-o", out], check=True
            )
            use = ["-include-pch", out] if self.kind == "clang++" else ["-include", header]
            self.compiled[flags] = use
        return self.compiled[flags]

    def complaints(self, case):
        source = self.folder / "snippet.cpp"
        source.write_text(case.code)
        # Some warnings come out of the optimiser.
        optimised = any(flag.startswith("-O") for flag in case.flags)
        how = ["-c", "-o", source.with_suffix(".o")] if optimised else ["-fsyntax-only"]
        ran = subprocess.run(
            [*self.command, *case.flags, *self.headers(tuple(case.flags)), *how,
             "-fdiagnostics-color=never", source],
            capture_output=True,
            text=True,
            env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        )
        found = re.findall(r"^.*?: ((?:fatal )?error|warning): (.*)$", ran.stderr, re.M)
        if case.silent:
            return ran.stderr if found or ran.returncode else ""
        if not any(case.says in text for _, text in found):
            return "the sentence is not said\n" + ran.stderr
        if astray := [text for _, text in found if case.says not in text]:
            return "something else is said, too: " + "; ".join(astray)
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("-I", dest="includes", action="append", default=[])
    parser.add_argument("compiler", nargs="*")
    arguments = parser.parse_args()
    given = arguments.compiler
    if given and Path(given[0]).name == "ccache":
        given = given[1:]
    _, *texts = re.split(r"^=== ", CASES.read_text(), flags=re.M)
    cases = [each for each in map(Case, texts) if arguments.only in each.name]
    failed = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        compilers = {}
        for number, command in enumerate((given, ["g++"], ["clang++-19"])):
            if command and shutil.which(command[0]):
                path = Path(folder) / str(number)
                path.mkdir()
                made = Compiler(command, [f"-I{each}" for each in arguments.includes], path)
                compilers.setdefault(made.kind, made)
        for compiler in compilers.values():
            for case in cases:
                if case.only not in ("", compiler.kind):
                    continue
                tried += 1
                if complaint := compiler.complaints(case):
                    failed += 1
                    print(f"{compiler.kind}: {case.name}\n    {complaint.strip()}")
    print(f"{tried} snippets with {' and '.join(compilers)}, {failed} not as they should be")
    return 1 if failed or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
