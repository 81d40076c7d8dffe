#!/usr/bin/env python3
"""Checks the API reference that docs/reference/build.py has made, and the links of all pages.

reference.py [--root DIR] [--reference DIR]

Prints a sentence for each public name without a comment, each function that can suspend and
says nothing of cancellation, each public header without its page of the guide and its example,
each example that nothing compiles, each link that leads nowhere. Exits 1 if there is any.
Without --reference it looks at the Markdown pages alone.
"""

import argparse
import html.parser
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# What can be awaited: a task, or a type of a namespace detail, but for these, which a function
# may give without being able to suspend.
AWAITED = re.compile(r"\btask<|\brequest<|detail::")
NOT_AWAITED = re.compile(
    r"detail::(cancel_ref|cause_ref|guard_core|local_guard_core|part_of_data|policies|policy"
    r"|promise|promise_base|shared_core|spawned_t|typed_root|typed_share|wants)\b"
)
# They give `auto`, and nothing to await.
PLAIN_AUTO = {
    "fiber::await",
    "fiber::try_await",
    "outcome::value",
    "poison::with_access",
    "sync::all_guards::get",
    "sync::guard::map",
    "sync::guard::try_map",
    "sync::local_guard::map",
    "sync::local_guard::try_map",
    "sync::mutex::blocking_with_lock",
    "sync::detail::watch_half::read",
    "sync::watch::receiver::read",
    "sync::watch::sender::read",
}

class Reference:
    def __init__(self, path):
        self.path = path
        self.compounds = []
        for file in sorted((path / "xml").glob("*.xml")):
            if file.stem not in ("index", "Doxyfile"):
                self.compounds += ElementTree.parse(file).iter("compounddef")


def text_of(element):
    return "".join(element.itertext()).strip() if element is not None else ""


def documentation(element):
    parts = ("briefdescription", "detaileddescription", "inbodydescription")
    return " ".join(text_of(element.find(part)) for part in parts).strip()


def place_of(element):
    place = element.find("location")
    return f"{place.get('file')}:{place.get('line')}" if place is not None else "?"


def is_hidden(name):
    parts = re.sub(r"<.*?>", "", name).split("::")
    return "detail" in parts or parts[0] != "toadstone"


def is_special(member, scope):
    """A copy, a move, a destructor, or what is deleted: what C++ says itself."""
    name = member.findtext("name", "")
    arguments = member.findtext("argsstring", "")
    own = re.sub(r"<.*", "", scope.split("::")[-1])
    if "=delete" in arguments.replace(" ", "") or name.startswith("~"):
        return True
    if name not in (own, "operator="):
        return False
    kind = text_of(member.find("param/type")).replace(" ", "").removeprefix("const")
    return len(member.findall("param")) == 1 and kind.rstrip("&") in (own, scope)


def members_of(compound):
    for section in compound.findall("sectiondef"):
        for member in section.findall("memberdef"):
            if member.get("prot") == "public" and member.get("kind") != "friend":
                yield member


def check_comments(reference):
    """Each public name has a comment; each that can suspend says what a cancellation does."""
    for compound in reference.compounds:
        kind = compound.get("kind")
        name = compound.findtext("compoundname", "")
        base = kind in ("class", "struct") and "::detail::" in name
        if kind not in ("class", "struct", "union", "namespace", "concept"):
            continue
        if compound.get("prot") == "private" or not name.startswith("toadstone"):
            continue
        if is_hidden(name) and not base:
            continue
        told = documentation(compound)
        if kind not in ("namespace",) and not told:
            yield f"{place_of(compound)}: {name} has no comment"
        for base_name in compound.findall("basecompoundref"):
            if "detail::" in text_of(base_name) and not base_name.get("refid"):
                if base_name.get("prot") == "public" and not base:
                    yield (
                        f"{place_of(compound)}: {text_of(base_name)}, a public base of {name}, "
                        "is not in the reference: see BASES in docs/reference/filter.py"
                    )
        for member in members_of(compound):
            yield from check_member(member, name, told)


