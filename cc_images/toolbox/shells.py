"""Shells at failed hooks: runs dib, and opens a shell for whoever waits at a socket when a hook asks.

    shells.py SOCKET COMMAND…              exit code: the command's, 128 + signal when it was killed
    shells.py SOCKET --tree LAYER TITLE    a shell in a copy of a layer, without dib

The element cc-debug asks through a pipe beside the hooks: the hook, its exit code, and its folder, which is
/tmp/in_target.d/… for a hook inside the image's tree. The shell is where the hook was: in the tree, or in the sandbox
with TARGET_ROOT set. Its functions `retry` and `continue` end it and leave their word; without one the hook has failed.
Runs as a script with the standard library only.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import pty
import select
import shlex
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

HOOKS = "/tmp/dib_build.*/hooks"
"""Where dib keeps its hooks; the tree is beside them, in `mnt`."""

IN_TREE = "/tmp/in_target.d/"

LEFT = ("cc-debug.env", "cc-debug.rc", "cc-debug.answer")
"""Files in /tmp that go when the shell has ended."""

RC = """\
. /tmp/cc-debug.env 2> /dev/null
set +eu
cd {folder}
PS1={prompt}
retry() {{ echo retry > /tmp/cc-debug.answer; exit 0; }}
continue() {{ echo continue > /tmp/cc-debug.answer; exit 0; }}
echo {said}
"""

VISIT = """\
cd /
PS1={prompt}
echo {said}
"""

UNPACK = """\
zstd -q -d -c "$0" | tar -C "$TARGET_ROOT" --numeric-owner --acls --xattrs --xattrs-include='*' -xpf -
"""
"""As the element of a layer does it; the toolbox's tar knows what to do without root."""


def main(words: list[str]) -> int:
    """Run the command, and a shell each time that a hook asks."""
    place, command = words[0], words[1:]
    if command[0] == "--tree":
        return visit(place, *command[1:])
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    asks: int | None = None
    while child.poll() is None:
        found = glob.glob(f"{HOOKS}/cc-ask")
        if asks is None and found:
            asks = os.open(found[0], os.O_RDWR)  # both, so that it never ends
        if asks is None:
            select.select([], [], [], 0.2)
        elif select.select([asks], [], [], 0.2)[0]:
            asked = os.read(asks, 4096).decode().split()
            answer = shell(place, Path(found[0]).parent, *asked)
            Path(found[0]).with_name("cc-answer").write_text(f"{answer}\n")
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def shell(place: str, hooks: Path, hook: str, code: str, folder: str) -> str:
    """Open a shell for the one at the socket; return the word that it has left, `fail` without one."""
    phase = os.path.basename(folder)[: -len(".d")]
    tree = hooks.with_name("mnt") if folder.startswith(IN_TREE) else None
    said = f"{hook} of {phase} has failed with code {code}: retry runs it again, continue goes on, exit ends the build"
    prompt = f"[{phase}/{hook}] \\w \\$ "
    text = RC.format(folder=shlex.quote(folder), prompt=shlex.quote(prompt), said=shlex.quote(said))
    return opened(place, tree, text)


def visit(place: str, layer: str, title: str) -> int:
    """Unpack a layer into a folder that goes with the sandbox, and open a shell in it."""
    tree = Path("/tmp/cc-tree")
    tree.mkdir()
    os.environ["TARGET_ROOT"] = str(tree)
    subprocess.run(["sh", "-c", UNPACK, layer], check=True)
    for name in ("dev", "proc"):
        (tree / name).mkdir(exist_ok=True)
        subprocess.run(["mount", "--rbind" if name == "proc" else "--bind", f"/{name}", str(tree / name)], check=True)
    said = f"a copy of {title}: what you change is gone when you leave"
    text = VISIT.format(prompt=shlex.quote(f"[{title}] \\w \\$ "), said=shlex.quote(said))
    opened(place, tree, text)
    return 0


def opened(place: str, tree: Path | None, text: str) -> str:
    """Open a shell that begins with a text of commands, in a tree if there is one; return the word that it leaves."""
    shared = tree / "tmp" if tree is not None else Path("/tmp")
    (shared / "cc-debug.rc").write_text(text)
    try:
        with connected(place) as line:
            line.sendall(b"\n")
            size = json.loads(told(line))
            child, master = pty.fork()
            if child == 0:
                become(tree, size["term"])
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size["rows"], size["columns"], 0, 0))
            relay(master, line)
            os.close(master)
            os.waitpid(child, 0)
        return (shared / "cc-debug.answer").read_text().strip()
    except OSError:
        return "fail"
    finally:
        for name in LEFT:
            if (shared / name).exists():
                (shared / name).unlink()


def become(tree: Path | None, term: str) -> None:
    """Become the shell, in the tree if there is one."""
    os.environ["TERM"] = term
    bash = ["bash", "--rcfile", "/tmp/cc-debug.rc", "-i"]
    if tree is None:
        os.execvp("bash", bash)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    words = ["env", "-u", "TMPDIR", f"PATH={path}", "HOME=/root", *bash]
    os.execvp("chroot", ["chroot", str(tree), *words])


def connected(place: str) -> socket.socket:
    """Return a connection to a socket, whose path may be longer than addresses of sockets."""
    folder = os.open(os.path.dirname(place), os.O_PATH | os.O_DIRECTORY)
    try:
        line = socket.socket(socket.AF_UNIX)
        line.connect(f"/proc/self/fd/{folder}/{os.path.basename(place)}")
        return line
    finally:
        os.close(folder)


def told(line: socket.socket) -> bytes:
    """Return one line from a socket."""
    content = b""
    while not content.endswith(b"\n"):
        byte = line.recv(1)
        if not byte:
            raise OSError(0, "nobody is there")
        content += byte
    return content


def relay(master: int, line: socket.socket) -> None:
    """Carry bytes between a terminal and a socket until one of them ends."""
    other = line.fileno()
    while True:
        ready, _, _ = select.select([master, other], [], [])
        try:
            if master in ready:
                content = os.read(master, 4096)
                if not content:
                    return
                line.sendall(content)
            if other in ready:
                content = line.recv(4096)
                if not content:
                    return
                os.write(master, content)
        except OSError:  # the shell has ended
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
