# S620: the reference has every public name, and says of what can suspend what a cancellation
# does; each page about a header leads to its guide and its example.
# S621: each link of the pages and of the reference leads somewhere, headings too.
# S622: what is wrong in a small tree is found, all of it, and nothing else.
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(root / "tools"))
import reference  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--build", type=pathlib.Path, required=True)
parser.add_argument("--doxygen")
options = parser.parse_args()
failures = []

BAD_HEADER = """// lamp: what can be wrong in a header.
#ifndef TOADSTONE_RUNTIME_LAMP_HPP
#define TOADSTONE_RUNTIME_LAMP_HPP

namespace toadstone {

template <class T>
class task;

namespace detail {
class hidden_lamp {
public:
    void glow();
};
class lamp_request;
} // namespace detail

/// Gives light. See `lamp::dark` <not a tag> and #nothing.
class lamp : public detail::hidden_lamp {
public:
    lamp(const lamp& other);
    lamp(lamp&& other) = delete;
    ~lamp();
    void dark();
    /// Waits for the light. Cancellation: leaves at once.
    task<int> good();
    /// Waits for the light.
    task<int> silent();
    /// Waits for the light.
    [[nodiscard("it, too")]] detail::lamp_request unnamed() noexcept;
    /// For the library.
    void own(int a = f({1, 2}));
    /// Is it lit?
    bool lit() const { return true; }
    int watts = 0;
    int volts = 0; ///< across it
    /// Amperes.
    int amperes = 0;

private:
    void inside();
    friend bool operator==(const lamp&, const lamp&) = default;
};

/// How bright it is.
enum class light { dim, bright };
enum class colour { red };

/// Cancellation: every member is a cancellation point.
class lantern {
public:
    /// Waits.
    task<int> told_of_by_the_class();
};

} // namespace toadstone

#endif
"""
GOOD_EXAMPLE = '// A lamp: shows nothing.\n#include "part.hpp"\nint main() {}\n'
FILES = {
    "runtime/lamp.hpp": BAD_HEADER,
    "runtime/lost.hpp": BAD_HEADER.split("namespace toadstone")[0].replace("LAMP", "LOST")
    + "#endif\n",
    "runtime/meson.build": "headers = ['lamp.hpp', 'lost.hpp', 'detail/x.hpp']\n",
    "examples/meson.build": "files('lit.cpp')\n",
    "examples/lit.cpp": GOOD_EXAMPLE,
    "examples/part.hpp": "// A part.\n",
    "examples/dark.cpp": "// Dark: shows nothing.\nint main() {}\n",
    "README.md": "# Lamps\n[guide](docs/README.md#guide) [no](docs/none.md) `[x](y.md)`\n",
    "docs/README.md": "# Guide\n* [lamps](lamps.md): all that there is to say of them.\n"
    "* [short](lamps.md): no.\n* [speed](performance.md): measured.\n"
    "* [use](should_i_use_it.md): or not, as you like.\n",
    "docs/lamps.md": "# Lamps\n## A `lit` one, or two\n[up](#a-lit-one-or-two) [down](#dark)\n"
    "[there](README.md#guide) [not there](README.md#dark)\n",
    "docs/lost.md": "# Lost\n",
    "docs/performance.md": "# Speed\n| lamp | 16.5 (1.2 to 3) |\n",
    "docs/should_i_use_it.md": "# Use\n**Yes**, **16.5** ns, **1.2** s, **16** ns.\n",
    "docs/reference/main.md": "# Reference\nSee the [guide](../README.md).\n",
    "docs/reference/pages.txt": "# comment\n"
    "runtime/lamp.hpp docs/lamps.md examples/lit.cpp\n"
    "runtime/gone.hpp docs/gone.md examples/dark.cpp\n"
    "runtime/half.hpp docs/lamps.md\n",
}
FOUND_IN_PAGES = [
    "README.md: docs/none.md leads nowhere",
    "docs/README.md: a page without a sentence: * [short](lamps.md): no.",
    "docs/README.md: lost.md is not in the table of contents",
    "docs/lamps.md: #dark: there is no such heading",
    "docs/lamps.md: README.md#dark: there is no such heading",
    "docs/reference/pages.txt: docs/gone.md does not exist",
    "docs/reference/pages.txt: nothing compiles examples/dark.cpp",
    "docs/reference/pages.txt: runtime/gone.hpp is no public header",
    "docs/reference/pages.txt: runtime/half.hpp is no public header",
    "docs/reference/pages.txt: runtime/half.hpp needs a page and an example",
    "docs/reference/pages.txt: runtime/lost.hpp has no page of the guide and no example",
    "docs/should_i_use_it.md: 16 is not in docs/performance.md",
    "examples/dark.cpp: nothing compiles it",
]
FOUND_IN_REFERENCE = [
    "runtime/lamp.hpp:19: detail::hidden_lamp, a public base of toadstone::lamp, is not in the"
    " reference: see BASES in docs/reference/filter.py",
    "runtime/lamp.hpp:24: toadstone::lamp::dark has no comment",
    "runtime/lamp.hpp:28: toadstone::lamp::silent() can suspend and says nothing of"
    " cancellation",
    "runtime/lamp.hpp:30: toadstone::lamp::unnamed() can suspend and says nothing of"
    " cancellation",
    "runtime/lamp.hpp:35: toadstone::lamp::watts has no comment",
    "runtime/lamp.hpp:47: toadstone::colour has no comment",
    "runtime/lamp.hpp:47: toadstone::colour::red has no comment",
]


