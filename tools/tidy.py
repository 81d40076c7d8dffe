#!/usr/bin/env python3
"""Checks the shape of the tree: who includes whom, header guards, file lists, tests, layout.

tidy.py [--root DIR]

Prints one `file:line: sentence` for each finding and exits 1 if there is any. What clang-format
and clang-tidy can say is left to them.
"""

import argparse
import os
import re
import sys
from pathlib import Path

# Headers that another test than tests/<floor>/<name>_test.cpp covers.
COVERED_BY = {
    "runtime/cancel_reason.hpp": "tests/runtime/cancel_test.cpp",
    "io/connect_options.hpp": "tests/io/connect_by_name_test.cpp",
    "io/resolve_error.hpp": "tests/io/resolver_test.cpp",
    "runtime/executor.hpp": "tests/runtime/worker_test.cpp",
    "sync/closed_error.hpp": "tests/sync/semaphore_test.cpp",
    "sync/format.hpp": "tests/sync/mutex_state_test.cpp",
    "sync/lagged.hpp": "tests/sync/broadcast_test.cpp",
    "sync/local_guard.hpp": "tests/sync/local_mutex_test.cpp",
    "sync/read_guard.hpp": "tests/sync/shared_mutex_test.cpp",
}

# With uring/, the part of runtime/ that may talk to the kernel. blocking/ and fiber/ stand
# beside it; all else in runtime/ is vocabulary.
LOOP = {"runtime/loop.hpp", "runtime/loop.cpp", "runtime/run.cpp"}

# What of sim/ reaches into sim/kernel/: it starts a run, or is called from inside one.
SIM_ENTRIES = {"sim/choices.cpp", "sim/explore.cpp", "sim/world.cpp"}

# Downwards only. A kind of file on the left, the kinds it may include on the right; 'contents'
# are the tables of contents in include/, which only users of the library need.
MAY_INCLUDE = {
    "vocabulary": {"vocabulary"},
    "loop": {"vocabulary", "loop", "uring", "blocking"},
    "blocking": {"vocabulary", "blocking"},
    "fiber": {"vocabulary", "fiber"},
    "uring": {"vocabulary", "loop", "uring"},
    "sync": {"vocabulary", "sync"},
    "io": {"vocabulary", "loop", "uring", "io", "dns"},
    "dns": {"vocabulary", "io", "dns"},
    "contents of runtime": {"vocabulary", "loop"},
    "contents of sync": {"vocabulary", "sync"},
    "contents of io": {"vocabulary", "loop", "io"},
    "sim": {"vocabulary", "sync", "io", "sim"},
    "sim kernel": {"vocabulary", "loop", "uring", "sim", "sim kernel"},
    "contents of sim": {"sim"},
    "examples": {"contents", "vocabulary", "loop", "sync", "io"},
    "bench": {"contents", "vocabulary", "loop", "sync", "io"},
    "tests": {
        "contents",
        "vocabulary",
        "loop",
        "uring",
        "blocking",
        "fiber",
        "sync",
        "io",
        "dns",
        "sim",
        "sim kernel",
    },
}

NOT_INSTALLED = ("uring", "blocking", "fiber", "dns", "sim kernel")
FLOORS = ("runtime", "sync", "io", "sim")
PUBLIC_NEVER = re.compile(r"liburing(\.h|/.*)|sys/.*|iostream|functional")
# Where the floors get their atomics from, and what they must not write elsewhere.
ATOMICS = "runtime/detail/atomic.hpp"
STD_ATOMIC = re.compile(r"std::atomic(?!_ref)\w*|<(stdatomic\.h|atomic)>")
ATOMIC_CALL = re.compile(r"(?:\.|->)(load|store|exchange|fetch_\w+|compare_exchange_\w+)\(")
BOOST = re.compile(r"boost/.*")
CARES = re.compile(r"ares.*\.h")
KERNEL = re.compile(r"liburing(\.h|/.*)|sys/.*|linux/.*|asm/.*")
COLUMNS = 96
MOST_LINES = {".hpp": 400, ".cpp": 700}

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
SKIPPED_FOLDERS = {".git", ".cache", "build", "subprojects", "__pycache__"}


class Tree:
    def __init__(self, root):
        self.root = root
        self.findings = []
        self.files = {}
        for folder, folders, names in os.walk(root):
            # Build directories of any name hold generated sources.
            folders[:] = sorted(
                f
                for f in folders
                if f not in SKIPPED_FOLDERS and not Path(folder, f, "meson-private").exists()
            )
            for name in sorted(names):
                path = Path(folder, name)
                if self.is_ours(path) and not path.is_symlink():
                    text = path.read_bytes().decode("utf-8", "replace")
                    self.files[path.relative_to(root).as_posix()] = text.split("\n")

    @staticmethod
    def is_ours(path):
        return path.suffix in (".hpp", ".cpp", ".py", ".sh") or path.name in (
            "meson.build",
            "meson_options.txt",
        )

    def say(self, path, line, sentence):
        self.findings.append((path, line, sentence))


