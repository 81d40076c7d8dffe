#!/usr/bin/env python3
"""S623: docs/tutorial.md does what it says, from an empty folder on:

tutorial_test.py ROOT BUILD WORK [--install]

Its files are written as they stand there, its commands run in their order by one shell, and
what they print is what the page shows: lines, the numbers in them apart. The library is
BUILD's, or with --install (S624) the one that the page installs. WORK is emptied first; it is
always the same one, so that a compiler cache knows it.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

BLOCK = re.compile(r"(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)```\n", re.S)
MARK = "--- end of block {} ---"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def script_of(page, install):
    """The shell's commands, and what they have to print: [(number of the block, lines)]."""
    commands, expected, count = [], [], 0
    for comment, kind, text in BLOCK.findall(page):
        if kind == "sh":
            count += 1
            if comment != "install" or install:
                commands.append(text.replace("port=7100\n", f"port={free_port()}\n"))
            commands.append(f"echo '{MARK.format(count)}'")
        elif kind == "text":
            expected.append((count, text.splitlines()))
        elif comment.startswith("from "):
            name = pathlib.Path(comment.removeprefix("from ")).name
            # Newer than what was built of the one before.
            commands.append(f"cat > {name} <<'END OF FILE'\n{text}END OF FILE\n")
    return "\n".join(commands), expected


def comparable(line):
    return re.sub(r"\s+", " ", re.sub(r"\d+", "N", line)).strip()


def main():
    install = sys.argv[4:] == ["--install"]
    root, build, work = (pathlib.Path(name).resolve() for name in sys.argv[1:4])
    script, expected = script_of((root / "docs/tutorial.md").read_text(), install)
    shutil.rmtree(work, ignore_errors=True)
    folder = work / "notes"
    folder.mkdir(parents=True)
    # What debuggers can know is a third of a small program's time.
    environment = dict(os.environ, HOME=str(work), CXXFLAGS="-g0")
    if install:
        environment["TOADSTONE"] = str(work / "toadstone")
        ignored = shutil.ignore_patterns("build*", ".git")
        shutil.copytree(root, work / "toadstone", ignore=ignored, symlinks=True)
    else:
        environment["PKG_CONFIG_PATH"] = str(build / "meson-uninstalled")
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    failures = []
    if done.returncode:
        failures.append(f"exit code {done.returncode}")
    for number, lines in expected:
        part = done.stdout.split(MARK.format(number))[0].split(MARK.format(number - 1))[-1]
        printed = [comparable(line) for line in part.splitlines()]
        for line in lines:
            if not any(comparable(line) in one for one in printed):
                failures.append(f"block {number} does not print: {line}")
    if not expected:
        failures.append("the page shows nothing")
    if failures:
        print(done.stdout, done.stderr, *failures, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
