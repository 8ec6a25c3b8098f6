"""The real Apptainer, in a tree of Debian sid: no release of Debian that tests run on has it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.conftest import REPOSITORY

ENTER = """\
set -eu
root=$1 shown=$2; shift 2
mount --rbind "$root" "$root"; cd "$root"
mkdir -p proc sys dev tmp .before ".$shown"
mount --rbind "$shown" ".$shown"; mount --rbind /proc proc; mount --rbind /sys sys; mount --rbind /dev dev
pivot_root . .before; cd /; umount -l /.before
mkdir -p "$shown/scratch"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root APPTAINER_TMPDIR="$shown/scratch"
exec "$@"
"""


class Apptainer:
    """A tree with Apptainer that sees one folder of this host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "sid"

    def make(self, *more: str) -> str:
        """Make the tree, with more packages of Debian; return why that fails, or an empty text."""
        if shutil.which("mmdebstrap") is None:
            return "needs mmdebstrap"
        said = subprocess.run(
            [REPOSITORY / "script" / "host-mirrors"], check=True, capture_output=True, text=True
        ).stdout
        mirror = re.findall(r"^export DIB_DEBIAN_DISTRIBUTION_MIRROR=(.*)$", said, re.MULTILINE)
        options = ["--variant=minbase", "--quiet", f"--include={','.join(('apptainer', 'squashfs-tools', *more))}"]
        options += ['--aptopt=Acquire::Check-Valid-Until "false"']  # a mirror may have stood still
        command = ["mmdebstrap", *options, "sid", str(self.root), *mirror]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return f"Debian sid cannot be had: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        for name in ("hosts", "resolv.conf"):
            (self.root / "etc" / name).write_text("127.0.0.1 localhost\n" if name == "hosts" else "")
        settings = self.root / "etc/apptainer/apptainer.conf"
        text = re.sub(r"(?m)^root default capabilities = .*", "root default capabilities = no", settings.read_text())
        settings.write_text(text)
        return ""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree, with this host's folder where it is here."""
        return subprocess.run(self.command(*words), capture_output=True, text=True)

    def command(self, *words: str) -> list[str]:
        """Return the command that does it."""
        shell = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter"]
        return [*shell, str(self.root), str(self.folder), *words]