def expect(found, expected, where):
    for sentence in sorted(set(expected) - set(found)):
        failures.append(f"{where}: not found: {sentence}")
    for sentence in sorted(set(found) - set(expected)):
        failures.append(f"{where}: found too much: {sentence}")


def small_tree(tree):
    for name, text in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("build.py", "filter.py", "Doxyfile.in"):
        shutil.copy(root / "docs/reference" / name, tree / "docs/reference" / name)
    expect(reference.findings(tree), FOUND_IN_PAGES, "a small tree")
    if not options.doxygen:
        return
    # What its page of headers lacks is known by now.
    pages = FILES["docs/reference/pages.txt"].split("\n")[1]
    (tree / "docs/reference/pages.txt").write_text(pages + "\n")
    (tree / "docs/lamps.md").write_text("# Lamps\n## A `lit` one, or two\n")
    (tree / "README.md").write_text("# Lamps\n")
    (tree / "docs/should_i_use_it.md").write_text("# Use\n")
    command = [sys.executable, tree / "docs/reference/build.py", "--source", tree, "--output",
               tree / "out", "--version", "1", "--doxygen", options.doxygen, "runtime/lamp.hpp"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode or made.stdout or made.stderr:
        failures.append(f"a small tree: {made.stdout}{made.stderr}")
        return
    built = reference.Reference(tree / "out")
    expect(reference.check_comments(built), FOUND_IN_REFERENCE, "a small reference")
    expect(reference.check_html(built, {"runtime/lamp.hpp"}), [], "its pages")

    # Links that Doxygen could not know to be dead.
    page = tree / "out/html/classtoadstone_1_1lamp.html"
    text = page.read_text()
    text = text.replace('class="guide" href="', 'class="x" href="none.html" title="')
    page.write_text(text + '<a href="index.html#none">x</a>')
    expect(reference.check_html(built, {"runtime/lamp.hpp"}), [
        f"reference, {page.name}: index.html#none: there is no such place",
        f"reference, {page.name}: no link to a page of the guide and an example",
        f"reference, {page.name}: none.html leads nowhere",
    ], "its broken pages")

    # What Doxygen does not understand fails, too.
    (tree / "docs/lamps.md").write_text("# Lamps\nSee @ref nothing.\n")
    made = subprocess.run(command, capture_output=True, text=True)
    if not made.returncode or "nothing" not in made.stderr:
        failures.append(f"a dead reference goes unnoticed: {made.stdout}{made.stderr}")


with tempfile.TemporaryDirectory() as work:
    small_tree(pathlib.Path(work).resolve())

built = None
if options.doxygen:
    command = ["meson", "compile", "-C", options.build, "docs"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        failures.append(f"meson compile docs: {made.stdout}{made.stderr}")
    else:
        built = options.build / "docs"
failures += sorted(set(reference.findings(root, built)))
for sentence in failures:
    print(sentence)
if failures:
    sys.exit(1)
if not options.doxygen:
    print("the pages are right; Doxygen is not installed (tools/setup.sh does), so the"
          " reference is not looked at")
    sys.exit(77)
