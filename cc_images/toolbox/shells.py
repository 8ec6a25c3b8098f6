"""Shells for a person whose terminal is at a socket: where a hook has failed, or in a copy of a tree.

    shells.py SOCKET [--read-only] TREE TITLE SAID    a shell in a copy of a packed tree

`hooks` asks for a shell at a hook that failed, with its exit code and its folder, which is /tmp/in_target.d/… for a
hook inside the image's tree. The shell is where the hook was: in the tree, or in the sandbox with TARGET_ROOT set. Its
functions `retry` and `continue` end it and leave their word; without one the hook has failed. Runs as a script with
the standard library only.
"""

from __future__ import annotations

import fcntl
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

IN_TREE = "/tmp/in_target.d/"

LEFT = ("cc-debug.env", "cc-debug.rc", "cc-debug.answer")
"""Files in /tmp that go when the shell has ended."""

RC = """\
. /tmp/cc-debug.env 2> /dev/null
set +eu
cd {folder} 2> /dev/null
PS1={prompt}
retry() {{ echo retry > /tmp/cc-debug.answer; exit 0; }}
continue() {{ echo continue > /tmp/cc-debug.answer; exit 0; }}
echo {said}
"""

VISIT = """\
cd {folder}
PS1={prompt}
echo {said}
"""

UNPACK = """\
zstd -q -d -c "$0" | tar -C "$TARGET_ROOT" --numeric-owner --acls --xattrs --xattrs-include='*' -xpf -
"""
"""As the element of a layer does it; the toolbox's tar knows what to do without root."""


def main(words: list[str]) -> int:
    """Open a shell in a copy of a tree."""
    place, *words = words
    visit(place, *words[-3:], read_only="--read-only" in words[:-3])
    return 0


def shell(place: str, hooks: Path, hook: str, code: int, folder: str) -> str:
    """Open a shell for the one at the socket; return the word that it has left, `fail` without one."""
    phase = os.path.basename(folder)[: -len(".d")]
    tree = hooks.with_name("mnt") if folder.startswith(IN_TREE) else None
    said = f"{hook} of {phase} has failed with code {code}: retry runs it again, continue goes on, exit ends the build"
    prompt = f"[{phase}/{hook}] \\w \\$ "
    text = RC.format(folder=shlex.quote(folder), prompt=shlex.quote(prompt), said=shlex.quote(said))
    return opened(place, tree, text)


def visit(place: str, packed: str, title: str, said: str, *, read_only: bool) -> None:
    """Unpack a tree into a folder that goes with the sandbox, and open a shell in it."""
    tree = Path("/tmp/cc-tree")
    tree.mkdir()
    os.environ["TARGET_ROOT"] = str(tree)
    subprocess.run(["sh", "-c", UNPACK, packed], check=True)
    for name in ("dev", "proc", "tmp"):
        (tree / name).mkdir(exist_ok=True)
    seen = shown(tree) if read_only else tree
    for name in ("dev", "proc"):
        subprocess.run(["mount", "--rbind" if name == "proc" else "--bind", f"/{name}", str(seen / name)], check=True)
    os.environ["TARGET_ROOT"] = str(seen)
    has_bash = any(os.path.lexists(tree / name) for name in ("bin/bash", "usr/bin/bash"))
    said += "" if has_bash else f"; it has no bash, so this is one of the host's, and the tree is {seen}"
    folder, prompt = "/" if has_bash else str(seen), f"[{title}] \\w \\$ "
    text = VISIT.format(folder=folder, prompt=shlex.quote(prompt), said=shlex.quote(said))
    opened(place, tree if has_bash else None, text, seen if has_bash else None)


def shown(tree: Path) -> Path:
    """Return a second place of a tree, where it cannot be written to."""
    seen = Path("/tmp/cc-view")
    seen.mkdir()
    subprocess.run(["mount", "--bind", str(tree), str(seen)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(seen)], check=True)
    return seen


def opened(place: str, tree: Path | None, text: str, seen: Path | None = None) -> str:
    """Open a shell that begins with a text of commands, in a tree if there is one; return the word that it leaves.

    `seen` is where the shell has the tree, unless that is where it can be written to.
    """
    shared = tree / "tmp" if tree is not None else Path("/tmp")
    (shared / "cc-debug.rc").write_text(text)
    try:
        with connected(place) as line:
            line.sendall(b"\n")
            size = json.loads(told(line))
            child, master = pty.fork()
            if child == 0:
                become(seen or tree, size["term"])
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
