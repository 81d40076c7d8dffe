#!/usr/bin/env python3
"""docs/seccomp.json, the profile for containers, tried: with it a program runs; without its
row for io_uring, as under the default profiles, the program says what is missing.

container_profile_test.py PROFILE PROGRAM

The filter is made as a container engine makes it: by libseccomp, from the profile's rows.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
import unittest

PROFILE, PROGRAM = map(os.path.abspath, sys.argv[1:3])
del sys.argv[1:]
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
CLONE_NEWUSER = 0x10000000

try:
    SECCOMP = ctypes.CDLL("libseccomp.so.2", use_errno=True)
except OSError:
    print("skipped: the profile is tried with libseccomp (Debian: libseccomp2)")
    sys.exit(77)
LIBC = ctypes.CDLL(None, use_errno=True)

OPERATORS = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


class Compare(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


SECCOMP.seccomp_init.restype = ctypes.c_void_p
SECCOMP.seccomp_init.argtypes = [ctypes.c_uint32]
SECCOMP.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.POINTER(Compare),
]
SECCOMP.seccomp_load.argtypes = [ctypes.c_void_p]


def action(name, error):
    if name == "SCMP_ACT_ALLOW":
        return 0x7FFF0000
    assert name == "SCMP_ACT_ERRNO", name
    return 0x00050000 | error


def number_of(name):
    return SECCOMP.seccomp_syscall_resolve_name(name.encode())


class Profile:
    """What a container engine makes of the file."""

    def __init__(self, without=frozenset()):
        with open(PROFILE, encoding="utf-8") as file:
            content = json.load(file)
        usual = content["defaultErrnoRet"]
        self.default = action(content["defaultAction"], usual)
        self.filter = SECCOMP.seccomp_init(self.default)
        self.unknown = []
        for row in content["syscalls"]:
            what = action(row["action"], row.get("errnoRet", usual))
            compares = [
                Compare(
                    each["index"],
                    OPERATORS.index(each["op"].removeprefix("SCMP_CMP_")),
                    each["value"],
                    each.get("valueTwo", 0),
                )
                for each in row.get("args", [])
            ]
            for name in row["names"]:
                if name in without:
                    continue
                number = number_of(name)
                if number == -1:
                    self.unknown.append(name)
                elif what != self.default:
                    array = (Compare * len(compares))(*compares)
                    done = SECCOMP.seccomp_rule_add_array(
                        self.filter, what, number, len(compares), array
                    )
                    # Calls that this machine does not have are told in another way.
                    assert done in (0, -errno.EDOM), (name, done)

    def load(self):
        done = SECCOMP.seccomp_load(self.filter)
        if done != 0:
            raise OSError(-done, "seccomp_load")


def run(command, profile=None):
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=profile.load if profile else None,
    )


class ContainerProfile(unittest.TestCase):
    def test_a_program_runs_under_it(self):
        free = run([PROGRAM])
        self.assertEqual(free.returncode, 0, free)
        done = run([PROGRAM], Profile())
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(done.stdout.count("\n"), free.stdout.count("\n"))

    def test_without_its_row_for_io_uring_the_program_names_the_profile(self):
        # As in the default profiles: each call alone, and all three.
        for missing in (*({name} for name in IO_URING), IO_URING):
            with self.subTest(missing=sorted(missing)):
                done = run([PROGRAM], Profile(without=missing))
                self.assertEqual(done.returncode, 1, done)
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                for word in (
                    "io_uring is not available",
                    "seccomp",
                    "default seccomp profiles of Docker and Kubernetes",
                    "Allow io_uring_setup, io_uring_enter and io_uring_register",
                    "docs/containers.md",
                ):
                    self.assertIn(word, done.stderr)
        print(f"    {done.stderr.strip()}")

    def test_it_forbids_what_the_default_profiles_forbid(self):
        # In a child of its own: nothing takes a filter away again.
        child = os.fork()
        if child == 0:
            Profile().load()

            def fails(error, result):
                return result == -1 and ctypes.get_errno() == error

            results = [
                fails(errno.EPERM, LIBC.unshare(CLONE_NEWUSER)),
                fails(errno.ENOSYS, LIBC.syscall(number_of("clone3"), None, 0)),
                fails(errno.EPERM, LIBC.socket(40, 1, 0)),
                fails(errno.EPERM, LIBC.mount(b"none", b"/nowhere", b"tmpfs", 0, None)),
                fails(errno.EPERM, LIBC.personality(ctypes.c_ulong(0x0400000))),
                LIBC.personality(ctypes.c_ulong(0xFFFFFFFF)) != -1,
            ]
            os._exit(sum(1 << at for at, right in enumerate(results) if not right))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_its_names_are_names_of_system_calls(self):
        # libseccomp 2.5.4, of Debian 12, does not know the newest ones.
        new = {"fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "map_shadow_stack"}
        self.assertLessEqual(set(Profile().unknown), new)


if __name__ == "__main__":
    unittest.main(verbosity=2)
