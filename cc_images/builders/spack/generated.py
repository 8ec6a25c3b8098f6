"""The files that a build by Spack gets: two Containerfiles, their scripts, and how the image starts. Pure.

A lock is made by `LOCK_FILE`. An image has two install trees on its way: packages are compiled in one whose path is
padded, so that the build cache's fit any other place, and come from the cache into one whose path is short.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from cc_images.builders.spack.environment import SOFTWARE, VIEW
from cc_images.model.catalog import Json
from cc_images.model.container import PATH

FOLDER = "/opt/spack-environment"
"""Where the environment is, in the builder image and in the result."""

WORK = "/opt/cc-images"
"""Where the builder image has the scripts and Spack's configuration of a build."""

SCOPE, LATER = f"{WORK}/scope", f"{WORK}/later"
"""Spack's configuration while packages are compiled, and while all come from the cache."""

CACHE, ARRIVED, DROP, MADE = (f"/run/cc-images/{name}" for name in ("packages", "arrived", "drop", "made"))
"""Folders that are shown: the signed build cache, the same once more, where new packages are put, and notes.

The kernel may remember that a shown folder lacks a file, so what has arrived in it since is looked for in another one.
"""

PATIENCE = 300
"""Tenths of a second in which the last new packages go from the drop folder into the cache."""

PADDED = 128
"""The length of paths in the install tree in which packages are compiled."""

APART = f"{SOFTWARE.lstrip('/')}/*-*/*-*"
"""Folders that are layers of their own, shared by all images that have them: packages below platform and target."""

LOCK = "spack.lock"
CONFIGURATION = "spack.yaml"
EPILOGUE = "Containerfile.epilogue"
VARIABLES = "variables.json"

OURS = "cc-images-spack"
"""The folder of a context that has what is written for the build; all else is the user's."""


def lock_files(manifest: str, builder: str, target: str, *, previous: bool) -> dict[str, str]:
    """Return the texts of a concretization by their names in the context.

    `manifest` is the spack.yaml; `target` is required of every package, if there is one; `previous`: there is a lock in
    the folder of that name, which is kept to as far as the specs allow.
    """
    sources = [{"type": "environment", "path": f"{WORK}/previous"}]
    files = {
        f"{OURS}/environment/{CONFIGURATION}": manifest,
        f"{OURS}/tools/target.py": TARGET_SCRIPT,
        f"{OURS}/tools/scope/readme": "The configuration of this build.\n",
        f"{OURS}/tools/concretize": _script(
            *([f"spack -e {FOLDER} python {WORK}/target.py {shlex.quote(target)} {SCOPE}"] if target else []),
            f"spack -C {SCOPE} -e {FOLDER} concretize",
            f"test -s {FOLDER}/{LOCK}",
        ),
        "Containerfile": _lines(
            *_begun(builder),
            f"RUN sh {WORK}/concretize",
            "FROM scratch",
            f"COPY --from=builder {FOLDER}/{LOCK} /{LOCK}",
        ),
    }
    if previous:
        files[f"{OURS}/tools/scope/concretizer.yaml"] = _json({"concretizer": {"reuse": {"from": sources}}})
    return files


def previous_files(lock: str, specs: Sequence[str]) -> dict[str, str]:
    """Return the texts of an environment that has a lock of these specs, from which a concretization takes packages."""
    folder = f"{OURS}/tools/previous"
    return {f"{folder}/{LOCK}": lock, f"{folder}/{CONFIGURATION}": _json({"spack": {"specs": [*specs], "view": False}})}


def image_file(builder: str, runtime: str, epilogue: str) -> str:
    """Return the Containerfile of an image, which ends with the user's own lines."""
    views = VIEW.rpartition("/")[0]
    return _lines(
        *_begun(builder),
        f"RUN sh {WORK}/install",
        f"FROM {runtime}",
        f"COPY --from=builder {SOFTWARE} {SOFTWARE}",
        f"COPY --from=builder {views} {views}",
        f"COPY --from=builder {WORK}/result/ /",
        f"ENV PATH={VIEW}/bin:${{PATH:-{PATH}}}",
        f"ENTRYPOINT {json.dumps([f'{FOLDER}/enter'])}",
        'CMD ["/bin/bash"]',
        epilogue,
    )


def image_files(manifest: str, lock: str, *, key: str, compiles: bool, jobs: int) -> dict[str, str]:
    """Return the texts of an image's build by their names in the context, without its Containerfile.

    `key` is the public key of the build cache, `compiles` says that packages are missing in it, `jobs` how many
    processes may compile at a time.
    """
    spack = f"spack -C {LATER} -e {FOLDER}"
    padded = f"-c config:install_tree:root:{WORK}/packages -c config:install_tree:padded_length:{PADDED}"
    install = f"install --fail-fast --jobs {jobs}"
    result = f"{WORK}/result"
    return {
        f"{OURS}/environment/{CONFIGURATION}": manifest,
        f"{OURS}/environment/{LOCK}": lock,
        f"{OURS}/tools/scope/mirrors.yaml": _json({"mirrors": _mirrors(CACHE, signed=bool(key))}),
        f"{OURS}/tools/later/mirrors.yaml": _json({"mirrors": _mirrors(ARRIVED, signed=bool(key))}),
        f"{OURS}/tools/key.asc": key,
        f"{OURS}/tools/finish.py": FINISH_SCRIPT,
        f"{OURS}/tools/install": _script(
            *([f"spack gpg trust {WORK}/key.asc"] if key else []),
            *([f"spack -C {SCOPE} {padded} -e {FOLDER} {install}", *_settled()] if compiles else []),
            f"{spack} {install} --use-buildcache only",
            f"{spack} gc --yes-to-all",
            f"{spack} python {WORK}/finish.py {SOFTWARE} {MADE}/{VARIABLES} {result}{FOLDER} {BEFORE}",
            f"rm -rf {SOFTWARE}/.spack-db",  # has times and random numbers; `spack reindex` makes it again
            f"find {SOFTWARE} -path '*/.spack/install_times.json' -delete",
            f"cp {FOLDER}/{CONFIGURATION} {FOLDER}/{LOCK} {WORK}/enter {result}{FOLDER}/",
            f"chmod 755 {result}{FOLDER}/enter",
            f"mkdir -p {result}/etc/profile.d",
            f"echo '. {FOLDER}/activate.sh' > {result}/etc/profile.d/spack-environment.sh",
        ),
        f"{OURS}/tools/enter": f'#!/bin/sh\n. {FOLDER}/activate.sh\nexec "$@"\n',
    }


