#!/usr/bin/env python3
"""Measures toadstone beside its peers and writes the report: what tools/bench.sh runs.

    bench/report.py BUILD [--name NAME] [--brief] [--only GROUP]

Writes bench/results/NAME.md and NAME.svg. Whatever is compared is measured in one run, in short
rounds that alternate, A B C A B C; a ratio is the median of the ratios within a round. The
first of each group runs twice: the interval of its two is what the noise alone does (A/A).
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Where a figure stands that there is none of.
NONE = "-"


class Subject:
    """A program that prints the ns of one operation. `count`: operations in a round."""

    def __init__(self, name, command, ours=False):
        self.name, self.command, self.ours = name, [str(word) for word in command], ours
        self.figures = []

    def run(self, cpus):
        pinned = None if cpus is None else (lambda: os.sched_setaffinity(0, cpus))
        done = subprocess.run(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            preexec_fn=pinned,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command)}: {done.stderr.strip()}")
        self.figures.append(float(done.stdout.split()[0]))


class Group:
    """Subjects that are compared. One processor, or as many as there are."""

    def __init__(self, key, title, subjects, processors):
        self.key, self.title, self.subjects = key, title, subjects
        self.processors = processors

    def run(self, rounds):
        again = Subject(self.subjects[0].name + ", again", self.subjects[0].command)
        self.subjects.insert(1, again)
        allowed = os.sched_getaffinity(0)
        cpus = {max(allowed)} if self.processors == 1 else allowed
        for number in range(rounds):
            for turn in range(len(self.subjects)):
                self.subjects[(turn + number) % len(self.subjects)].run(cpus)

    def rows(self):
        first = self.subjects[0].figures
        for each in self.subjects:
            ratios = sorted(a / b for a, b in zip(each.figures, first))
            quarter = len(ratios) // 4
            yield {
                "name": each.name,
                "ours": each.ours,
                "median": statistics.median(each.figures),
                "least": min(each.figures),
                "ratio": statistics.median(ratios),
                "of minima": min(each.figures) / min(first),
                "lower": ratios[quarter],
                "upper": ratios[-1 - quarter],
            }


# Key, title, processors, and subjects: whose it is (toadstone's, of the floor, or a peer's),
# name, program, its subject, operations in a round. The first is what the others are compared
# with.
OURS, FLOOR, PEER = "ours", "floor", "peer"
MILLION = 1_000_000
BARE_SWITCH = "bare fcontext, pair"
FIBER_LOCK = "fiber::await a free lock"
TWO_THREADS = "two threads, std::condition_variable"
FROM_A_THREAD = "with_completion, from a thread"
ROUND_TRIP = "spawn_blocking, round trip"
GROUPS = (
    (
        "lock",
        "lock and unlock, nobody else wants it",
        1,
        (
            (FLOOR, "two compare-and-swap", "bench_mutex", "two compare-and-swap", MILLION),
            (FLOOR, "std::mutex", "bench_mutex", "std::mutex", MILLION),
            (FLOOR, "bare coroutine mutex", "bench_mutex", "bare coroutine mutex", MILLION),
            (OURS, "sync::mutex", "bench_mutex", "sync::mutex lock", MILLION),
            (OURS, "sync::local_mutex", "bench_mutex", "sync::local_mutex lock", MILLION),
            (PEER, "Boost.Fiber", "peers_fiber", "lock", MILLION),
            (PEER, "Go", "peers_go", "lock", MILLION),
            (PEER, "Tokio", "peers_tokio", "lock", MILLION),
        ),
    ),
    (
        "read",
        "read under a shared mutex, nobody else wants it",
        1,
        (
            (FLOOR, "std::shared_mutex", "bench_mutex", "std::shared_mutex, shared", MILLION),
            (OURS, "sync::shared_mutex", "bench_mutex", "sync::shared_mutex read", MILLION),
            (PEER, "Tokio", "peers_tokio", "read", MILLION),
        ),
    ),
    (
        "readers",
        "two read at a time, wall clock",
        2,
        (
            (
                FLOOR,
                "std::shared_mutex",
                "bench_readers",
                "std::shared_mutex, two threads",
                MILLION,
            ),
            (
                OURS,
                "sync::shared_mutex",
                "bench_readers",
                "sync::shared_mutex, two workers",
                MILLION,
            ),
        ),
    ),
    (
        "handover",
        "wake the other of two tasks of one worker",
        1,
        (
            (OURS, "sync::mutex hand-over", "bench_mutex", "sync::mutex hand-over", MILLION),
            (
                OURS,
                "condition variable",
                "bench_mutex",
                "sync::condition_variable notify + wake",
                MILLION,
            ),
        ),
    ),
    (
        "message",
        "a message through a channel and out again",
        1,
        (
            (
                FLOOR,
                "std::deque, std::mutex",
                "bench_channels",
                "std::deque, std::mutex, notify",
                MILLION,
            ),
            (OURS, "sync::mpsc", "bench_channels", "mpsc send + recv", MILLION),
            (OURS, "sync::oneshot", "bench_channels", "oneshot: make, send, recv", MILLION),
            (PEER, "Go", "peers_go", "channel", MILLION),
            (PEER, "Tokio", "peers_tokio", "channel", MILLION),
            (PEER, "Tokio, oneshot", "peers_tokio", "oneshot", MILLION),
        ),
    ),
    (
        "stream",
        "a stream through a channel with room for 64",
        1,
        (
            (OURS, "sync::mpsc", "bench_channels", "mpsc stream, one worker", MILLION),
            (PEER, "Go", "peers_go", "stream", MILLION),
            (PEER, "Tokio", "peers_tokio", "stream", MILLION),
        ),
    ),
    (
        "stream2",
        "the same from one worker to another, wall clock",
        2,
        (
            (OURS, "sync::mpsc", "bench_channels", "mpsc stream, two workers", MILLION),
            (PEER, "Go", "peers_go", "stream-across", MILLION),
            (PEER, "Tokio", "peers_tokio", "stream-across", MILLION),
        ),
    ),
    (
        "child",
        "call a child and return",
        1,
        (
            (FLOOR, "bare, malloc", "bench_spawn", "bare coroutine, malloc", MILLION),
            (FLOOR, "bare, free list", "bench_spawn", "bare coroutine, free list", MILLION),
            (OURS, "toadstone", "bench_spawn", "co_await child", MILLION),
            (PEER, "Boost.Asio", "peers_asio", "child", MILLION),
        ),
    ),
    (
        "spawn",
        "spawn a task and join it",
        1,
        (
            (FLOOR, "bare, malloc", "bench_spawn", "bare coroutine started, malloc", MILLION),
            (OURS, "toadstone", "bench_spawn", "spawn and join", MILLION // 5),
            (PEER, "Boost.Fiber", "peers_fiber", "spawn", MILLION // 20),
            (PEER, "Boost.Asio", "peers_asio", "spawn", MILLION // 20),
            (PEER, "Go", "peers_go", "spawn", MILLION // 20),
            (PEER, "Tokio", "peers_tokio", "spawn", MILLION // 20),
        ),
    ),
    (
        "batch",
        "spawn and join in batches of 1,000",
        1,
        (
            (OURS, "toadstone", "bench_spawn", "spawn and join, batches of 1000", MILLION // 5),
            (PEER, "Boost.Fiber", "peers_fiber", "spawn-batches", MILLION // 20),
            (PEER, "Go", "peers_go", "spawn-batches", MILLION // 20),
        ),
    ),
    (
        "across",
        "spawn and join in batches of 1,000 on two workers, wall clock",
        2,
        (
            (OURS, "toadstone", "bench_spawn", "spawn on any worker and join", MILLION // 10),
            (PEER, "Go", "peers_go", "spawn-across", MILLION // 10),
        ),
    ),
    (
        "yield",
        "yield, alone",
        1,
        (
            (OURS, "toadstone", "bench_spawn", "yield_now, alone", MILLION),
            (PEER, "Boost.Fiber", "peers_fiber", "yield", MILLION // 5),
            (PEER, "Boost.Asio", "peers_asio", "yield", MILLION // 5),
            (PEER, "Go", "peers_go", "yield", MILLION // 5),
        ),
    ),
    (
        "yield100",
        "yield, among 100",
        1,
        (
            (OURS, "toadstone", "bench_spawn", "yield_now, 100 tasks", MILLION),
            (PEER, "Boost.Fiber", "peers_fiber", "yield-100", MILLION // 5),
            (PEER, "Boost.Asio", "peers_asio", "yield-100", MILLION // 5),
            (PEER, "Go", "peers_go", "yield-100", MILLION // 5),
        ),
    ),
    (
        "fiber",
        "start a fiber and wait for its end",
        1,
        (
            (FLOOR, "bare fcontext, a switch and back", "bench_fiber", BARE_SWITCH, MILLION),
            (OURS, "toadstone, run_fiber", "bench_fiber", "run_fiber and return", MILLION),
            (PEER, "Boost.Fiber", "peers_fiber", "spawn", MILLION // 20),
        ),
    ),
    (
        "fiberlock",
        "lock and unlock on a fiber, nobody else wants it",
        1,
        (
            (OURS, "sync::mutex, fiber::await", "bench_fiber", FIBER_LOCK, MILLION),
            (PEER, "Boost.Fiber", "peers_fiber", "lock", MILLION),
        ),
    ),
    (
        "answer",
        "ask another thread and wait for its answer, wall clock",
        2,
        (
            (FLOOR, "two threads", "bench_doors", TWO_THREADS, MILLION // 50),
            (OURS, "with_completion", "bench_doors", FROM_A_THREAD, MILLION // 50),
            (OURS, "spawn_blocking", "bench_doors", ROUND_TRIP, MILLION // 50),
            (PEER, "Boost.Asio, post there and back", "peers_asio", "post", MILLION // 50),
            (PEER, "Go, a locked thread", "peers_go", "answer", MILLION // 50),
        ),
    ),
    (
        "timer",
        "create a timer and cancel it",
        1,
        (
            (FLOOR, "std::multimap", "bench_spawn", "std::multimap among 1000", MILLION),
            (
                OURS,
                "with_timeout, free lock",
                "bench_mutex",
                "with_timeout of sync::mutex lock",
                MILLION // 5,
            ),
            (
                OURS,
                "with_timeout, ready child",
                "bench_spawn",
                "with_timeout of a ready child",
                MILLION // 5,
            ),
            (PEER, "Boost.Asio", "peers_asio", "timer", MILLION // 10),
            (PEER, "Go", "peers_go", "timer", MILLION // 10),
        ),
    ),
    (
        "sleep",
        "sleep 100 us, nothing else to do",
        1,
        (
            (FLOOR, "nanosleep", "bench_spawn", "nanosleep", 1000),
            (OURS, "sleep_for", "bench_spawn", "sleep_for", 1000),
        ),
    ),
    (
        "wake",
        "wake another thread and be woken by it, wall clock",
        2,
        (
            (
                FLOOR,
                "condition variable",
                "bench_spawn",
                "two threads, condition variable",
                2000,
            ),
            (
                OURS,
                "spawn elsewhere, join",
                "bench_spawn",
                "spawn on the other worker and join",
                2000,
            ),
        ),
    ),
    (
        "nesting",
        "a checkpoint within boundaries",
        1,
        (
            (OURS, "1 deep", "bench_spawn", "checkpoint, 1 deep", MILLION),
            (OURS, "64 deep", "bench_spawn", "checkpoint, 64 deep", MILLION),
        ),
    ),
)


def groups_of(build, brief):
    """The groups, with the subjects that this build has."""
    for key, title, processors, subjects in GROUPS:
        there = []
        for whose, name, program, subject, count in subjects:
            path = build / "bench" / program
            if brief:
                count = max(1000, count // 20)
            if not path.exists() or (whose == OURS and not has(path, subject)):
                continue
            command = [path, subject, count]
            if whose != PEER:
                command = [path, "--only", subject, "--count", count, "--timed"]
            there.append(Subject(name, command, whose == OURS))
        yield Group(key, title, there, processors)


def has(program, subject):
    """Whether a bench of ours knows this subject: local_mutex may not be there."""
    command = [program, "--only", subject, "--count", "1"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


# --- programs that print tables themselves ---


def said(command, timeout=1800):
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, text=True, timeout=timeout
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed")
    return done.stdout


def echo_text(build, brief):
    programs = build / "bench"
    command = [programs / "bench_echo", "--rounds", "3" if brief else "11"]
    for name, program in (
        ("raw epoll", "echo_epoll"),
        ("libuv", "echo_libuv"),
        ("Boost.Asio, epoll", "echo_asio"),
        ("Go, one P", "peers_go echo"),
    ):
        if (programs / program.split()[0]).exists():
            command += ["--peer", f"{name}={programs / program}"]
    shapes = ["1x64x1", "50x64x1"]
    if not brief:
        shapes += ["50x1024x1", "50x16384x1", "50x1024x16", "50x16384x16"]
        shapes += ["500x64x1", "5000x64x1"]
    for shape in shapes:
        command += ["--shape", shape]
    return said(command)


def echo_tables(text):
    """[(title, [row])] of what bench_echo prints."""
    tables = []
    for block in text.split("\n\n")[1:]:
        title, _, *lines = block.strip("\n").split("\n")
        rows = []
        for line in lines:
            rows.append([line[2:34].strip(), *line[34:].split()])
        tables.append((title, rows))
    return tables


def sleepers(build, brief):
    """Rows of name, bytes, ns to start, ns to cancel."""
    count = 10_000 if brief else 100_000
    command = [build / "bench/bench_cancel", "--herds"] + (["--brief"] if brief else [])
    rows = []
    for line in said(command).splitlines():
        found = re.match(r"  (\S.*?)  +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", line)
        if found:
            name, weight, resident, spawn, cancel = found.groups()
            each = float(cancel) * 1e6 / 100_000
            rows.append([name, weight, resident, spawn, f"{each:.1f}"])
    go = build / "bench/peers_go"
    if go.exists():
        tries = [said([go, "sleepers", count]).split() for _ in range(1 if brief else 5)]
        weight, spawn, cancel = (
            statistics.median(float(one[i]) for one in tries) for i in range(3)
        )
        rows.append(["Go: a goroutine", f"{weight:.0f}", NONE, f"{spawn:.1f}", f"{cancel:.1f}"])
    return rows


# --- the report ---


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def group_table(group):
    head = [group.title, "ns", "least", "ratio", "middle half", "of minima"]
    rows = []
    for row in group.rows():
        name = f"**{row['name']}**" if row["ours"] else row["name"]
        rows.append(
            [
                name,
                f"{row['median']:.1f}",
                f"{row['least']:.1f}",
                f"{row['ratio']:.2f}",
                f"{row['lower']:.2f} to {row['upper']:.2f}",
                f"{row['of minima']:.2f}",
            ]
        )
    return table(head, rows)


def echo_matrix(echoes, column):
    """Servers in rows, shapes in columns, of bench_echo's figures that column."""
    shapes = [
        re.sub(r"(\d+) connections? x (\d+) bytes x (\d+) .*", r"\1 x \2 B x \3", title)
        for title, _ in echoes
    ]
    names = [row[0] for row in echoes[0][1]]
    rows = []
    for i, name in enumerate(names):
        rows.append([name, *(column(figures[i]) for _, figures in echoes)])
    return table(["server", *shapes], rows)


