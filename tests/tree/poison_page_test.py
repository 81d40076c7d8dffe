# docs/what_poison_costs.md has the rows of its benches, no more and no fewer; what
# bench/poison.py takes out of the library is there; the gate holds rows of that page.
import pathlib
import sys

root = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(root / "bench"), str(root / "tools")]
import gate  # noqa: E402
import poison  # noqa: E402

failures = 0


def complain(sentence):
    global failures
    print(sentence)
    failures += 1


# S631
benches = [row.name for rows in poison.rows_of_bench().values() for row in rows]
page = list(gate.page_figures())
for name in benches:
    if name not in page:
        complain(f"{gate.PAGE.name} has no row '{name}', which is measured")
for name in page:
    if name not in benches:
        complain(f"{gate.PAGE.name} has a row '{name}', which is not measured")
if len(set(benches)) != len(benches) or len(benches) < 40:
    complain(f"of {len(benches)} subjects {len(set(benches))} are different ones")

# S632, but for the counting, which is the gate's
bounds = gate.read_bounds()
held = [path for path in bounds if path in page]
if len(held) < 8 or any(gate.page_figures()[path] is None for path in held):
    complain(f"of the rows of {gate.PAGE.name} the gate counts {held}")
some = held[0]
figure = gate.page_figures()[some]
if list(gate.outdated({some: figure * 1.04, "another path": 1.0})):
    complain("a figure that is 4 % off is called outdated")
for factor in (0.9, 1.06):
    if not list(gate.outdated({some: figure * factor})):
        complain(f"a figure that is {factor} times the one of the page is not outdated")

# S634
for each in poison.hunks():
    text = (root / each.file).read_text()
    if ("\n" + text).count("\n" + each.old) != 1:
        complain(f"{each.place}: the lines of {each.name} are not in {each.file}, once")
    if each.breaks not in poison.LESS:
        complain(f"{each.place}: {each.name} takes out what nobody asks for")
sys.exit(1 if failures else 0)
