#!/usr/bin/env python3
"""An example that ends by itself prints what its head comment says: PROGRAM SOURCE

In the comment the output follows the line `//     $ name`, or `//     $ COMMAND | name` with
the command that writes its input; a line that goes on is indented further.
"""

import pathlib
import subprocess
import sys


def promised(source):
    """The output, and the command whose output is the input."""
    expected, writer = [], "true"
    name = source.stem
    lines = iter(source.read_text().splitlines())
    for line in lines:
        if line == f"//     $ {name}":
            break
        if line.startswith("//     $ ") and line.endswith(f" | {name}"):
            writer = line.removeprefix("//     $ ").removesuffix(f" | {name}")
            break
    for line in lines:
        if line.startswith("//         "):
            expected[-1] += " " + line.removeprefix("//").strip()
        elif line.startswith("//     "):
            expected.append(line.removeprefix("//     "))
        else:
            break
    return expected, writer


def main():
    program, source = sys.argv[1:]
    expected, writer = promised(pathlib.Path(source))
    written = subprocess.run(writer, shell=True, capture_output=True, timeout=60, check=True)
    done = subprocess.run(
        [program],
        input=written.stdout.decode(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    printed = done.stdout.splitlines()
    if done.returncode != 0 or done.stderr or not expected or printed != expected:
        print(f"exit code {done.returncode}\npromised: {expected}\n printed: {printed}")
        print(done.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