def kind_of(path):
    """The row of MAY_INCLUDE that a path below the root belongs to, or None."""
    top, _, rest = path.partition("/")
    if path.startswith("runtime/uring/"):
        return "uring"
    if path.startswith("runtime/blocking/"):
        return "blocking"
    if path.startswith("runtime/fiber/"):
        return "fiber"
    if path.startswith("io/dns/"):
        return "dns"
    if path.startswith("sim/kernel/") or path in SIM_ENTRIES:
        return "sim kernel"
    if path in LOOP:
        return "loop"
    if top == "runtime":
        return "vocabulary"
    if path.startswith("include/toadstone/"):
        return "contents of " + Path(path).stem
    return top if rest and top in MAY_INCLUDE else None


def path_meant(name):
    """The path below the root that <toadstone/...> means."""
    name = name.removeprefix("toadstone/")
    return name if "/" in name else "include/toadstone/" + name


def is_installed(path):
    """Public headers, detail/ with them: what a user's compiler sees."""
    kind = kind_of(path) or ""
    floor = path.split("/")[0] in FLOORS or kind.startswith("contents")
    return floor and path.endswith(".hpp") and kind not in NOT_INSTALLED


def is_floor(path):
    return path.split("/")[0] in (*FLOORS, "include")


def includes_of(lines):
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1] == '"', match[2]


def check_includes(tree):
    for path, lines in tree.files.items():
        if not path.endswith((".hpp", ".cpp")):
            continue
        kind = kind_of(path)
        for number, quoted, name in includes_of(lines):
            if quoted:
                check_quoted(tree, path, number, name)
            elif name.startswith("toadstone/"):
                check_own(tree, path, number, name, kind)
            else:
                check_foreign(tree, path, number, name, kind)


def check_quoted(tree, path, number, name):
    if is_floor(path):
        tree.say(path, number, f'write <toadstone/...> instead of "{name}"')
        return
    meant = os.path.normpath(os.path.join(os.path.dirname(path), name))
    if is_floor(meant) and meant in tree.files:
        tree.say(path, number, f'write <toadstone/...>: "{name}" reaches into the library')


def check_own(tree, path, number, name, kind):
    meant = path_meant(name)
    target = kind_of(meant)
    if target and target.startswith("contents"):
        target = "contents"
    if meant not in tree.files:
        tree.say(path, number, f"<{name}> does not exist")
    elif kind in MAY_INCLUDE and target not in MAY_INCLUDE[kind]:
        tree.say(path, number, f"<{name}> is out of reach: {kind} may not include {target}")
    elif target in NOT_INSTALLED and is_installed(path):
        tree.say(path, number, f"<{name}> is not installed, this header is")
    elif "/detail/" in name and kind in ("examples", "bench"):
        tree.say(path, number, f"<{name}> promises nothing: {kind} includes what users may")
    elif "/detail/" in name and (kind or "").startswith("contents"):
        tree.say(path, number, f"<{name}> is not for users, so it is in no table of contents")


def check_foreign(tree, path, number, name, kind):
    if is_installed(path) and PUBLIC_NEVER.fullmatch(name):
        tree.say(path, number, f"a public header does not include <{name}>")
    elif kind in ("vocabulary", "sync") and KERNEL.fullmatch(name):
        tree.say(path, number, f"<{name}> is for those who talk to the kernel, {kind} does not")
    elif is_floor(path) and kind != "fiber" and BOOST.fullmatch(name):
        tree.say(path, number, f"<{name}> is for runtime/fiber/")
    elif is_floor(path) and kind != "dns" and CARES.fullmatch(name):
        tree.say(path, number, f"<{name}> is for io/dns/")
    elif kind == "examples" and name.startswith("liburing"):
        tree.say(path, number, f"<{name}> is for the library, not for its users")


def check_own_header_first(tree):
    """A header that needs what its .cpp happened to include before it would go unnoticed."""
    for path, lines in tree.files.items():
        own = path.removesuffix(".cpp") + ".hpp"
        if is_floor(path) and path.endswith(".cpp") and own in tree.files:
            number, _, name = next(includes_of(lines), (1, False, ""))
            if name != "toadstone/" + own:
                tree.say(path, number, f"the first include is <toadstone/{own}>")


