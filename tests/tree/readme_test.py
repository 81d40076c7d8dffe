# The README and the docs have little code of their own: what they quote from an example stands,
# line by line, in the file that they name.
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent.parent
failures = 0


def complain(sentence):
    global failures
    print(sentence)
    failures += 1


for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
    text = path.read_text()
    where = path.relative_to(root)
    quoted = re.findall(r"<!-- from (\S+) -->\n```\w*\n(.*?)```", text, re.S)
    said = sum(name.endswith("pp") for name, _ in quoted)
    if str(where) == "README.md" and (not quoted or text.count("```cpp") != said):
        complain(f"{where}: a block of C++ does not say which example it is from")
    for name, block in quoted:
        if block.strip() not in (root / name).read_text():
            complain(f"{where}: the block from {name} is not what stands there")
    for name in re.findall(r"\]\(([^)#: &]+)\)", text):
        if not (path.parent / name).exists():
            complain(f"{where}: {name} does not exist")
    # A quoted cause names lines of an example: there the lock is taken, there the task waits.
    for name, line in re.findall(r"(\w+\.cpp):(\d+)", text):
        example = root / "examples" / name
        if not example.exists():
            continue
        here = example.read_text().split("\n")[int(line) - 1]
        if "co_await" not in here:
            complain(f"{where}: {name}:{line} is not a co_await: {here.strip()}")
sys.exit(1 if failures else 0)
