#!/usr/bin/env python3
"""The client of PostgreSQL beside a server that never answers, one that hangs up, and a real
one: PROGRAM SOURCE"""

import glob
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

from output_test import promised

failures = 0


def check(claim, sentence):
    global failures
    if not claim:
        failures += 1
        print(sentence)


def run(program, parameters):
    return subprocess.run(
        [program, parameters], capture_output=True, text=True, timeout=60, check=False
    )


def fails(program, name, hang_up):
    """A server that says nothing: the connection is given up, and nothing hangs."""
    listener = socket.create_server(("127.0.0.1", 0))
    kept = []

    def accept():
        while True:
            client, _ = listener.accept()
            kept.append(client)
            if hang_up:
                client.recv(1)
                client.close()

    threading.Thread(target=accept, daemon=True).start()
    done = run(program, f"host=127.0.0.1 port={listener.getsockname()[1]} user=nobody")
    check(done.returncode == 1 and done.stderr, f"{name}: {done.returncode} {done.stdout}")


def binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return pathlib.Path(found[-1]) if found else None


def real(program, expected):
    where = binaries()
    if not where:
        print("there is no PostgreSQL here")
        return
    # It refuses to run as root.
    user = {}
    folder = tempfile.mkdtemp()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("postgres")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = pathlib.Path(folder) / "data"
    try:
        subprocess.run(
            [where / "initdb", "--no-sync", "-A", "trust", "-U", "tester", "-D", data],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **user,
        )
        running = subprocess.Popen(
            [where / "postgres", "-D", data, "-k", folder]
            + ["-c", "listen_addresses=", "-c", "fsync=off"],
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            **user,
        )
        try:
            for line in running.stderr:
                if "ready to accept connections" in line:
                    break
            threading.Thread(target=running.stderr.read, daemon=True).start()
            for _ in range(3):
                done = run(program, f"host={folder} user=tester dbname=postgres")
                printed = done.stdout.splitlines()
                good = done.returncode == 0 and not done.stderr and printed == expected
                check(good, f"{done.returncode}\n {printed}\n {done.stderr}")
        finally:
            running.terminate()
            running.wait()
    finally:
        shutil.rmtree(folder)


def main():
    program, source = sys.argv[1:]
    expected, _ = promised(pathlib.Path(source))
    fails(program, "mute", False)
    fails(program, "hangs up", True)
    real(program, expected)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
