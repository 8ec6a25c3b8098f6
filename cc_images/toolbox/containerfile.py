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
APT::Update::Post-Invoke-Success {{ "{NOTES}/note || true"; "{NOTES}/offer || true"; }};
DPkg::Pre-Invoke {{ "{NOTES}/keep || true"; }};
Dir::Cache::archives "{NOTES}/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "{NOTES}/log";
"""
"""What apt reads is noted; packages, caches of indices and its logs are in no layer.

Packages that earlier builds have downloaded are offered, and those that this one downloads are kept, whatever
`apt-get clean` removes.
"""

NOTE = f"""\
#!/bin/sh
cat /etc/apt/sources.list /etc/apt/sources.list.d/* >> {NOTES}/apt-sources 2> /dev/null
cd /var/lib/apt/lists || exit 0
for each in *Release; do
    [ -f "$each" ] && sha256sum "./$each" >> {NOTES}/apt-lists
done
exit 0
"""


OFFER = f"""\
#!/bin/sh
# apt takes a package in its cache by name and size: it gets those alone that the indices list, which it has verified
set -eu
cd {NOTES}/offered && [ -x /usr/lib/apt/apt-helper ] || exit 0
work=$(mktemp -d)
apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' | while read -r index; do
    [ ! -e "$index" ] || /usr/lib/apt/apt-helper cat-file "$index"
done | sed -n 's/^SHA256: //p' | sort -u > "$work/known"
dpkg-query -W -f '${{Package}}_${{Version}}_${{Architecture}}.deb\\n' | sed 's/:/%3a/' | sort > "$work/installed"
ls | grep '\\.deb$' | sort | comm -23 - "$work/installed" | xargs -r sha256sum | sort > "$work/there"
join "$work/known" "$work/there" | cut -d ' ' -f 2- | while read -r package; do
    [ -e "{NOTES}/archives/$package" ] || cp -p "$package" {NOTES}/archives/
done
rm -r "$work"
"""

KEEP = f"""\
#!/bin/sh
for each in {NOTES}/archives/*.deb; do
    [ ! -f "$each" ] || ln -f "$each" {NOTES}/kept/
done
"""

PACKAGES = "apt/containers"
"""The folder of packages in the cache of downloads, as `downloads.py` knows them."""


def main(words: list[str]) -> int:
    """Build as ordered; return buildah's exit code."""
    order: dict[str, Any] = json.loads(Path(words[0]).read_text())
    home, out = Path(os.environ["HOME"]), Path(order["out"])
    configure(home)
    notes = home / "notes"
    for name in ("archives/partial", "kept", "log", "offered"):
        (notes / name).mkdir(parents=True)
    (notes / "apt.conf").write_text(APT)
    for name, text in (("note", NOTE), ("offer", OFFER), ("keep", KEEP)):
        (notes / name).write_text(text)
        (notes / name).chmod(0o755)
    for name, archive in order["images"].items():
        identity = said("buildah", "pull", "--quiet", f"oci-archive:{archive}")
        said("buildah", "tag", identity.split()[-1], name)
    secrets = []
    for name in order["secrets"]:
        file = home / f"secret.{name}"
        file.touch(mode=0o600)
        file.write_text(os.environ.pop(f"CC_IMAGES_SECRET_{name}"))
        secrets += ["--secret", f"id={name},src={file}"]
    offered = Path(os.environ["CC_IMAGES_OFFERED"] or "/nowhere", Path(PACKAGES).name)
    volumes = ["--volume", f"{notes}:{NOTES}:rw"]
    volumes += ["--volume", f"{offered}:{NOTES}/offered:ro"] if offered.is_dir() else []
    argv = [*order["argv"], *secrets, *volumes, order["context"]]
    code = subprocess.run(argv, check=False).returncode
    if code:
        return code
    said("buildah", "push", "--quiet", "--disable-compression", order["name"], f"dir:{out / 'image'}")
    for name in ("apt-sources", "apt-lists"):
        if (notes / name).exists():
            shutil.copyfile(notes / name, out / name)
    keep(notes / "kept", offered, Path(os.environ["DIB_IMAGE_CACHE"], PACKAGES))
    return 0


def keep(kept: Path, offered: Path, cache: Path) -> None:
    """Move the packages that were downloaded to the cache; those that were offered are there already."""
    for each in kept.iterdir():
        is_plain = each.is_file() and not each.is_symlink()
        if is_plain and not (offered / each.name).exists():
            cache.mkdir(parents=True, exist_ok=True)
            shutil.move(each, cache / each.name)


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
