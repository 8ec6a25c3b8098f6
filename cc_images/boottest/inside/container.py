"""Start what is in an OCI archive or SIF file, ask it, and stop it; write down what became of it as JSON.

    container.py IMAGE TREE FOLDER RESULT

TREE is the image's tree, unpacked; FOLDER is made, and gets the cells; RESULT is the file to write. It runs as root in
a sandbox, whose network the container has. CC_IMAGES_TRIAL holds the order, a JSON object:

    words     for the entry point, or null: the image's own
    user, ports   of a SIF file, which says neither
    limit, grace, patience   seconds for the start, for the end after SIGTERM, for the script that asks
    asks      a script that the image's user runs, once the image listens, or in another start once it has ended
    heard     ports of which the facts shall tell whether something listens; true: and its first words
    starts    how often it is started
    volumes   that are mounted besides the image's own, empty, from the second start on
    folders   of which the facts shall tell whose they are, below the user's home

Each start is in a cell of its own (`cell.py`), and none changes the tree. Runs as a script with the standard library
only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.boottest.inside import accounts, cell, credentials, layers
    from cc_images.boottest.inside.started import Started, greeting, silent
    from cc_images.boottest.inside.unguarded import unguarded
else:  # a script has no package
    sys.path.insert(0, str(Path(__file__).parent))
    import accounts
    import cell
    import credentials
    import layers
    from started import Started, greeting, silent
    from unguarded import unguarded

Facts = dict[str, Any]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAUNCH = b"#!/usr/bin/env run"
BY_APPTAINER = ["/bin/sh", "-c", 'for f in /.singularity.d/env/*.sh; do [ -f "$f" ] && . "$f"; done; '
                'exec /.singularity.d/runscript "$@"', "runscript"]  # fmt: skip
"""How Apptainer runs an image: its variables, then its run script."""


def main(image: str, tree: str, folder: str, result: str) -> None:
    """Try the image and write down the facts."""
    order: Facts = json.loads(os.environ["CC_IMAGES_TRIAL"])
    kept = os.open(result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.makedirs(folder)
    with open(image, "rb") as file:
        is_sif = file.read(len(LAUNCH)) == LAUNCH
    said = of_sif(Path(tree), order) if is_sif else of_oci(Path(image))
    run = {"tree": tree, "folder": folder, "sif": is_sif, "said": said, **order}
    facts: Facts = {"configuration": said, "starts": tried(run)}
    os.write(kept, json.dumps(facts).encode("utf-8", "surrogateescape"))


def of_oci(image: Path) -> Facts:
    """Return how an OCI image is run, by our names."""
    said = layers.configuration(image).get("config") or {}
    variables = dict(each.partition("=")[::2] for each in said.get("Env") or [])
    return {
        "user": said.get("User") or "",
        "folder": said.get("WorkingDir") or "",
        "entrypoint": said.get("Entrypoint") or [],
        "command": said.get("Cmd") or [],
        "environment": variables,
        "labels": said.get("Labels") or {},
        "ports": sorted(each if "/" in each else f"{each}/tcp" for each in said.get("ExposedPorts") or {}),
        "volumes": sorted(said.get("Volumes") or {}),
    }


def of_sif(place: Path, order: Facts) -> Facts:
    """Return how a SIF file is run: by its run script, as whoever calls it."""
    inside = place / ".singularity.d"
    labels: Facts = {}
    if (inside / "labels.json").is_file() and not (inside / "labels.json").is_symlink():
        labels = json.loads((inside / "labels.json").read_text())
    entry = BY_APPTAINER if os.path.lexists(inside / "runscript") else []
    said: Facts = {"user": order["user"], "folder": "/", "entrypoint": entry, "command": []}
    return said | {"environment": {}, "labels": labels, "ports": order["ports"], "volumes": []}


def tried(run: Facts) -> list[Facts]:
    """Start the image as often as the order says, and ask it what it says; return the facts of each start."""
    said = run["said"]
    words = run["words"] if run["words"] is not None else said["command"]
    argv = [*said["entrypoint"], *words]
    found: list[Facts] = []
    for number in range(run["starts"]):
        asks = run["asks"] if number == 0 else ""
        found.append(apart(run, number, argv, asks))
        if found[-1].get("trouble") or not well(found[-1]):
            return found
    if run["asks"] and "answers" not in found[0]:  # it is over, so another one is asked
        asked = apart(run, len(found), ["/bin/sh", "-s"], run["asks"], asking=True)
        found[0] |= {"answers": asked.get("answers", ""), "unasked": asked.get("trouble", "")}
    return found


def well(start: Facts) -> bool:
    """Say whether a start ended with 0, or listens; without words there was none."""
    return not start["argv"] or start["code"] == 0 or bool(start["listens"])


def apart(run: Facts, number: int, argv: list[str], asks: str, asking: bool = False) -> Facts:
    """Start the image once, in a process that becomes the holder of its cell; return the facts.

    `asking`: the words are those of a shell that gets the script `asks`.
    """
    told, tell = os.pipe()
    holder = os.fork()
    if holder == 0:
        facts: Facts = {"argv": argv, "code": None, "listens": False, "output": ""}
        try:
            facts |= held(run, number, argv, asks, asking)
        except OSError as error:
            facts["trouble"] = error.strerror or str(error)
        except BaseException as error:  # noqa: BLE001 - the image's author decides what is in it
            facts["trouble"] = f"it cannot be tried: {type(error).__name__}: {error}"
        with os.fdopen(tell, "wb") as file:
            file.write(json.dumps(facts).encode("utf-8", "surrogateescape"))
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as file:
        raw = file.read()
    os.waitpid(holder, 0)
    found: Facts = json.loads(raw)
    return found


def held(run: Facts, number: int, argv: list[str], asks: str, asking: bool) -> Facts:
    """Hold a cell while the image runs in it; return the facts."""
    said, folder = run["said"], f"{run['folder']}/start-{number}"
    os.mkdir(folder)
    mounted = sorted({*said["volumes"], *run["volumes"]}) if number and not asking else []
    cell.enter(run["tree"], folder, mounted, run["sif"])
    user = accounts.account(said["user"])
    variables = {"PATH": PATH, "HOME": user["home"] or "/", "HOSTNAME": "container", **said["environment"]}
    place = said["folder"] or "/"
    facts: Facts = {"user": user, "sudo": accounts.sudo(user), "before": accounts.password(user), "mounted": mounted}
    facts["home_is"] = os.path.realpath(user["home"]) if user["home"] else ""
    facts["folder_is"] = os.path.realpath(place)
    secrets = {"before": credentials.digests(user["home"], said["environment"], running=False)}
    facts["script"] = script(said["entrypoint"], variables["PATH"])
    if argv:
        first = Started(argv, user, place, variables, text=asks if asking else "", first=True)
        if asking:
            return facts | {"answers": first.answers(run["patience"])}
        facts |= first.watched(said["ports"], run["limit"])
        if facts["listens"]:
            deaf = silent([*run["heard"]])
            facts["heard"] = {
                port: greeting(port) if greets else "" for port, greets in run["heard"].items() if port not in deaf
            }
        if facts["listens"] and run["starts"] > 1 and number == 0:  # somebody has a contract
            facts["open"] = unguarded(said["ports"])
        if facts["listens"] and asks:
            asker = Started(["/bin/sh", "-s"], user, place, variables, text=asks)
            facts["answers"] = asker.answers(run["patience"], first)
        secrets["after"] = credentials.digests(user["home"], said["environment"], running=True)
        facts["credentials"] = secrets
        facts |= first.ended(run["grace"]) | {"grace": run["grace"]}
    return facts | after(run, user)


def script(entrypoint: list[str], path: str) -> str:
    """Return the text of the entry point, if it is a shell's script; else nothing."""
    name = entrypoint[0] if entrypoint else ""
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in path.split(":")]
    for each in places if name else []:
        if os.path.isfile(each):
            found = accounts.lines(each)
            return "\n".join(found) if found and found[0].startswith("#!") and "sh" in found[0] else ""
    return ""


def after(run: Facts, user: Facts) -> Facts:
    """Return what the container has now."""
    home = user["home"].rstrip("/")
    found = accounts.owned([f"{home}/{each}" for each in run["folders"]])
    return {"after": accounts.password(user), "folders": {each.rpartition("/")[2]: who for each, who in found.items()}}


if __name__ == "__main__":
    main(*sys.argv[1:5])
