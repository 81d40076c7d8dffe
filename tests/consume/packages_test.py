# S625: debian/ and the wrap file say what meson.build says: version, dependencies, names, and
# LICENSE. S626: `meson dist` packs what is committed, less what .gitattributes leaves out.
#
# packages_test.py SOURCE BUILD. Building the packages is for --full: run.sh wrap and debian.
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

source, build = (pathlib.Path(name).resolve() for name in sys.argv[1:3])
failures = []


def expect(right, sentence):
    if not right:
        failures.append(sentence)


def read(name):
    return (source / name).read_text()


def paragraphs(name):
    """Of a file in Debian's format: its fields, continued lines joined."""
    for text in re.split(r"\n\s*\n", read(name).strip()):
        joined = re.sub(r"\n[ \t]+", " ", text)
        yield dict(line.split(":", 1) for line in joined.split("\n"))


def packages_of(field):
    """name: the version that is wanted, or ''."""
    found = {}
    for entry in field.split(","):
        entry = re.fullmatch(r"\s*([\w.+${}:-]+)(?: \(>?= ([\d.:]+)\))?\s*", entry)
        found[entry[1]] = entry[2] or ""
    return found


# The version, and what the library is built with, by Debian's names.
project = read("meson.build")
version = re.search(r"^ +version: '([\d.]+)'", project, re.M)[1]
needed = {
    "libboost-context-dev": "",
    "libc-ares-dev": re.search(r"'libcares', version: '>=([\d.]+)'", project)[1],
    "liburing-dev": re.search(r"'liburing', version: '>=([\d.]+)'", project)[1],
}
provided = set(re.findall(r"meson\.override_dependency\('([\w-]+)'", project))

changelog = read("debian/changelog").split("\n")[0]
expect(f"toadstone ({version})" in changelog, f"debian/changelog: it is {version}")

fields, package = paragraphs("debian/control")
expect(package["Package"].strip() == "libtoadstone-dev", "the package has another name")
for name, where in {"Build-Depends": fields, "Depends": package}.items():
    listed = packages_of(where[name])
    for wanted, least in needed.items():
        right = listed.get(wanted) == least
        expect(right, f"debian/control, {name}: {wanted} has to be >= {least}")
meson = re.search(r"meson_version: '>=([\d.]+)'", project)[1]
right = packages_of(fields["Build-Depends"]).get("meson") == meson
expect(right, f"debian/control: meson is to be >= {meson}")

words = read("LICENSE").split("\n\n", 2)
owner = words[1].removeprefix("Copyright (c) ")
told = re.sub(r"^ \.?", "", read("debian/copyright"), flags=re.M)
expect(f"Copyright: {owner}" in told, f"debian/copyright does not name {owner}")
right = " ".join(words[2].split()) in " ".join(told.split())
expect(right, "debian/copyright has another text than LICENSE")

for name in ("docs", "examples"):
    for pattern in read(f"debian/libtoadstone-dev.{name}").split():
        there = any(source.glob(pattern))
        expect(there, f"debian/libtoadstone-dev.{name}: there is no {pattern}")

wrap = read("docs/toadstone.wrap")
expect(wrap.count(f"toadstone-{version}") == 3, "docs/toadstone.wrap is of another version")
names = set(re.search(r"dependency_names = (.*)", wrap)[1].split(", "))
expect(names == provided, f"docs/toadstone.wrap: meson.build provides {provided}")


def git(*arguments):
    command = ["git", "-C", source, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if (source / ".git").exists() and shutil.which("git"):
    command = ["meson", "dist", "-C", build, "--no-tests", "--allow-dirty"]
    made = subprocess.run([*command, "--formats", "gztar"], capture_output=True, text=True)
    expect(made.returncode == 0, f"meson dist: {made.stdout}{made.stderr}")
    left_out = tuple(
        line.split()[0].removeprefix("/")
        for line in git("show", "HEAD:.gitattributes").splitlines()
        if line.endswith("export-ignore")
    )
    committed = {
        name
        for name in git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
        if name not in left_out and name.split("/")[0] not in left_out
    }
    folder = f"toadstone-{version}"
    with tarfile.open(build / "meson-dist" / f"{folder}.tar.gz") as archive:
        packed = {
            entry.name.removeprefix(folder + "/") for entry in archive if not entry.isdir()
        }
    expect(not committed - packed, f"meson dist leaves out {sorted(committed - packed)}")
    expect(not packed - committed, f"meson dist packs {sorted(packed - committed)}, too")
    right = {"meson.build", "LICENSE", "debian/control", "tools/lint"} <= packed
    expect(right, "meson dist does not pack what a release needs")
else:
    print("no git, or no repository: meson dist is not tried")

for sentence in failures:
    print(sentence)
sys.exit(1 if failures else 0)
