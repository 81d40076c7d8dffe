#!/usr/bin/env python3
"""tools/tidy.py finds what it is for: each test spoils one thing in a good little tree."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import tidy  # noqa: E402


def header(path, *body):
    guard = tidy.guard_of(path)
    lines = ["// An idea.", f"#ifndef {guard}", f"#define {guard}", *body, "#endif"]
    return "\n".join(lines) + "\n"


def source(*body):
    return "\n".join(("// An idea.", *body)) + "\n"


def good_tree():
    headers = ("runtime/task.hpp", "runtime/loop.hpp", "sync/mutex.hpp", "io/tcp.hpp")
    tree = {path: header(path) for path in headers}
    for floor in ("runtime", "sync", "io"):
        tree[f"include/toadstone/{floor}.hpp"] = header(f"include/toadstone/{floor}.hpp")
    tree["runtime/uring/ring.hpp"] = header("runtime/uring/ring.hpp", "#include <liburing.h>")
    tree["runtime/loop.cpp"] = source(
        "#include <toadstone/runtime/loop.hpp>",
        "#include <toadstone/runtime/uring/ring.hpp>",
        "#include <toadstone/runtime/task.hpp>",
        "#include <liburing.h>",
        "#include <sys/eventfd.h>",
    )
    tree["sync/detail/core.hpp"] = header("sync/detail/core.hpp")
    tree["sync/detail/core.cpp"] = source("#include <toadstone/sync/detail/core.hpp>")
    tree["runtime/meson.build"] = "['loop.hpp', 'task.hpp'] ['loop.cpp']\n"
    tree["sync/meson.build"] = "['detail/core.hpp', 'mutex.hpp'] ['detail/core.cpp']\n"
    tree["io/meson.build"] = "['tcp.hpp']\n"
    tree["include/toadstone/meson.build"] = "['runtime.hpp', 'sync.hpp', 'io.hpp']\n"
    tests = {"runtime": ("loop", "task"), "sync": ("mutex",), "io": ("tcp",)}
    tree["tests/meson.build"] = "".join(
        f"'{floor}': [\n" + "".join(f"'{name}',\n" for name in names) + "],\n"
        for floor, names in tests.items()
    )
    for name in ("runtime/loop", "runtime/task", "sync/mutex", "io/tcp"):
        tree[f"tests/{name}_test.cpp"] = source(f"#include <toadstone/{name}.hpp>")
    return tree


class TidyTest(unittest.TestCase):
    def findings(self):
        with tempfile.TemporaryDirectory() as root:
            for path, text in self.tree.items():
                file = Path(root, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            # The real tree's table would name headers that are not in this one.
            tidy.COVERED_BY = {}
            return tidy.tidy(root)

    def setUp(self):
        self.tree = good_tree()

    def expect(self, path, line, words):
        found = self.findings()
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0][:2], (path, line))
        self.assertIn(words, found[0][2])

    def include(self, path, name):
        """Replaces a file by one that includes `name` on its fourth (.hpp) or second line."""
        line = f"#include {name}"
        self.tree[path] = header(path, line) if path.endswith(".hpp") else source(line)

    def test_a_good_tree_has_no_findings(self):
        self.assertEqual(self.findings(), [])

    def test_siblings_do_not_include_each_other(self):
        self.include("sync/mutex.hpp", "<toadstone/io/tcp.hpp>")
        self.expect("sync/mutex.hpp", 4, "sync may not include io")
        self.tree = good_tree()
        self.include("io/tcp.hpp", "<toadstone/sync/mutex.hpp>")
        self.expect("io/tcp.hpp", 4, "io may not include sync")

    def test_the_vocabulary_knows_no_loop(self):
        self.include("runtime/task.hpp", "<toadstone/runtime/loop.hpp>")
        self.expect("runtime/task.hpp", 4, "vocabulary may not include loop")

    def test_sync_knows_no_loop(self):
        self.include("sync/mutex.hpp", "<toadstone/runtime/loop.hpp>")
        self.expect("sync/mutex.hpp", 4, "sync may not include loop")

    def test_the_vocabulary_makes_no_system_calls(self):
        self.tree["runtime/task.cpp"] = source(
            "#include <toadstone/runtime/task.hpp>", "#include <sys/mman.h>"
        )
        self.tree["runtime/meson.build"] += "['task.cpp']\n"
        self.expect("runtime/task.cpp", 3, "<sys/mman.h>")

    def test_only_the_cpp_of_io_may_include_uring(self):
        ring = "<toadstone/runtime/uring/ring.hpp>"
        self.tree["io/tcp.cpp"] = source(
            "#include <toadstone/io/tcp.hpp>", f"#include {ring}", "#include <liburing.h>"
        )
        self.tree["io/meson.build"] += "['tcp.cpp']\n"
        self.assertEqual(self.findings(), [])
        self.include("io/tcp.hpp", ring)
        self.expect("io/tcp.hpp", 4, "not installed")

    def test_public_headers_stay_cheap(self):
        for name in ("<liburing.h>", "<sys/uio.h>", "<iostream>", "<functional>"):
            self.tree = good_tree()
            self.include("io/tcp.hpp", name)
            self.expect("io/tcp.hpp", 4, f"a public header does not include {name}")

    def test_floors_do_not_include_tables_of_contents(self):
        self.include("io/tcp.hpp", "<toadstone/runtime.hpp>")
        self.expect("io/tcp.hpp", 4, "io may not include contents")

    def test_floors_write_the_installed_form(self):
        self.include("io/tcp.hpp", '"loop.hpp"')
        self.expect("io/tcp.hpp", 4, "write <toadstone/...>")

    def test_tests_do_not_reach_into_the_library_by_path(self):
        self.include("tests/io/tcp_test.cpp", '"../../io/tcp.hpp"')
        self.expect("tests/io/tcp_test.cpp", 2, "reaches into the library")

    def test_tests_may_include_detail_and_uring(self):
        self.include("tests/sync/mutex_test.cpp", "<toadstone/sync/detail/core.hpp>")
        self.include("tests/runtime/loop_test.cpp", "<toadstone/runtime/uring/ring.hpp>")
        self.assertEqual(self.findings(), [])

    def test_examples_include_what_users_may(self):
        self.include("examples/a.cpp", "<toadstone/sync/detail/core.hpp>")
        self.expect("examples/a.cpp", 2, "promises nothing")
        self.include("examples/a.cpp", "<toadstone/runtime/uring/ring.hpp>")
        self.expect("examples/a.cpp", 2, "examples may not include uring")

    def test_an_include_of_nothing_is_found(self):
        self.include("examples/a.cpp", "<toadstone/sync/gone.hpp>")
        self.expect("examples/a.cpp", 2, "does not exist")

    def test_a_source_includes_its_own_header_first(self):
        self.tree["sync/detail/core.cpp"] = source("#include <string>")
        self.expect("sync/detail/core.cpp", 2, "the first include")

    def test_guards_are_named_after_the_path(self):
        self.assertEqual(tidy.guard_of("include/toadstone/sync.hpp"), "TOADSTONE_SYNC_HPP")
        self.tree["io/tcp.hpp"] = header("io/udp.hpp")
        self.expect("io/tcp.hpp", 2, "TOADSTONE_IO_TCP_HPP")

    def test_pragma_once_is_found(self):
        self.tree["io/tcp.hpp"] = header("io/tcp.hpp", "#pragma once")
        self.expect("io/tcp.hpp", 4, "#pragma once")

    def test_lists_and_folders_agree(self):
        self.tree["io/detail/buffer.hpp"] = header("io/detail/buffer.hpp")
        self.expect("io/detail/buffer.hpp", 1, "does not list this file")
        self.tree = good_tree()
        self.tree["io/meson.build"] += "['udp.hpp']\n"
        self.expect("io/meson.build", 2, "udp.hpp does not exist")
        self.tree = good_tree()
        self.tree["runtime/meson.build"] += "['uring/ring.hpp']\n"
        self.expect("runtime/meson.build", 2, "would be installed")

    def test_a_public_header_has_its_test(self):
        del self.tree["tests/io/tcp_test.cpp"]
        self.tree["tests/meson.build"] = self.tree["tests/meson.build"].replace("'tcp',\n", "")
        self.expect("io/tcp.hpp", 1, "there is no tests/io/tcp_test.cpp")

    def test_a_test_that_no_list_names_is_found(self):
        self.tree["tests/sync/detail/core_test.cpp"] = source()
        self.expect("tests/sync/detail/core_test.cpp", 1, "does not list this test")
        self.tree = good_tree()
        self.tree["tests/meson.build"] = self.tree["tests/meson.build"].replace("tcp", "udp")
        lines = [f[2] for f in self.findings()]
        self.assertIn("there is no tests/io/udp_test.cpp", lines)

    def test_what_tests_of_one_program_share_is_found(self):
        path = "tests/sync/mutex_test.cpp"
        kept = ("namespace {", "struct account {", "};", "task<> pays(int a) {", "}", "}")
        case = ('TEST_CASE("mutex: a {") {', "struct local {};", "f([] { return 1; });", "}")
        self.tree[path] = source("namespace toadstone::tests {", *kept, *case, "}")
        self.assertEqual(self.findings(), [])
        for name, line in (
            ("account", "struct account final : base<int> { int a; };"),
            ("colour", "enum class colour : int { red };"),
            ("pays", "task<> pays(const char* a = \"{\") { co_return; }"),
            ("pays", "template <class T> [[nodiscard]] T pays(T a) { return a; }"),
            ("operator==", "bool operator==(a, b) { return true; }"),
        ):
            self.tree[path] = source("namespace toadstone {", line, "}")
            self.expect(path, 3, name + " is in no unnamed namespace")
        self.tree[path] = source("static int f() {", "}", "template <> struct f<int> {", "};")
        self.assertEqual(self.findings(), [])
        self.tree["tests/meson.build"] += "tests_alone = [\n    'sync/mutex',\n]\n"
        self.tree[path] = source("struct account {", "};")
        self.assertEqual(self.findings(), [])

    def test_a_replaced_operator_new_has_a_program_of_its_own(self):
        self.include("tests/io/tcp_test.cpp", "<toadstone/sim/failing_new.hpp>")
        self.tree["sim/failing_new.hpp"] = header("sim/failing_new.hpp")
        self.tree["sim/meson.build"] = "'failing_new.hpp'\n"
        self.tree["tests/sim/failing_new_test.cpp"] = source()
        self.tree["tests/meson.build"] += "'sim': [\n    'failing_new',\n]\n"
        self.expect("tests/io/tcp_test.cpp", 2, "list it in tests_alone")

    def test_support_headers_do_not_define_the_same(self):
        self.tree["tests/support/a.hpp"] = header("tests/support/a.hpp", "struct probe {};")
        self.tree["tests/support/b.hpp"] = header("tests/support/b.hpp", "class probe {", "};")
        self.expect("tests/support/b.hpp", 4, "probe is defined in tests/support/a.hpp, too")

    def test_text_is_found_on_its_line(self):
        for line, words in (
            ("//" + "x" * 95, "97 columns"),
            ("\tint x;", "a tab"),
            ("int x; ", "white space"),
            ("#if 0", "disabled code"),
            ("int x;  // NOLINT", "a suppression"),
        ):
            self.tree = good_tree()
            self.tree["examples/a.cpp"] = source(line)
            self.expect("examples/a.cpp", 2, words)

    def test_columns_are_characters(self):
        self.tree["examples/a.cpp"] = source("//" + "ä" * 94)
        self.assertEqual(self.findings(), [])

    def test_atomics_come_from_one_header(self):
        for line in ("std::atomic<int> x;", "#include <atomic>", "std::atomic_flag x;"):
            self.tree = good_tree()
            self.tree["sync/mutex.hpp"] = header("sync/mutex.hpp", line)
            self.expect("sync/mutex.hpp", 4, "atomics come from")
        self.tree = good_tree()
        self.tree[tidy.ATOMICS] = header(tidy.ATOMICS, "#include <atomic>")
        self.tree["runtime/meson.build"] += "['detail/atomic.hpp']\n"
        self.tree["sync/mutex.hpp"] = header("sync/mutex.hpp", "// std::atomic")
        self.tree["tests/sync/mutex_test.cpp"] = source("std::atomic<int> x;")
        self.assertEqual(self.findings(), [])

    def test_a_memory_order_is_never_left_out(self):
        order = "std::memory_order_relaxed"
        for call in ("x.load()", "x->store(f(1))", "x.fetch_add(1)", "x.exchange(y.z())"):
            self.tree = good_tree()
            self.tree["io/tcp.hpp"] = header("io/tcp.hpp", "", call + ";", f"// {order}")
            self.expect("io/tcp.hpp", 5, "without a memory order")
        whole = f"x.compare_exchange_weak(f(1), 2,\n    {order}, {order}); std::exchange(y, 3);"
        self.tree["io/tcp.hpp"] = header("io/tcp.hpp", whole)
        self.assertEqual(self.findings(), [])

    def test_a_file_opens_with_its_idea(self):
        self.tree["examples/a.cpp"] = "int main() {}\n"
        self.expect("examples/a.cpp", 1, "the first line is a comment")

    def test_a_file_that_is_two_ideas_is_found(self):
        # header() puts four lines around the body.
        self.tree["io/tcp.hpp"] = header("io/tcp.hpp", *["//"] * 396)
        self.assertEqual(self.findings(), [])
        self.tree["io/tcp.hpp"] = header("io/tcp.hpp", *["//"] * 397)
        self.expect("io/tcp.hpp", 400, "401 lines")

    def test_build_directories_are_not_looked_at(self):
        self.tree["out/meson-private/x"] = ""
        self.tree["out/a.cpp"] = "int main() {}\n"
        self.assertEqual(self.findings(), [])


if __name__ == "__main__":
    unittest.main()
