#!/usr/bin/env python3
"""Makes of a header, or of a page of docs/, what Doxygen is to read.

filter.py FILE

A header loses what is the library's alone (`detail`, what its comment calls "For the library.")
and its attributes. The paragraphs of its comments that begin with a word and a colon get that
word as a title. A page's headings get names, which do not change with the order of pages, and
its links lead to pages and examples of the reference. No line moves: Doxygen names lines.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# In namespaces detail, and part of the reference: from these, public classes inherit members
# that are for users.
BASES = {
    "broadcast_half",
    "event_base",
    "mpsc_half",
    "oneshot_half",
    "pipe_end",
    "reading",
    "scope_action",
    "watch_half",
}

WORD = (
    r"(?:[Rr]eturns|[Ee]rrors(?: also)?|[Cc]ancellation|[Pp]oisoning|[Ff]airness|[Tt]hreads"
    r"|[Uu]nits|[Ss]hape|[Ll]ifetime|[Ss]ource)"
)
TITLE = re.compile(rf"(?:(?<=^)|(?<=[.:;)] ))({WORD}(?:(?:, | and ){WORD})*): ?")


def escaped(text):
    """A comment's text for Doxygen, which takes HTML and commands in it."""
    parts = text.split("`")
    for i, part in enumerate(parts):
        if i % 2 == 0:
            part = part.replace("\\", "\\\\").replace("&", "&amp;")
            part = part.replace("<", "&lt;").replace(">", "&gt;")
            parts[i] = re.sub(r"([*#@])", r"\\\1", part)
        else:
            # Its own way of quoting has no exceptions.
            part = part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            part = re.sub(r"([*#@\\%])", r"\\\1", part)
            parts[i] = f"<code>{part}</code>" if i < len(parts) - 1 else part
    return "".join(parts)


def titled(text):
    def title(found):
        return "@titled{" + found[1].capitalize().replace(",", "\\,") + "} "

    return TITLE.sub(title, text)


def without_detail(lines):
    """Only the bases are left of each namespace detail."""
    result = list(lines)
    i = 0
    while i < len(lines):
        opened = re.match(r"namespace ((?:toadstone::(?:\w+::)*)?detail) \{$", lines[i])
        if not opened:
            i += 1
            continue
        end = i + 1
        while lines[end] != "} // namespace " + opened[1]:
            end += 1
            if end == len(lines) or lines[end] == lines[i]:
                end = lines.index("}", i)
                break
        kept = set()
        for start in range(i, end):
            head = r"(?:class|struct) (?:\[\[.*\]\] )?(\w+)(?:$| (?!.*;$))"
            found = re.match(head, lines[start])
            if not found or found[1] not in BASES:
                continue
            stop = start
            while lines[stop] != "};":
                stop += 1
            while re.match(r"///|template|    requires", lines[start - 1]):
                start -= 1
            kept |= set(range(start, stop + 1))
        for line in range(i, end + 1):
            if line not in kept and (line not in (i, end) or not kept):
                result[line] = ""
        i = end + 1
    return result


def without_private_notes(lines):
    """What its comment calls "For the library." goes with its declaration, and so do friends
    without a comment, and what is defined for namespace std."""
    result = list(lines)
    for i, line in enumerate(lines):
        friend = re.match(r" *friend ", line) and not lines[i - 1].lstrip().startswith("///")
        private = re.match(r" */// For the library[.:]", line)
        foreign = re.match(r"(?:struct|class) std::", line)
        if not (private or friend or foreign):
            continue
        stop = i
        while lines[stop].lstrip().startswith("///"):
            stop += 1
        depth = 0
        while True:
            code = lines[stop].split(" // ")[0].split(" ///<")[0]
            depth += sum(code.count(c) for c in "({") - sum(code.count(c) for c in ")}")
            if depth == 0 and re.search(r"(;|\})\s*$", code):
                following = lines[stop + 1].lstrip() if stop + 1 < len(lines) else ""
                if not following.startswith(("{", ":")):
                    break
            stop += 1
        for j in range(i, stop + 1):
            result[j] = ""
    return result


def header(lines):
    lines = without_private_notes(without_detail(lines))
    result = []
    at_top = True
    for number, line in enumerate(lines):
        at_top = at_top and line.startswith("//")
        found = re.match(r"( *)///( ?)(.*)$", line)
        if at_top:
            text = escaped(line.removeprefix("//").strip())
            line = "/// " + ("@thisfile " if number == 0 else "") + text
        elif found and not found[3].startswith("<"):
            line = f"{found[1]}/// {titled(escaped(found[3].strip()))}"
        elif "///<" in line:
            code, text = line.split("///<", 1)
            # Closed, or the next line's comment would go on with it.
            line = code + "/**< " + escaped(text.strip()) + " */"
        else:
            line = re.sub(r"\[\[(?:[^\]\"]|\"[^\"]*\")*\]\] ?", "", line)
            line = re.sub(r"TOADSTONE_CORO_\w+ ?", "", line)
            # Nobody is meant to derive from what has some.
            line = re.sub(r"^( *)protected:", r"\1private:", line)
        result.append(line)
    return result


def slug(heading):
    """As the usual places name a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


def page_name(path):
    path = Path(path)
    if path.name == "README.md":
        return "readme_" + path.parent.name if path.parent != Path() else "readme"
    return "guide_" + path.stem


def example_page(path):
    """How Doxygen calls the page of an example."""
    return str(path).removeprefix("examples/")


def page(path, lines):
    where = path.relative_to(ROOT)
    name = page_name(where)
    result = []
    in_code = False
    for line in lines:
        if line.startswith("```"):
            in_code = not in_code
        elif in_code:
            pass
        elif found := re.match(r"(#+) (.*)$", line):
            title = re.sub(r"`", "", found[2])
            label = name if found[1] == "#" else f"{name}_{slug(found[2]).replace('-', '_')}"
            line = f"{found[1]} {title} {{#{label}}}"
        else:
            line = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", line)
            line = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", lambda m: link(where, m[1], m[2]), line)
            line = re.sub(r"`([^`]*#[^`]*)`", hashed, line)
        result.append(line)
    return result


def hashed(found):
    """Doxygen takes what follows a # for a name, even in code."""
    text = found[1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "<code>" + text.replace("#", "\\#") + "</code>"


def link(where, text, target):
    """What of docs/ or examples/ a link of a page means, as a link of the reference."""
    if target.startswith(("http:", "https:")):
        return f"[{text}]({target})"
    file, _, anchor = target.partition("#")
    meant = where
    if file:
        meant = (ROOT / where.parent / file).resolve().relative_to(ROOT)
    if meant.suffix == ".md" and (meant.parts[0] == "docs" or str(meant) == "README.md"):
        label = page_name(meant) + (f"_{anchor.replace('-', '_')}" if anchor else "")
        return f'@ref {label} "{text.replace("`", "")}"'
    # In the tree, and not in the reference.
    return text


def main():
    path = Path(sys.argv[1]).resolve()
    lines = path.read_text().split("\n")
    if path.suffix == ".md":
        lines = page(path, lines)
    elif path.suffix == ".hpp" and ROOT / "examples" not in path.parents:
        lines = header(lines)
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
