#!/usr/bin/env python3
"""tools/mutants.py applies a mutant to exactly its lines, and says which ones are outdated."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import mutants  # noqa: E402

SOURCE = "int f() {\n    wake();\n    return 1;\n}\nint g() {\n    return 1;\n}\n"
TABLE = """# About the table.

mutant: not_woken
breaks: a waiter is woken
file: sync/queue.cpp
tests: sync/queue
-    wake();
     return 1;
+    wake();
"""


class Mutants(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write("sync/queue.cpp", SOURCE)
        self.write("tests/sync/queue_test.cpp", "")

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def complaints(self, table):
        self.write("tools/mutants/sync.txt", table)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            good = mutants.check(mutants.read_all(self.root), self.root)
        self.assertEqual(good, not said.getvalue())
        return said.getvalue()

    def test_a_mutant_that_fits_is_applied_to_its_lines(self):
        self.assertEqual(self.complaints(TABLE), "")
        (mutant,) = mutants.read_all(self.root)
        before, after = "    wake();\n    return 1;\n", "    return 1;\n    wake();\n"
        self.assertEqual(mutant.applied_to(SOURCE), SOURCE.replace(before, after))

    def test_lines_that_are_not_there_any_more(self):
        self.write("sync/queue.cpp", SOURCE.replace("wake()", "wake_all()"))
        self.assertIn("0 times in sync/queue.cpp", self.complaints(TABLE))

    def test_lines_that_are_there_twice(self):
        self.assertIn("2 times", self.complaints(TABLE.replace("-    wake();\n", "")))

    def test_a_part_of_a_line_is_no_line(self):
        self.assertIn("0 times", self.complaints(TABLE.replace("     return", " return")))

    def test_a_file_or_a_test_that_is_gone(self):
        self.assertIn("no file", self.complaints(TABLE.replace("queue.cpp", "q.cpp")))
        self.assertIn("no test", self.complaints(TABLE.replace("sync/queue\n", "sync/q\n")))

    def test_a_mutant_without_a_promise(self):
        self.assertIn("`breaks`", self.complaints(TABLE.replace("breaks", "# breaks")))

    def test_one_name_for_two_mutants(self):
        self.assertIn("this name", self.complaints(TABLE + TABLE))

    def test_the_case_that_failed_is_found_in_what_catch_prints(self):
        dashes = "-" * 79
        text = f"program\n{dashes}\nmutex: the name goes\n       on\n{dashes}\nfile.cpp:1\n"
        self.assertEqual(mutants.failed_case(text), "mutex: the name goes on")
        self.assertEqual(mutants.failed_case("Segmentation fault"), "")


if __name__ == "__main__":
    unittest.main()
