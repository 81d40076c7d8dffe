#!/usr/bin/env python3
"""A compiler that is too old, or a language version, gets one error from any public header: the
one that says what is needed.

old_compiler_test.py gcc|clang INCLUDE_DIR INCLUDE_DIR HEADER,... COMPILER [ARGUMENT]...

That the compiler is old is pretended; old ones that are installed are asked for the tables of
contents as well.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

KIND = sys.argv[1]
INCLUDES = [f"-I{each}" for each in sys.argv[2:4]]
HEADERS = sys.argv[4].split(",")
COMPILER = sys.argv[5:]
del sys.argv[1:]

OLDER = {
    "gcc": ["-U__GNUC__", "-D__GNUC__=11"],
    "clang": ["-U__clang_major__", "-D__clang_major__=14"],
}
REAL_OLD_ONES = ("clang++-13", "clang++-14", "clang++-15", "clang++-16", "g++-10", "g++-11")


class OldCompilers(unittest.TestCase):
    def errors(self, command, header):
        with tempfile.TemporaryDirectory() as folder:
            unit = os.path.join(folder, "unit.cpp")
            with open(unit, "w", encoding="utf-8") as file:
                # After the header, as in any program, what cannot be right without it.
                file.write(f"#include <{header}>\ntoadstone::task<int> main_task();\n")
            done = subprocess.run(
                [*command, "-fsyntax-only", *INCLUDES, unit],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        return [line for line in done.stderr.splitlines() if "error:" in line]

    def check(self, command, headers, sentence):
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda header: self.errors(command, header), headers))
        for header, errors in zip(headers, found):
            with self.subTest(header=header, command=command):
                self.assertEqual(len(errors), 1, errors)
                self.assertIn(sentence, errors[0])

    def test_an_older_one(self):
        self.check(
            [*COMPILER, "-std=c++20", *OLDER[KIND]],
            HEADERS,
            "toadstone needs g++ 12.2 or newer, or clang 19 or newer",
        )

    def test_an_older_language(self):
        self.check([*COMPILER, "-std=c++17"], HEADERS, "toadstone needs C++20: -std=c++20")

    def test_old_ones_that_are_here(self):
        tables = [each for each in HEADERS if each.count("/") == 1]
        self.assertEqual(len(tables), 4)
        tried = [each for each in REAL_OLD_ONES if shutil.which(each)]
        for each in tried:
            self.check([each, "-std=c++20"], tables, "toadstone needs g++ 12.2 or newer")
        print(f"    tried: {', '.join(tried) or 'none is installed'}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
