# The README has no code of its own: what it shows stands, line by line, in the file it names.
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent.parent
text = (root / "README.md").read_text()
quoted = re.findall(r"<!-- from (\S+) -->\n```cpp\n(.*?)```", text, re.S)
failures = 0
if not quoted or len(quoted) != text.count("```cpp"):
    print("README.md: a block of C++ does not say which example it is from")
    failures += 1
for name, block in quoted:
    if block.strip() not in (root / name).read_text():
        print(f"README.md: the block from {name} is not what stands there")
        failures += 1
for name in re.findall(r"\]\(([^)#]+)\)", text):
    if not (root / name).exists():
        print(f"README.md: {name} does not exist")
        failures += 1
# A quoted cause names lines of an example: there the lock is taken, and there the task waits.
for name, line in re.findall(r"(\w+\.cpp):(\d+)", text):
    here = (root / "examples" / name).read_text().split("\n")[int(line) - 1]
    if "co_await" not in here:
        print(f"README.md: {name}:{line} is not a co_await: {here.strip()}")
        failures += 1
sys.exit(1 if failures else 0)