def check_member(member, scope, told_of_class):
    name = member.findtext("name", "")
    if name == "detail" or name.startswith("@"):
        return
    own = documentation(member)
    qualified = f"{scope}::{name}"
    if not own and not is_special(member, scope):
        yield f"{place_of(member)}: {qualified} has no comment"
    for value in member.findall("enumvalue"):
        if not documentation(value) and not own:
            yield f"{place_of(member)}: {qualified}::{value.findtext('name')} has no comment"
    if member.get("kind") != "function" or is_special(member, scope):
        return
    kind = text_of(member.find("type"))
    short = qualified.removeprefix("toadstone::")
    auto = re.match(r"auto\b|decltype\(auto\)", kind) and short not in PLAIN_AUTO
    suspends = auto or AWAITED.search(NOT_AWAITED.sub("", kind).replace(" ", ""))
    if suspends and not re.search("cancellation", own + told_of_class, re.I):
        yield f"{place_of(member)}: {qualified}() can suspend and says nothing of cancellation"


def read_pages(root):
    """header: (its page of the guide, its example)."""
    lines = (root / "docs/reference/pages.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[0]: tuple(row[1:]) for row in rows}


def public_headers(root):
    for floor in ("runtime", "sync", "io", "sim"):
        listed = root / floor / "meson.build"
        names = re.findall(r"'([\w/]+\.hpp)'", listed.read_text()) if listed.exists() else []
        yield from (f"{floor}/{name}" for name in names if "detail/" not in name)


def compiled_examples(root):
    """Of examples/: what a meson.build compiles, and the headers that this includes."""
    found = set()
    for listed in (root / "examples").rglob("meson.build"):
        text = listed.read_text()
        found |= {listed.parent / name for name in re.findall(r"'([\w/]+\.cpp)'", text)}
    for listed in (root / "tests").rglob("meson.build"):
        names = re.findall(r"'([./]*examples/[\w/]+\.cpp)'", listed.read_text())
        found |= {listed.parent / name for name in names}
    # What the tutorial quotes its test compiles.
    tutorial = root / "docs/tutorial.md"
    if tutorial.exists():
        quoted = re.findall(r"<!-- from (\S+) -->", tutorial.read_text())
        found |= {root / name for name in quoted}
    waiting = [path.resolve() for path in found if path.exists()]
    found = set(waiting)
    while waiting:
        path = waiting.pop()
        for name in re.findall(r'#include "([^"]+)"', path.read_text()):
            included = (path.parent / name).resolve()
            if included.exists() and included not in found:
                found.add(included)
                waiting.append(included)
    return {str(path.relative_to(root)) for path in found if root in path.parents}


def check_pages(root):
    """Each public header has its page and its example, which somebody compiles."""
    pages = read_pages(root)
    compiled = compiled_examples(root)
    listed = "docs/reference/pages.txt"
    headers = set(public_headers(root))
    for header in sorted(headers - pages.keys()):
        yield f"{listed}: {header} has no page of the guide and no example"
    for header, row in pages.items():
        if header not in headers:
            yield f"{listed}: {header} is no public header"
        if len(row) != 2:
            yield f"{listed}: {header} needs a page and an example"
            continue
        guide, example = row
        if not (root / guide).exists():
            yield f"{listed}: {guide} does not exist"
        if not (root / example).exists():
            yield f"{listed}: {example} does not exist"
        elif example not in compiled:
            yield f"{listed}: nothing compiles {example}"
    for path in sorted((root / "examples").rglob("*.[ch]pp")):
        name = str(path.relative_to(root))
        if name not in compiled:
            yield f"{name}: nothing compiles it"


def slug(heading):
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def without_code(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors_of(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def markdown_pages(root):
    top = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [p for p in top if p.exists()] + sorted((root / "docs").rglob("*.md"))


def check_links(root):
    """Each link of a page leads to a file of the tree, and to a heading that it has."""
    for path in markdown_pages(root):
        where = path.relative_to(root)
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            meant = (path.parent / urllib.parse.unquote(file)).resolve() if file else path
            if not meant.exists():
                yield f"{where}: {target} leads nowhere"
            elif anchor and meant.suffix == ".md" and anchor not in anchors_of(meant):
                yield f"{where}: {target}: there is no such heading"


def check_contents(root):
    """docs/README.md has a line for each page of docs/."""
    contents = root / "docs/README.md"
    text = contents.read_text() if contents.exists() else ""
    linked = {name.partition("#")[0] for name in re.findall(r"\]\(([^)\s]+)\)", text)}
    for path in sorted((root / "docs").rglob("*.md")):
        name = str(path.relative_to(root / "docs"))
        if path.parent.name != "reference" and path != contents and name not in linked:
            yield f"docs/README.md: {name} is not in the table of contents"
    for line in text.split("\n"):
        entry = re.match(r"\* \[[^\]]*\]\([^)]*\)(.*)", line)
        if entry and len(entry[1].strip(" :")) < 10:
            yield f"docs/README.md: a page without a sentence: {line}"


def check_figures(root):
    """What should_i_use_it.md says in bold has been measured: it stands in performance.md."""
    page, measured = root / "docs/should_i_use_it.md", root / "docs/performance.md"
    if page.exists():
        known = set(re.findall(r"[\d.]+\d", measured.read_text()))
        for figure in re.findall(r"\*\*([\d.]+)\*\*", page.read_text()):
            if figure not in known:
                yield f"docs/should_i_use_it.md: {figure} is not in docs/performance.md"


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids, self.boxes = [], set(), set()

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.ids |= {known[key] for key in ("id", "name") if known.get(key)}
        if tag == "a" and "href" in known:
            self.links.append(known["href"] or "")
            if known.get("class") in ("guide", "example"):
                self.boxes.add(known["class"])
        elif tag in ("script", "img") and known.get("src"):
            self.links.append(known["src"])
        elif tag == "link" and known.get("href"):
            self.links.append(known["href"])


def check_html(reference, headers):
    """Each link of the reference leads somewhere, and a class to its guide and example."""
    directory = reference.path / "html"
    pages = {}
    for path in directory.glob("*.html"):
        pages[path.name] = Links()
        pages[path.name].feed(path.read_text())
    for name, page in sorted(pages.items()):
        for link in page.links:
            # The last one is a mistake of Doxygen 1.9.8's, in its list of what is on a page.
            if re.match(r"[a-z]+:", link) or link in ("#", "", "#nested-classes"):
                if link == "":
                    yield f"reference, {name}: a link without a target"
                continue
            file, _, anchor = urllib.parse.unquote(link).partition("#")
            file = file.partition("?")[0]
            if file and not (directory / file).exists():
                yield f"reference, {name}: {link} leads nowhere"
            elif anchor and anchor not in pages.get(file or name, page).ids:
                yield f"reference, {name}: {link}: there is no such place"
    for compound in reference.compounds:
        place = compound.find("location")
        file = place.get("file") if place is not None else ""
        name = compound.get("id") + ".html"
        if compound.get("kind") in ("class", "struct", "file") and file in headers:
            if name in pages and len(pages[name].boxes) != 2:
                yield f"reference, {name}: no link to a page of the guide and an example"
    if not any((directory / "search").glob("all_*.js")):
        yield "reference: there is nothing to search in"


def findings(root, reference_dir=None):
    yield from check_links(root)
    yield from check_contents(root)
    yield from check_figures(root)
    yield from check_pages(root)
    if reference_dir:
        reference = Reference(reference_dir)
        found = {c.findtext("compoundname") for c in reference.compounds}
        if not any(name and name.startswith("toadstone") for name in found):
            yield "reference: it has no name of the library"
        yield from check_comments(reference)
        yield from check_html(reference, set(public_headers(root)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--reference", type=Path)
    options = parser.parse_args()
    sentences = sorted(set(findings(options.root.resolve(), options.reference)))
    for sentence in sentences:
        print(sentence)
    print(f"reference: {len(sentences)} findings")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
