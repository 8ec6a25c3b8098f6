"""One build by buildah in the sandbox: run with a JSON order, in a world that goes with the sandbox.

    containerfile.py ORDER

Its storage, its configuration and the secrets lie in the scratch folder. What it starts from is loaded from archives,
and nothing is pulled. The result is left in `out/image` with layers that are not compressed. Runs as a script with the
standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

NOTES = "/run/cc-images"
"""Where the build's commands see `apt.conf`, and leave what apt has read."""

APT = f"""\
APT::Update::Post-Invoke-Success {{ "{NOTES}/note || true"; }};
Dir::Cache::archives "{NOTES}/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "{NOTES}/log";
"""
"""What apt reads is noted; packages, caches of indices and its logs are in no layer."""

NOTE = f"""\
#!/bin/sh
cat /etc/apt/sources.list /etc/apt/sources.list.d/* >> {NOTES}/apt-sources 2> /dev/null
cd /var/lib/apt/lists || exit 0
for each in *Release; do
    [ -f "$each" ] && sha256sum "./$each" >> {NOTES}/apt-lists
done
exit 0
"""


def main(words: list[str]) -> int:
    """Build as ordered; return buildah's exit code."""
    order: dict[str, Any] = json.loads(Path(words[0]).read_text())
    home, out = Path(os.environ["HOME"]), Path(order["out"])
    configure(home)
    notes = home / "notes"
    for name in ("archives/partial", "log"):
        (notes / name).mkdir(parents=True)
    (notes / "apt.conf").write_text(APT)
    (notes / "note").write_text(NOTE)
    (notes / "note").chmod(0o755)
    for name, archive in order["images"].items():
        identity = said("buildah", "pull", "--quiet", f"oci-archive:{archive}")
        said("buildah", "tag", identity.split()[-1], name)
    secrets = []
    for name in order["secrets"]:
        file = home / f"secret.{name}"
        file.touch(mode=0o600)
        file.write_text(os.environ.pop(f"CC_IMAGES_SECRET_{name}"))
        secrets += ["--secret", f"id={name},src={file}"]
    argv = [*order["argv"], *secrets, "--volume", f"{notes}:{NOTES}:rw", order["context"]]
    code = subprocess.run(argv, check=False).returncode
    if code:
        return code
    said("buildah", "push", "--quiet", "--disable-compression", order["name"], f"dir:{out / 'image'}")
    for name in ("apt-sources", "apt-lists"):
        if (notes / name).exists():
            shutil.copyfile(notes / name, out / name)
    return 0


def configure(home: Path) -> None:
    """Write the configuration of containers' storage and of what may be loaded, and make programs read it."""
    storage = home / "storage.conf"
    places = f'runroot = "{home}/run"\ngraphroot = "{home}/storage"\n'
    storage.write_text(f'[storage]\ndriver = "{driver(home)}"\n{places}')
    policy = home / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    os.environ.update(CONTAINERS_STORAGE_CONF=str(storage), BUILDAH_ISOLATION="chroot", XDG_RUNTIME_DIR="/tmp")


def driver(home: Path) -> str:
    """Return the storage driver that works here: layers above each other where the kernel has overlayfs."""
    below, above, work, seen = (home / "probe" / name for name in ("below", "above", "work", "seen"))
    for folder in (below, above, work, seen):
        folder.mkdir(parents=True)
    options = f"lowerdir={below},upperdir={above},workdir={work}"
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(seen)], check=False, capture_output=True
    )
    if done.returncode:
        return "vfs"
    subprocess.run(["umount", str(seen)], check=True)
    return "overlay"


def said(*argv: str) -> str:
    """Return what a command prints; its errors go to the log. Raises SystemExit with its code."""
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
