#!/usr/bin/env python3
"""count_results.py TESTLOG NAME REPORT

Prints `passed failed skipped` of one `meson test`, and appends what the failed tests said,
under the configuration's NAME, to the file REPORT.
"""

import json
import sys
from pathlib import Path

# Sanitizer reports and Catch2 both say the important thing at one of the ends.
HEAD, TAIL = 60, 60


def shortened(text, where):
    lines = text.splitlines()
    left_out = len(lines) - HEAD - TAIL
    if left_out > 0:
        lines[HEAD:-TAIL] = [f"... {left_out} lines more in {where}"]
    return "\n".join(lines)


def main():
    log, name, report_path = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    passed = failed = skipped = 0
    with open(report_path, "a", encoding="utf-8") as report:
        for line in log.read_text(encoding="utf-8").splitlines():
            test = json.loads(line)
            output = {s: test.get(s) or "" for s in ("stdout", "stderr")}
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                passed += 1
            elif test["result"] == "SKIP":
                skipped += 1
                said = output["stdout"].strip().splitlines()
                print(f"{name}: {test['name']}: {''.join(said[-1:])}", file=sys.stderr)
            else:
                failed += 1
                print(f"== {name}: {test['name']}: {test['result']}", file=report)
                print("   " + " ".join(test["command"]), file=report)
                for text in filter(None, output.values()):
                    print(shortened(text, log.with_suffix(".txt")), file=report)
    print(passed, failed, skipped)


if __name__ == "__main__":
    main()
