#!/usr/bin/env python3
"""Each line of docs/facts.md has the test of its number, and each such test a line; each test
that docs/stories.md names is there.
"""

import pathlib
import re
import sys

LINE = re.compile(
    r"^\| (\d+) \| (.+) \| \[(\w+)\]\(\.\./tests/sync/(\w+)_test\.cpp\) \|$", re.M
)
ROW = re.compile(r"^\|\s*\d.*$", re.M)
SECTION = re.compile(r'SECTION\(\s*"fact (\d+): ')
FEWEST = 40


def complaints(facts, tests):
    """What is wrong. `tests`: the text of each file, by its name without _test.cpp."""
    found = []
    lines = LINE.findall(facts)
    if len(lines) != len(ROW.findall(facts)):
        found.append("not a line of docs/facts.md: | number | A fact. | [test](...) |")
    if [int(number) for number, *_ in lines] != list(range(1, len(lines) + 1)):
        found.append("the lines of docs/facts.md are not numbered one after the other")
    if len(lines) < FEWEST:
        found.append(f"docs/facts.md has {len(lines)} lines, and not {FEWEST}")
    sections = {}
    for name, text in tests.items():
        for number in SECTION.findall(text):
            if number in sections:
                found.append(f"fact {number} has two tests, in {sections[number]} and {name}")
            sections[number] = name
    for number, sentence, shown, name in lines:
        if not sentence.endswith("."):
            found.append(f"fact {number} is not a sentence")
        if shown != name or sections.pop(number, None) != name:
            found.append(f"fact {number} has no test in {name}_test.cpp")
    for number, name in sections.items():
        found.append(f"{name}_test.cpp has a test of fact {number}, which has no line")
    return found


def missing_scenarios(stories, tests):
    """Scenarios that a page names and that no test has in its name."""
    named = set(re.findall(r"\bS\d+\b", stories))
    tested = set()
    for text in tests:
        for case in re.findall(r'TEST_CASE\(\s*"([^"]*)', text):
            tested.update(re.findall(r"\bS\d+\b", case))
    return [f"no test is named after {each}" for each in sorted(named - tested)]


def finds():
    """That this test can fail: one line less, one section less, a number twice."""
    numbers = range(1, 41)
    facts = "".join(f"| {i} | It is so. | [f](../tests/sync/f_test.cpp) |\n" for i in numbers)
    test = "".join(f'SECTION("fact {i}: so") {{}}\n' for i in numbers)
    assert complaints(facts, {"f": test}) == []
    assert complaints(facts.replace("| 40 |", "| 41 |"), {"f": test})
    assert complaints(facts[: facts.index("| 40 |")], {"f": test})
    assert complaints(facts, {"f": test.replace("fact 7:", "fact of 7:")})
    assert complaints(facts, {"f": test, "g": 'SECTION("fact 7: so") {}'})
    assert complaints(facts, {"g": test})
    assert complaints(facts.replace("It is so. | [f]", "It is so | [f]"), {"f": test})
    assert missing_scenarios("S1, S2", ['TEST_CASE("S1: so")']) == ["no test is named after S2"]


def main():
    finds()
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    tests = {
        path.name.removesuffix("_test.cpp"): path.read_text()
        for path in (root / "tests/sync").glob("facts*_test.cpp")
    }
    found = complaints((root / "docs/facts.md").read_text(), tests)
    every = [path.read_text() for path in (root / "tests").rglob("*_test.cpp")]
    found += missing_scenarios((root / "docs/stories.md").read_text(), every)
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