def group_line(group):
    rows = [row for row in group.rows() if not row["name"].endswith(", again")]
    ours = [row for row in rows if row["ours"]]
    others = [row for row in rows if not row["ours"]]

    def named(these):
        return "; ".join(f"{row['name']} {row['median']:.1f}" for row in these) or NONE

    return [group.title, named(ours), named(others)]


def summary(build, name, parts):
    """What docs/performance.md shows: instruction counts, and the short form of a report."""
    gate = said([sys.executable, HERE / "gate.py", build, "--markdown"])
    links = f"[bench/results/{name}.md](../bench/results/{name}.md)"
    picture = f"![ratios](../bench/results/{name}.svg)"
    text = [parts["head"].partition("\n\n")[0], f"\nThe full report: {links}.\n\n{picture}\n"]
    text += ["### Instructions\n\n" + gate]
    echoes = parts["echoes"]
    text.append("### Echo\n\nServer CPU per request over the raw ring's;")
    text.append("connections x size x messages under way:\n")
    text.append(echo_matrix(echoes, lambda row: f"{row[3]} ({row[5]} to {row[6]})"))
    text.append("System calls per request:\n")
    text.append(echo_matrix(echoes, lambda row: row[8]))
    text.append("Bytes of resident memory per connection:\n")
    many = [each for each in echoes if int(each[0].split()[0]) >= 50]
    text.append(echo_matrix(many, lambda row: row[9]))
    text.append("### Tasks, locks, timers: ns\n")
    lines = [group_line(group) for group in parts["groups"]]
    text.append(table(["", "toadstone", "beside it"], lines))
    text.append("### 100,000 sleepers\n\n" + parts["sleepers"])
    text.append("### Contended\n\n" + parts["contended"])
    return "\n".join(text)


