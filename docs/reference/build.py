#!/usr/bin/env python3
"""Makes the API reference: HTML, with a search, and the XML that its test reads.

build.py --source DIR --output DIR --version V [--doxygen PROGRAM] HEADER...

A header is named as in meson.build: sync/mutex.hpp. Prints what Doxygen does not understand and
fails then. Each page about what a header has begins with its include, its page of the guide and
an example: docs/reference/pages.txt says which.
"""

import argparse
import html
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import filter as reader  # noqa: E402


def read_pages(source):
    """header: (guide page, example)."""
    lines = (source / "docs/reference/pages.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {header: (guide, example) for header, guide, example in rows}


def bases_in(path):
    names = "|".join(sorted(reader.BASES))
    base = rf"^(class|struct) (\[\[.*\]\] )?({names})( .*)?\{{$"
    return re.search(base, path.read_text(), re.M)


def inputs(source, headers):
    public = [source / h for h in headers if "/detail/" not in h]
    inherited = [source / h for h in headers if "/detail/" in h and bases_in(source / h)]
    guide = [
        p for p in sorted((source / "docs").rglob("*.md")) if p.parent.name != "reference"
    ]
    main = source / "docs/reference/main.md"
    return [main, *public, *inherited, source / "README.md", *guide]


def write_examples(source, output, pages):
    """Doxygen makes a page of each example that a comment names."""
    shown = set(re.findall(r"'([\w/]+\.cpp)'", (source / "examples/meson.build").read_text()))
    shown = {"examples/" + name for name in shown} | {example for _, example in pages.values()}
    blocks = []
    for example in sorted(shown):
        text = (source / example).read_text().split("\n")
        head = []
        for line in text:
            if not line.startswith("//"):
                break
            head.append(line.removeprefix("//").strip())
        first = reader.escaped(" ".join(head).split(":")[0].split(". ")[0])
        blocks.append(f"/** @example {example.removeprefix('examples/')}\n * {first}.\n */\n")
    path = output / "examples.dox"
    path.write_text("\n".join(blocks))
    return path


def run_doxygen(options, files):
    template = (options.source / "docs/reference/Doxyfile.in").read_text()
    values = {
        "VERSION": options.version,
        "OUTPUT": str(options.output),
        "SOURCE": str(options.source),
        "PYTHON": sys.executable,
        "INPUT": " \\\n".join(f'"{path}"' for path in files),
    }
    config = re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], template)
    (options.output / "Doxyfile").write_text(config)
    subprocess.run([options.doxygen, options.output / "Doxyfile"], check=True)
    return (options.output / "warnings.txt").read_text()


def html_page_of_label(output):
    """Names of pages and headings: the HTML page that has them."""
    found = {}
    for path in (output / "xml").glob("*.xml"):
        if not re.match(r"(guide_|readme|index)", path.stem):
            continue
        for compound in ElementTree.parse(path).iter("compounddef"):
            found[compound.findtext("compoundname")] = compound.get("id") + ".html"
    return found


def example_pages(output):
    found = {}
    for path in (output / "xml").glob("*-example.xml"):
        for compound in ElementTree.parse(path).iter("compounddef"):
            name = "examples/" + compound.findtext("compoundname")
            found[name] = compound.get("id") + ".html"
    return found


def link_pages(options, pages):
    """Where to go from a page about what a header has."""
    guides = html_page_of_label(options.output)
    examples = example_pages(options.output)
    for path in (options.output / "xml").glob("*.xml"):
        for compound in ElementTree.parse(path).iter("compounddef"):
            if compound.get("kind") not in ("class", "struct", "union", "file"):
                continue
            place = compound.find("location")
            header = place.get("file", "") if place is not None else ""
            page = options.output / "html" / (compound.get("id") + ".html")
            if header not in pages or not page.exists():
                continue
            guide, example = pages[header]
            to_guide = guides.get(reader.page_name(guide), "")
            to_example = examples.get(example, "")
            box = (
                f'<p class="from">&lt;toadstone/{html.escape(header)}&gt;'
                f' &middot; guide: <a class="guide" href="{to_guide}">{html.escape(guide)}</a>'
                f' &middot; example: <a class="example" href="{to_example}">'
                f"{html.escape(example)}</a></p>\n"
            )
            text = page.read_text()
            begin = '<div class="contents">\n'
            page.write_text(text.replace(begin, begin + box, 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--doxygen", default="doxygen")
    parser.add_argument("headers", nargs="+")
    options = parser.parse_args()
    options.source = options.source.resolve()
    options.output = options.output.resolve()
    for name in ("html", "xml"):
        shutil.rmtree(options.output / name, ignore_errors=True)
    options.output.mkdir(parents=True, exist_ok=True)

    pages = read_pages(options.source)
    files = inputs(options.source, options.headers)
    files.append(write_examples(options.source, options.output, pages))
    warnings = run_doxygen(options, files)
    link_pages(options, pages)
    (options.output / "done.txt").write_text(f"{options.output}/html/index.html\n")
    if warnings:
        sys.exit("docs: Doxygen says\n" + warnings)


if __name__ == "__main__":
    main()
