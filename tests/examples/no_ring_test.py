#!/usr/bin/env python3
"""Without a usable io_uring a server says so in one line, at once, and exits with 1.

no_ring_test.py WITHOUT_RING plain|sanitized SERVER...
"""

import errno
import os
import resource
import subprocess
import sys
import tempfile
import unittest

WITHOUT_RING = os.path.abspath(sys.argv.pop(1))
SANITIZED = sys.argv.pop(1) == "sanitized"
# Sanitizers take their time to start.
MOST_MILLISECONDS = 2000 if SANITIZED else 100
# Memory that comes back late is waited for where RLIMIT_MEMLOCK counts.
MEMORY_MILLISECONDS = MOST_MILLISECONDS + 200
SERVERS = [os.path.abspath(server) for server in sys.argv[1:]]
del sys.argv[1:]


def processor_time():
    """Of all processes that were started here and have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command, descriptors=None):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with tempfile.TemporaryDirectory() as folder:
        begun = processor_time()
        done = subprocess.run(
            [*command, "--port", "0"],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=30,
            check=False,
            preexec_fn=limit if descriptors else None,
        )
        return done, (processor_time() - begun) * 1000


class NoRing(unittest.TestCase):
    def check(self, command, *words, descriptors=None, most=MOST_MILLISECONDS):
        # The best of some tries: others may take the caches.
        tries = [run(command, descriptors) for _ in range(5)]
        for done, _ in tries:
            self.assertEqual(done.returncode, 1, done)
            self.assertEqual(done.stdout, "")
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        self.assertLess(min(took for _, took in tries), most)
        print(f"    {tries[0][0].stderr.strip()}")

    def filtered(self, error, *words, **limits):
        for server in SERVERS:
            with self.subTest(server=os.path.basename(server)):
                self.check([WITHOUT_RING, str(error), server], *words, **limits)

    def test_forbidden(self):
        self.filtered(errno.EPERM, "io_uring", "seccomp")

    def test_not_there(self):
        self.filtered(errno.ENOSYS, "io_uring", "Linux")

    def test_no_memory(self):
        self.filtered(errno.ENOMEM, "io_uring", "RLIMIT_MEMLOCK", most=MEMORY_MILLISECONDS)

    # UBSan asks through a pipe whether an object is there, and gets no descriptor for that.
    @unittest.skipIf(SANITIZED, "UBSan takes every object for a wrong one then")
    def test_no_descriptors(self):
        for server in SERVERS:
            # 3 are open. The first ring gets one more, its wake-up none.
            for most in (4, 5):
                with self.subTest(server=os.path.basename(server), most=most):
                    self.check([server, "--workers", "2"], "RLIMIT_NOFILE", descriptors=most)


if __name__ == "__main__":
    unittest.main(verbosity=2)