def variables(noted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Return an image's variables with those of the environment, of which `finish.py` has noted how each is made.

    Engines that start no entry point have them from the image's configuration.
    """
    found = dict(present)
    for name, value in sorted(noted.items()):
        first, sign, last = value.partition(BEFORE)
        there = present.get(name, PATH if name == "PATH" else "")
        known = there.split(":") if there else [""] if name == "MANPATH" else []  # an empty part: man's own folders
        before, after = ([each for each in part.split(":") if each and each not in known] for part in (first, last))
        found[name] = ":".join([*before, *known, *after]) if sign else value
    return found


BEFORE = "@before@"
"""Stands for the value that a variable had."""


def _settled() -> tuple[str, ...]:
    """Return lines that wait until no new package is in the drop folder, and clear what the first tree has left."""
    there = f"find {DROP} -name '*.spec.manifest.json' | grep -q ."
    wait = f"left={PATIENCE}; while [ $left -gt 0 ] && {there}; do sleep 0.1; left=$((left - 1)); done"
    return wait, f"rm -rf {VIEW.rpartition('/')[0]}"


def _mirrors(place: str, *, signed: bool) -> Json:
    drop = {"url": f"file://{DROP}", "source": False, "binary": True, "autopush": True, "signed": False}
    cache = {"url": f"file://{place}", "source": False, "binary": True, "signed": signed}
    return {"cc-images-drop": drop, "cc-images": cache}  # what is taken out of the one is in the other by then


def _begun(builder: str) -> tuple[str, ...]:
    copies = (f"COPY . {FOLDER}", f"COPY {OURS}/environment {FOLDER}", f"COPY {OURS}/tools {WORK}")
    return (f"FROM {builder} AS builder", "USER 0", *copies)


def _lines(*lines: str) -> str:
    return "\n".join([*lines, ""])


def _script(*lines: str) -> str:
    return "\n".join(["set -eu", *lines, ""])


def _json(plain: Json) -> str:
    return json.dumps(plain, indent=1) + "\n"


TARGET_SCRIPT = """\
# Requires a target of packages that have requirements in the configuration of this Spack: these replace those of all.
import json
import sys

import spack.config
import spack.repo

target, scope = f"target={sys.argv[1]}", sys.argv[2]
found = {}
for name, said in spack.config.get("packages").items():
    required = said.get("require") if isinstance(said, dict) else None
    if name == "all" or not required or target in json.dumps(required) or spack.repo.PATH.is_virtual(name):
        continue
    required = [required] if isinstance(required, str) else list(required)
    found[name] = {"require:": [*required, target]}
with open(f"{scope}/packages.yaml", "w") as file:
    json.dump({"packages": found}, file)
"""

FINISH_SCRIPT = """\
# Strips programs and libraries, and writes how the environment is activated: activate.sh, and a note for cc-images.
import json
import os
import re
import shlex
import subprocess
import sys

import spack.environment
from spack.environment import shell

tree, note, result, before = sys.argv[1:]
files = []
for folder, _, names in os.walk(tree):
    for path in (os.path.join(folder, name) for name in names):
        if not os.path.islink(path) and os.stat(path).st_size > 20:
            with open(path, "rb") as file:
                start = file.read(20)
            if start[:4] == b"\\x7fELF" and (start[16] in (2, 3) or start[17] in (2, 3)):
                files.append(path)
for start in range(0, len(files), 100):
    subprocess.run(["strip", "--strip-unneeded", *files[start : start + 100]], check=False)

modifications = shell.activate(spack.environment.active_environment())
found = dict.fromkeys(modifications.group_by_name(), before)
modifications.apply_modifications(found)
kept = {name: value for name, value in sorted(found.items()) if value != before and not re.match("SPACK_", name)}
lines = []
for name, value in kept.items():
    first, sign, last = value.partition(before)
    if not sign:
        lines.append("export " + name + "=" + shlex.quote(value) + "\\n")
        continue
    first, last = first.rstrip(":"), last.lstrip(":")
    old = ":$" + name if name == "MANPATH" else "${" + name + ":+:$" + name + "}"  # an empty part: man's own folders
    if not first:
        old = "${" + name + ":+$" + name + ":}"
    new = shlex.quote(first) + '"' + old + '"' + (shlex.quote((first and ":") + last) if last else "")
    whole = shlex.quote(":" + (first or last) + ":")
    lines.append(name + '="${' + name + '-}"; export ' + name + "\\n")
    lines.append('case ":$' + name + ':" in *' + whole + "*) ;; *) " + name + "=" + new + " ;; esac\\n")
os.makedirs(result, exist_ok=True)
with open(os.path.join(result, "activate.sh"), "w") as file:
    file.writelines(lines)
with open(note, "w") as file:
    json.dump(kept, file)
"""