def guard_of(path):
    path = path.removeprefix("include/toadstone/")
    return "TOADSTONE_" + re.sub(r"[^A-Za-z0-9]", "_", path).upper()


def check_guards(tree):
    for path, lines in tree.files.items():
        if not path.endswith(".hpp"):
            continue
        numbered = enumerate(lines, 1)
        directives = [(n, l.strip()) for n, l in numbered if l.lstrip().startswith("#")]
        for number, directive in directives:
            if re.match(r"#\s*pragma\s+once\b", directive):
                tree.say(path, number, "#pragma once is defeated by a copied tree: use a guard")
        guard = guard_of(path)
        opening = [d.split("//")[0].split() for _, d in directives[:2]]
        if opening != [["#ifndef", guard], ["#define", guard]]:
            line = directives[0][0] if directives else 1
            tree.say(path, line, f"the header opens with #ifndef {guard} and its #define")


def listed(tree, path, suffixes, start=0, end=None):
    """Quoted names in a meson.build, each with its line."""
    names = {}
    for number, line in enumerate(tree.files.get(path, [])[start:end], start + 1):
        for name in re.findall(r"'([^']*)'", line.split("#")[0]):
            if name.endswith(suffixes):
                names.setdefault(name, number)
    return names


def check_lists(tree):
    for folder in (*FLOORS, "include/toadstone"):
        build = folder + "/meson.build"
        names = listed(tree, build, (".hpp", ".cpp"))
        for name, number in names.items():
            path = f"{folder}/{name}"
            if path not in tree.files:
                tree.say(build, number, f"{name} does not exist")
            elif kind_of(path) in NOT_INSTALLED and name.endswith(".hpp"):
                folder_of = path.rpartition("/")[0]
                tree.say(build, number, f"{name} would be installed, {folder_of}/ never is")
        for path in tree.files:
            if not path.startswith(folder + "/") or not path.endswith((".hpp", ".cpp")):
                continue
            name = path[len(folder) + 1 :]
            if name not in names and (path.endswith(".cpp") or is_installed(path)):
                tree.say(path, 1, f"{build} does not list this file")


def check_tests(tree):
    for header in tree.files:
        floor, _, name = header.partition("/")
        if floor in FLOORS and is_installed(header) and "/" not in name:
            test = COVERED_BY.get(header, f"tests/{floor}/{name.removesuffix('.hpp')}_test.cpp")
            if test not in tree.files:
                tree.say(header, 1, f"there is no {test}")
    for header in COVERED_BY:
        if header not in tree.files:
            tree.say("tools/tidy.py", 1, f"COVERED_BY names {header}, which does not exist")
    check_test_lists(tree)


def check_test_lists(tree):
    """A test that is in no list never runs and looks like a test all along."""
    build = "tests/meson.build"
    lines = tree.files.get(build, [])
    for floor in FLOORS:
        start = next((n for n, l in enumerate(lines) if l.strip() == f"'{floor}': ["), None)
        names = {}
        if start is not None:
            end = next(n for n, l in enumerate(lines) if n >= start and "]" in l)
            names = listed(tree, build, "", start + 1, end)
        for name, number in names.items():
            if f"tests/{floor}/{name}_test.cpp" not in tree.files:
                tree.say(build, number, f"there is no tests/{floor}/{name}_test.cpp")
        for path in tree.files:
            if path.startswith(f"tests/{floor}/") and path.endswith("_test.cpp"):
                name = path.removeprefix(f"tests/{floor}/").removesuffix("_test.cpp")
                if name not in names:
                    tree.say(path, 1, f"{build} does not list this test")


COMMENT_OR_TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)'(?:\\.|[^'\\])+'""",
    re.S,
)
DEFINED_TYPE = re.compile(r"(?:^|\s)(?:struct|class|union|enum)\s(?:[^:=()]*\s)?(\w+)")


def definitions(lines):
    """(line, name, parameters) of what a file defines that others could define, too."""
    code = "\n".join("" if line.lstrip().startswith("#") else line for line in lines)
    # Lines stay what they are.
    code = COMMENT_OR_TEXT.sub(
        lambda m: ("" if m[0].startswith("/") else '""') + "\n" * m[0].count("\n"), code
    )
    inside, head_at = [], 0
    for at, character in enumerate(code):
        if character not in "{};":
            continue
        head = code[head_at:at]
        head_at = at + 1
        if character == "}" and inside:
            inside.pop()
        elif character == "{":
            if re.match(r"\s*(inline\s+)?namespace\b", head):
                inside.append("named" if re.search(r"namespace\s+\w", head) else "unnamed")
            else:
                name = name_defined(head)
                if name and all(each == "named" for each in inside):
                    parameters = " ".join(head.partition("(")[2].split())
                    yield code.count("\n", 0, at) + 1, name, parameters
                inside.append("braces")


