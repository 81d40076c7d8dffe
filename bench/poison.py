#!/usr/bin/env python3
"""Measures what poisoning costs and writes the figures into docs/what_poison_costs.md.

    bench/poison.py BUILD            # a release build with -Dbench=enabled
    bench/poison.py BUILD --print    # only prints them
    bench/poison.py BUILD --times    # takes the times again, and keeps the instructions

The rows are the subjects of bench_poison and, where it is built (`ninja bench-peers`), of
peers_poison. Instructions are counted as by bench/gate.py; times are taken as by
bench/report.py. The columns `no level` and `no place` are counted in copies of the library
from which bench/without_poison.txt takes the look at the level, and the place of the section
besides.
Writes bench/results/poison-2026-11.svg, too. Takes about ten minutes.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "tools")]

import gate  # noqa: E402
import mutants  # noqa: E402
import report  # noqa: E402

PICTURE = HERE / "results" / "poison-2026-11.svg"
WITHOUT = HERE / "without_poison.txt"
OURS, PEERS = "bench_poison", "peers_poison"
# What is taken out of the library, in this order.
LESS = ("level", "place")
HEAD = ["", "instructions", "no level", "no place", "ns", "middle half", "ratio"]
ROUNDS = 11
ROUND_NS = 25e6
WALL = "wall clock"


class Row:
    def __init__(self, program, name):
        self.program, self.name = program, name
        self.count = None  # instructions
        self.less = {}  # the same, by what is taken out
        self.took = None  # a report.Subject


def rows_of_bench():
    """{title of the group: [Row]}, as the sources have them."""
    groups = {}
    title = None
    source = (HERE / f"{OURS}.cpp").read_text()
    for found in re.finditer(r'all\.compare\(\s*"([^"]+)"|\{"([^"]+)",', source):
        if found[1]:
            title = found[1]
            groups[title] = []
        else:
            groups[title].append(Row(OURS, found[2]))
    peers = (HERE / "peers" / "poison" / "main.rs").read_text()
    titles = dict(re.findall(r'const (\w+): &str = "([^"]+)"', peers))
    for group, name in re.findall(r'Subject \{ group: (\w+), name: "([^"]+)"', peers):
        groups[titles[group]].append(Row(PEERS, name))
    return groups


# --- the library without ---


def hunks():
    return mutants.read_table(WITHOUT)


def build_without(what):
    """The programs of a copy from which the first of LESS, up to `what`, are taken out."""
    place = ROOT / "build" / "without" / what
    tree = place / "src"
    if tree.exists():
        shutil.rmtree(tree)
    left = shutil.ignore_patterns("build*", ".git", "__pycache__")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=left)
    for each in hunks():
        if each.breaks in LESS[: LESS.index(what) + 1]:
            file = tree / each.file
            file.write_text(each.applied_to(file.read_text()))
    compiler = os.environ.get("CXX") or ("ccache g++" if shutil.which("ccache") else "g++")
    environment = {**os.environ, "CXX": compiler, "CCACHE_BASEDIR": str(tree)}
    build = place / "build"
    if not (build / "build.ninja").exists():
        setup = ["meson", "setup", str(build), str(tree), "--buildtype=release"]
        setup += ["-Dbench=enabled", "-Dtests=disabled", "-Dexamples=disabled"]
        subprocess.run(setup, check=True, env=environment, stdout=subprocess.DEVNULL)
    command = ["ninja", "-C", str(build), f"bench/{OURS}"]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return build / "bench"


# --- measuring ---


def is_ours(row):
    return re.match(r"(yield, |ten, )?(local_|shared_)?mutex, poisons", row.name) is not None


def count_all(programs, groups, keep):
    counter = gate.Counter(programs, keep)
    less = {}
    for what in LESS:
        (keep / what).mkdir()
        less[what] = gate.Counter(build_without(what), keep / what)

    def count(title, row):
        # An exception takes thousands of instructions.
        runs = (300, 1800) if title.startswith(("a section cut", "poisoned")) else ()
        row.count = counter.operation(row.program, row.name, *runs)
        if is_ours(row):
            for what, each in less.items():
                row.less[what] = each.operation(row.program, row.name, *runs)

    counted = [(t, row) for t, rows in groups.items() if WALL not in t for row in rows]
    print("counting ...", file=sys.stderr)
    # Most of the time a run waits to be found stuck; see gate.Run.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(count, *one) for one in counted]:
            each.result()


def counts_of_page(groups):
    """For --times."""
    known = {}
    for line in gate.PAGE.read_text().splitlines():
        name, *fields = (field.strip() for field in line.strip("|").split("|"))
        if len(fields) == len(HEAD) - 1:
            known[name] = [re.fullmatch(r"[\d.]+", field) for field in fields[: 1 + len(LESS)]]
    for row in (row for rows in groups.values() for row in rows):
        count, *less = known.get(row.name, [None])
        row.count = float(count[0]) if count else None
        row.less = {what: float(each[0]) for what, each in zip(LESS, less) if each}


def time_all(programs, groups):
    for title, rows in groups.items():
        subjects = []
        for row in rows:
            command = [programs / row.program, "--only", row.name, "--timed", "--count"]
            tried = report.Subject(row.name, [*command, 3000])
            tried.run(None)
            count = int(min(2e6, max(3000, ROUND_NS / max(1.0, tried.figures[0]))))
            row.took = report.Subject(row.name, [*command, count])
            subjects.append(row.took)
        print(f"{title} ...", file=sys.stderr)
        report.Group("", title, subjects, 2 if WALL in title else 1).run(ROUNDS)


# --- the page ---


def figure(value):
    return report.NONE if value is None else gate.shown(value)


def cells(row, first):
    took = sorted(row.took.figures)
    quarter = len(took) // 4
    ratios = [a / b for a, b in zip(row.took.figures, first.took.figures)]
    counts = [figure(row.count), *(figure(row.less.get(what)) for what in LESS)]
    return [
        row.name,
        *counts,
        f"{statistics.median(took):.1f}",
        f"{took[quarter]:.1f} to {took[-1 - quarter]:.1f}",
        f"{statistics.median(ratios):.2f}",
    ]


def text_of(groups, programs, busy):
    compiler = gate.said_by([programs / OURS, "--compiler"])
    rust = gate.said_by(["rustc", "--version"]) if (programs / PEERS).exists() else "no Rust"
    lines = [
        f"Written by `bench/poison.py`: {report.revision()}, {compiler}, -O3; {rust}; "
        f"{report.machine()}; {time.strftime('%Y-%m-%d')}; {ROUNDS} interleaved rounds; "
        f"{busy:.0%} of the processors were busy with something else before it began.\n",
        f"![instructions](../bench/results/{PICTURE.name})\n",
    ]
    for title, rows in groups.items():
        lines.append(f"### {title[0].upper()}{title[1:]}\n")
        lines.append(report.table(HEAD, [cells(row, rows[0]) for row in rows]))
    lines.append("### Bytes\n")
    sizes = []
    for line in gate.said_by([programs / OURS, "--bytes"]).splitlines():
        found = re.match(r"  (\S.*?)  +(\d+) +(\d+)$", line)
        if found:
            sizes.append(found.groups())
    lines.append(report.table(["with an int", "lock", "guard"], sizes))
    return "\n".join(lines)


def write_page(text):
    begin, end = "<!-- figures, by bench/poison.py -->\n", "<!-- end of figures -->"
    before, _, rest = gate.PAGE.read_text().partition(begin)
    if not rest:
        raise RuntimeError(f"{gate.PAGE} has no place for the figures")
    gate.PAGE.write_text(before + begin + "\n" + text + "\n" + end + rest.partition(end)[2])


# --- the picture ---


def poison_in(row, counts):
    """How many of its instructions poisoning is, as far as one knows."""
    if row.less:
        return row.count - row.less[LESS[-1]]
    beside = {"a bit by hand": "std::mutex", ", poisons": ", poisons nothing"}
    for with_poison, without in beside.items():
        if row.name.endswith(with_poison):
            other = row.name[: -len(with_poison)]
            other = other.rstrip(", ") if "hand" in with_poison else other + without
            return max(0, row.count - counts[other]) if other in counts else 0
    return 0


def plot(groups, path):
    """Bars of instructions, a scale for each group; what poisoning adds is green."""
    left, width, line = 300, 400, 17
    counted = {t: [row for row in rows if row.count] for t, rows in groups.items()}
    counted = {title: rows for title, rows in counted.items() if rows}
    height = 60 + sum(line * (len(rows) + 2) for rows in counted.values())
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 130}" '
        f'height="{height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="8" y="18" font-size="12">user instructions of one operation; each group has '
        "a scale of its own</text>",
        '<rect x="8" y="28" width="11" height="11" fill="#9aa7b5"/>'
        '<text x="24" y="38">the operation</text>'
        '<rect x="116" y="28" width="11" height="11" fill="#2a7f3f"/>'
        '<text x="132" y="38">what it does in order to poison, or to know that it need not'
        "</text>",
    ]
    y = 48
    for title, rows in counted.items():
        counts = {row.name: row.count for row in rows}
        most = max(counts.values())
        heading = report.escaped(title)
        out.append(f'<text x="8" y="{y + 12}" font-weight="bold">{heading}</text>')
        y += line
        for row in rows:
            added = poison_in(row, counts)
            whole, part = width * row.count / most, width * added / most
            text = f"{row.count:,.0f}" + (f" ({added:,.0f})" if added > 0 else "")
            out.append(
                f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">'
                f"{report.escaped(row.name)}</text>"
                f'<rect x="{left}" y="{y + 3}" width="{whole - part:.1f}" height="11" '
                'fill="#9aa7b5"/>'
                f'<rect x="{left + whole - part:.1f}" y="{y + 3}" width="{part:.1f}" '
                'height="11" fill="#2a7f3f"/>'
                f'<text x="{left + whole + 5:.1f}" y="{y + 12}">{text}</text>'
            )
            y += line
        y += line
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=Path, metavar="BUILD")
    parser.add_argument("--print", action="store_true", help="leave page and picture alone")
    parser.add_argument("--times", action="store_true", help="keep the page's instructions")
    chosen = parser.parse_args()
    programs = chosen.build.resolve() / "bench"
    busy = report.busy()
    groups = rows_of_bench()
    for title, rows in groups.items():
        groups[title] = [row for row in rows if (programs / row.program).exists()]
    time_all(programs, groups)
    if chosen.times:
        counts_of_page(groups)
    else:
        with tempfile.TemporaryDirectory(prefix="toadstone-poison-") as keep:
            count_all(programs, groups, Path(keep))
    text = text_of(groups, programs, busy)
    if chosen.print:
        print(text)
        return
    write_page(text)
    plot(groups, PICTURE)


if __name__ == "__main__":
    main()
