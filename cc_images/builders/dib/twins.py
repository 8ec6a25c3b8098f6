"""Native twins: a release's programs for this host, which stand in for those of an image of another architecture.

Decides what they are made from; `toolbox/twins/make.py` makes them in a sandbox, and says how they work. They are kept
in the store as a layer. Their output equals that of the image's own programs, so they are in no image's key: but
for the list of programs and the interpreter, whose files are (`digest`).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cc_images.builders.dib import toolbox_parts
from cc_images.builders.dib.build_log import cause_of
from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment as environment_of_host
from cc_images.host import process
from cc_images.host.root import TOOLBOX, outside
from cc_images.host.sandbox import Sandbox
from cc_images.host.user_emulation import TWINS_ON, USER_EMULATORS
from cc_images.model.catalog import Arch
from cc_images.model.redaction import without_secrets

FILES = TOOLBOX / "twins"

_ARCH = re.compile(r"\barch=[a-z0-9,]+")
_KEYRING = re.compile(r"--keyring=(\S+)")

SWITCH = "CC_IMAGES_TWINS"
"""The variable of the user's that forbids twins, with the value `no`."""

TIMEOUT = 30
"""Minutes that making them may take: a download and an unpacking."""

SHOWN = 40
"""Programs without a twin that a build's log names, the most frequent first."""

SCRATCH = 1
"""GiB that making them takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The inputs of twins: a distribution's release, apt's sources for it, and options of mmdebstrap."""

    distro: str
    suite: str
    sources: tuple[str, ...]
    options: str = ""

    @property
    def tag(self) -> str:
        """How the twins are called in plans and in the store."""
        return f"{self.distro}-{self.suite}"

    def as_environment(self) -> dict[str, str]:
        """Return what says all this, in dib's variables."""
        return {
            "DISTRO_NAME": self.distro,
            "DIB_RELEASE": self.suite,
            "DIB_APT_SOURCES_CONF": "\n".join(self.sources),
            "DIB_MMDEBSTRAP_EXTRA_ARGS": self.options,
        }


def release(variables: Mapping[str, str]) -> Release | None:
    """Return the release that an image's elements bootstrap, by their variables; None for one that has no twins.

    The sources are those that dib's debian-minimal and ubuntu-minimal write (root.d/75-…-baseinstall).
    """
    suite, mirror = variables["DIB_RELEASE"], variables["DIB_DISTRIBUTION_MIRROR"]
    components = variables["DIB_DEBIAN_COMPONENTS"].replace(",", " ")
    if not (suite and mirror):
        return None
    match variables["DISTRO_NAME"]:
        case "debian":
            lines = variables["DIB_APT_SOURCES_CONF"].splitlines()
            # a line for one architecture is for the image's
            sources = [_ARCH.sub(f"arch={TWINS_ON}", line.partition(":")[2]) for line in lines if ":deb" in line]
        case "ubuntu":
            pockets = [name for name in variables["DIB_UBUNTU_MIRROR_DISTS"].split(",") if name]
            sources = [
                f"deb {mirror} {each} {components}" for each in (suite, *(f"{suite}-{name}" for name in pockets))
            ]
        case _:
            return None
    return Release(
        distro=variables["DISTRO_NAME"],
        suite=suite,
        sources=tuple(sources),
        options=" ".join(_options(variables)),
    )