def name_defined(head):
    if re.match(r"\s*template\s*<\s*>", head):
        return None  # a specialisation
    head = re.sub(r"^\s*template\s*<.*?>\s*(?=[a-z\[])", "", head, count=1, flags=re.S)
    head = re.sub(r"\bfinal\b|\balignas\(.*?\)|\[\[.*?\]\]", "", head)
    before = head.partition("(")[0]
    if re.match(r"\s*(static\b|[A-Z_]+$)", before):
        return None  # seen by nobody else, or a macro of the framework
    type_named = DEFINED_TYPE.search(before.partition(" : ")[0])
    if "(" not in head or type_named and head.index("(") > type_named.end():
        return type_named and type_named[1]
    found = re.search(r"(\w+|operator\W+)\s*$", before)
    return found and found[1]


def check_one_program(tree):
    """The files of a floor are one program, where equal names would be the same thing."""
    build = "tests/meson.build"
    lines = tree.files.get(build, [])
    start = next((n for n, l in enumerate(lines) if l.startswith("tests_alone = [")), None)
    alone = {}
    if start is not None:
        end = next(n for n, l in enumerate(lines) if n >= start and l.startswith("]"))
        alone = listed(tree, build, "", start + 1, end)
    for name, number in alone.items():
        if f"tests/{name}_test.cpp" not in tree.files:
            tree.say(build, number, f"there is no tests/{name}_test.cpp")
    first = {}
    for path, lines in tree.files.items():
        is_test = path.startswith("tests/") and path.endswith("_test.cpp")
        name = path.removeprefix("tests/").removesuffix("_test.cpp")
        if is_test and name not in alone:
            for number, defined, _ in definitions(lines):
                tree.say(path, number, f"{defined} is in no unnamed namespace")
            for number, _, header in includes_of(lines):
                if header == "toadstone/sim/failing_new.hpp":
                    tree.say(path, number, "it replaces operator new: list it in tests_alone")
        elif path.startswith("tests/support/") and path.endswith(".hpp"):
            for number, defined, parameters in definitions(lines):
                other = first.setdefault((defined, parameters), path)
                if other != path:
                    tree.say(path, number, f"{defined} is defined in {other}, too")


def check_text(tree):
    for path, lines in tree.files.items():
        cpp = path.endswith((".hpp", ".cpp"))
        if cpp and not lines[0].startswith("//"):
            tree.say(path, 1, "the first line is a comment that says the idea of the file")
        # The text after the last newline is no line.
        count, most = len(lines) - 1, MOST_LINES.get(Path(path).suffix)
        if most and count > most:
            tree.say(path, most, f"{count} lines are two ideas: at most {most}")
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS:
                tree.say(path, number, f"{len(line)} columns, at most {COLUMNS}")
            if "\t" in line:
                tree.say(path, number, "a tab")
            if line != line.rstrip():
                tree.say(path, number, "white space at the end of the line")
            if cpp and re.match(r"\s*#\s*if\s+(0|false)\b", line):
                tree.say(path, number, "disabled code: git remembers what was here")
            if cpp and re.search(r"//.*(NOLINT|clang-format off)", line):
                tree.say(path, number, "a suppression: change the code or the check")


def check_atomics(tree):
    """What goes past the one header goes past the model checker, too."""
    for path, lines in tree.files.items():
        if not is_floor(path) or not path.endswith((".hpp", ".cpp")):
            continue
        code = [line.partition("//")[0] for line in lines]
        for number, line in enumerate(code, 1):
            match = STD_ATOMIC.search(line)
            if match and path != ATOMICS:
                tree.say(path, number, f"{match[0]}: atomics come from <toadstone/{ATOMICS}>")
            for call in ATOMIC_CALL.finditer(line):
                if "memory_order" not in arguments(code, number, call.end()):
                    tree.say(path, number, f"{call[1]}() without a memory order says seq_cst")


def arguments(code, number, column):
    """What follows an opening parenthesis, up to the one that closes it."""
    text = "\n".join((code[number - 1][column:], *code[number:]))
    depth = 1
    for end, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[:end]
    return text


CHECKS = (
    check_includes,
    check_own_header_first,
    check_guards,
    check_lists,
    check_tests,
    check_one_program,
    check_text,
    check_atomics,
)


def tidy(root):
    tree = Tree(Path(root))
    for check in CHECKS:
        check(tree)
    return sorted(tree.findings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=Path(__file__).resolve().parent.parent)
    findings = tidy(parser.parse_args().root)
    for path, line, sentence in findings:
        print(f"{path}:{line}: {sentence}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
