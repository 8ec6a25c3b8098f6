"""A Python that is already warm: runs a program in a fork of a process that has imported what the program needs.

    warm.py PROGRAM ARGUMENT…

dib starts its block-device program a dozen times in a build, and each time most of its CPU goes into the same imports.
The first call leaves a server behind, which lives and dies with the sandbox; every call hands it its arguments,
environment, folder and standard streams, and ends with the code that the program ended with.
Knows nothing of cc_images; standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

PLACE = "/tmp/.cc-images-warm"
WARM = "diskimage_builder.block_device.cmd"


def ask(program: list[str]) -> int | None:
    """Hand a program over to the server and return its exit code; None when there is no server yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(PLACE)
        except OSError:
            return None
        order = json.dumps({"argv": program, "environ": dict(os.environ), "cwd": os.getcwd()}).encode()
        socket.send_fds(connection, [len(order).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(order)
        said = connection.recv(1)
        return said[0] if said else 1


def serve() -> None:
    """Import once, then run every program in a fork, one after the other; returns once the server listens."""
    import importlib

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(PLACE)
        importlib.import_module(WARM)
        listener.listen()
        if os.fork():
            return
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        while True:
            connection, _ = listener.accept()
            with connection:
                head, streams, _, _ = socket.recv_fds(connection, 4, 3)
                left, order = int.from_bytes(head, "big"), b""
                while len(order) < left:
                    order += connection.recv(left - len(order))
                child = os.fork()
                if child == 0:
                    run(json.loads(order), streams)
                for stream in streams:
                    os.close(stream)
                _, status = os.waitpid(child, 0)
                connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))


def run(order: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Be the program."""
    import runpy
    import traceback

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = order["argv"]
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it was, the program has ended
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(program: list[str]) -> int:
    """Run a program and return its exit code; without one, be the server."""
    if not program:
        serve()
        return 0
    code = ask(program)
    if code is None:
        os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-I", __file__])  # with site-packages, unlike this one
        code = ask(program)
    return 1 if code is None else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