def _options(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield what dib's element debootstrap tells mmdebstrap (root.d/08-debootstrap)."""
    if keyring := variables["DIB_APT_KEYRING"] or variables["DIB_DEBIAN_KEYRING"]:
        yield f"--keyring={keyring}"
    if "--no-check-gpg" in variables["DIB_DEBOOTSTRAP_EXTRA_ARGS"]:
        yield "--skip=check/signed-by"
    yield variables["DIB_MMDEBSTRAP_EXTRA_ARGS"]


VARIABLES = (
    "DISTRO_NAME",
    "DIB_RELEASE",
    "DIB_DISTRIBUTION_MIRROR",
    "DIB_DEBIAN_COMPONENTS",
    "DIB_APT_SOURCES_CONF",
    "DIB_UBUNTU_MIRROR_DISTS",
    "DIB_MMDEBSTRAP_EXTRA_ARGS",
    "DIB_APT_KEYRING",
    "DIB_DEBIAN_KEYRING",
    "DIB_DEBOOTSTRAP_EXTRA_ARGS",
)
"""The variables that `release` reads, as they would be in a build for TWINS_ON."""


def keyring_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the keyrings of this host that a release's options name."""
    named = map(Path, _KEYRING.findall(environment["DIB_MMDEBSTRAP_EXTRA_ARGS"]))
    return [path for path in named if path.exists()]


def is_keyring(name: str) -> bool:
    """Say whether an artifact is a package with the keys that a distribution's repositories are signed with."""
    return re.fullmatch(r"[a-z0-9+.-]+-keyring_[^/]*\.deb", name) is not None


def wanted() -> bool:
    """Say whether the user allows twins."""
    return environment_of_host.variable(SWITCH).lower() not in ("no", "0", "false", "off")


def digest() -> str:
    """Return what identifies all that makes and starts twins: the list of programs above all."""
    return toolbox_parts.identity_of_twins()


def make(
    arch: Arch,
    environment: Mapping[str, str],
    keyrings: list[str],
    sandbox: Sandbox,
    *,
    network: Mapping[str, str],
    log: BinaryIO,
    stop: threading.Event,
) -> Path:
    """Make the twins of a release's programs for `arch` in `sandbox`; return the file, a zstd tar.

    `environment` is what `Release.as_environment` returned. Raises CCImagesError.
    """
    emulator = USER_EMULATORS[arch].path
    assert emulator is not None, "the host was found able to run these programs"
    order = {
        "suite": environment["DIB_RELEASE"],
        "sources": environment["DIB_APT_SOURCES_CONF"].splitlines(),
        "options": environment["DIB_MMDEBSTRAP_EXTRA_ARGS"],
        "keyrings": keyrings,
        "arch": arch.value,
        "machine": arch.machine,
        "emulator": str(emulator),
        "cores": sandbox.cores,
        "work": str(sandbox.place(sandbox.scratch) / "twins"),
        "out": str(sandbox.place(sandbox.out)),
    }
    sandbox.out.mkdir(parents=True, exist_ok=True)
    note = sandbox.workspace / "order.json"
    note.touch(mode=0o600)
    note.write_text(json.dumps(order))
    try:
        sandbox.run(
            [sys.executable, "-I", str(sandbox.place(FILES) / "make.py"), str(sandbox.place(note))],
            network,
            log=log,
            timeout=TIMEOUT * 60.0,
            stop=stop,
            on_line=lambda line: None,
        )
    except process.CommandFailed as error:
        tail = tuple(map(without_secrets, error.tail))
        cause, hint = cause_of(tail)
        called = f"{environment['DISTRO_NAME']} {environment['DIB_RELEASE']}"
        raise CCImagesError(
            f"the programs of {called} for {TWINS_ON} cannot be had as twins: "
            f"{cause or without_secrets(error.message)}",
            hint=f"{hint or 'read the log'}; {SWITCH}=no builds by plain emulation, much slower",
            reason=Reason.TWINS,
            tail=tail,
        ) from error
    finally:
        note.unlink(missing_ok=True)
    return sandbox.out / "disk.tar"


def unpack(file: Path, folder: Path) -> Path:
    """Unpack twins into a folder, in which builds see them; return their interpreter."""
    unpack_into(file, folder)
    log = folder / "log"
    log.touch()
    log.chmod(0o666)  # programs note their start in it, as any user
    return folder / "interpreter"


def unpack_into(file: Path, folder: Path) -> None:
    """Unpack programs that are kept as a layer into a folder, in which builds see them."""
    folder.mkdir(parents=True)
    tar = shutil.which("tar") or "tar"
    process.run(
        [tar, "--zstd", "--no-same-owner", "--same-permissions", "-C", str(folder), "-xf", str(file)], env=outside()
    )
    folder.chmod(0o755)


def started(folder: Path) -> str:
    """Return what builds with these twins have started, in words: how many native, and the most frequent others."""
    lines = [without_secrets(line) for line in (folder / "log").read_text(errors="replace").splitlines()]
    kinds = Counter(line.partition(" ")[0] for line in lines)
    others = Counter(line for line in lines if not line.startswith("native "))
    shown = "".join(f"{count:6} {line}\n" for line, count in others.most_common(SHOWN))
    return f"programs started: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}\n{shown}"