def write_docs(text):
    page = HERE.parent / "docs/performance.md"
    begin, end = "<!-- figures, by tools/bench.sh --docs -->\n", "<!-- end of figures -->"
    before, _, rest = page.read_text().partition(begin)
    if not rest:
        raise RuntimeError(f"{page} has no place for the figures")
    page.write_text(before + begin + "\n" + text + "\n" + end + rest.partition(end)[2])


def machine():
    name = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, {os.cpu_count()} processors, Linux {platform.release()}"


def revision():
    command = ["git", "-C", str(HERE.parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() or "an unknown revision"


def busy():
    """The share of all processors that others used in the last two seconds."""

    def ticks():
        fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
        return sum(fields), fields[3] + fields[4]

    total, idle = ticks()
    time.sleep(2)
    total_after, idle_after = ticks()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def plot(groups, echoes, path):
    """Bars of the ratios to the first of each group, the smaller the better. Logarithmic."""
    from math import log10

    bars = []
    for title, rows in echoes:
        if not title.startswith(("1 conn", "50 connections x 64")):
            continue
        bars.append((f"echo, {title.split(' under')[0]}", None, None, None, False))
        for name, _, _, ratio, _, lower, upper, *_ in rows:
            if "again" not in name:
                bars.append(
                    (name, float(ratio), float(lower), float(upper), name.startswith("toad"))
                )
    for group in groups:
        if group.key in ("nesting", "sleep", "wake"):
            continue
        bars.append((group.title, None, None, None, False))
        for row in group.rows():
            if not row["name"].endswith(", again"):
                bar = [row[key] for key in ("name", "ratio", "lower", "upper", "ours")]
                bars.append(tuple(bar))
    left, width, line = 250, 420, 17
    height = line * len(bars) + 60
    values = [bar[1] for bar in bars if bar[1]]
    low, high = log10(min(values + [0.5])), log10(max(values + [2]) * 1.3)

    def x(value):
        return left + width * (log10(max(value, 10**low)) - low) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="16" font-size="12">cost over the first of each group: '
        "less is better, logarithmic</text>",
    ]
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if 10**low <= tick <= 10**high:
            out.append(
                f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="38" y2="{height - 10}" '
                f'stroke="{"#888" if tick == 1 else "#ddd"}"/>'
                f'<text x="{x(tick):.1f}" y="33" text-anchor="middle" fill="#666">'
                f"{tick:g}</text>"
            )
    y = 42
    for name, ratio, lower, upper, ours in bars:
        if ratio is None:
            out.append(
                f'<text x="8" y="{y + 12}" font-weight="bold">{escaped(name)}</text>'
            )
        else:
            begin, end = sorted((x(1), x(ratio)))
            color = "#2a7f3f" if ours else "#9aa7b5"
            out.append(
                f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escaped(name)}</text>'
                f'<rect x="{begin:.1f}" y="{y + 3}" width="{max(2, end - begin):.1f}" '
                f'height="11" fill="{color}"/>'
                f'<line x1="{x(lower):.1f}" x2="{x(upper):.1f}" y1="{y + 8.5}" y2="{y + 8.5}" '
                'stroke="black"/>'
                f'<text x="{max(end, x(upper)) + 5:.1f}" y="{y + 12}">{ratio:.2f}</text>'
            )
        y += line
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n")


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=Path, metavar="BUILD")
    parser.add_argument("--name", default="latest", help="of the report")
    parser.add_argument("--brief", action="store_true", help="says that it works, nothing more")
    parser.add_argument("--docs", action="store_true", help="put it into docs/performance.md")
    parser.add_argument("--only", help="this group alone: echo, contended, sleepers, lock, ...")
    chosen = parser.parse_args()
    build = chosen.build.resolve()
    rounds = 3 if chosen.brief else 11

    def wanted(key):
        return chosen.only in (None, key)

    before = busy()
    begun = time.monotonic()
    groups = []
    for group in groups_of(build, chosen.brief):
        if not wanted(group.key):
            continue
        print(f"{group.title} ...", file=sys.stderr)
        group.run(rounds)
        groups.append(group)
    text = echo_text(build, chosen.brief) if wanted("echo") else ""
    echoes = echo_tables(text)
    load = f"{before:.0%} of the processors were busy with something else before it began"
    compiler = said([build / "bench/bench_spawn", "--compiler"]).strip()
    head = (
        f"Written by `tools/bench.sh`: {revision()}, {compiler}, -O3; {machine()}; "
        f"{time.strftime('%Y-%m-%d')}; {rounds} interleaved rounds; {load}."
        + (" **On a busy machine the times say little.**" if before > 0.05 else "")
        + (" **Brief: it says that it works, nothing more.**" if chosen.brief else "")
        + "\n\nRatios are medians of the ratios to the first of a group in the same round, with"
        " the middle half of them; where the first against itself (again) spreads as far as two"
        " others differ, they do not differ. Names in bold are toadstone's.\n"
    )
    parts = {"head": head, "groups": groups, "echoes": echoes}
    report = [f"# {chosen.name}\n", head]
    if chosen.only is None:
        report.append(f"![ratios]({chosen.name}.svg)\n")
    if echoes:
        report.append(
            "## Echo\n\nProcessor time of the server per request; server and load on one"
            " processor. Calls: system calls per request. Bytes: resident per connection.\n"
        )
    for title, rows in echoes:
        columns = [title, "us", "least", "ratio", "of minima", "from", "to", "1000/s"]
        marked = [
            [f"**{row[0]}**" if row[0].startswith("toad") else row[0], *row[1:]] for row in rows
        ]
        report.append(table([*columns, "calls", "bytes"], marked))
    if groups:
        report.append("## Tasks, locks, timers\n\nProcessor time, one thread, unless said.\n")
        report += [group_table(group) for group in groups]
    if wanted("sleepers"):
        columns = ["each", "bytes", "resident", "ns to start", "ns to cancel"]
        parts["sleepers"] = table(columns, sleepers(build, chosen.brief))
        report += ["## 100,000 sleepers, cancelled and joined\n", parts["sleepers"]]
    if wanted("contended"):
        command = [build / "bench/bench_contended"] + (["--brief"] if chosen.brief else [])
        parts["contended"] = "```\n" + said(command) + "```\n"
        report += ["## Contended\n", parts["contended"]]
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{chosen.name}.md").write_text("\n".join(report))
    if chosen.only is None:
        plot(groups, echoes, results / f"{chosen.name}.svg")
    if chosen.docs:
        write_docs(summary(build, chosen.name, parts))
    print(f"{results / chosen.name}.md, {time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
