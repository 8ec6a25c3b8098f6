"""The scripts of Spack builds as a container runs them, on this host and below a folder: by a real Spack or a stand-in.

What is made around them is that of a build: the drop folder, the store's build cache, the errors. No buildah, no root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.spack import generated
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.environment import Additions, Environment, environment
from cc_images.builders.spack.errors import clear_errors
from cc_images.builders.spack.folder import write
from cc_images.builders.spack.lock import read
from cc_images.errors import CCImagesError, Reason
from cc_images.host.process import CommandFailed, Output, TimedOut, run
from cc_images.model.catalog import Arch
from tests.conftest import REPOSITORY, clean_environment
from tests.support import spackbed, standin_spack

TARGET = "x86_64_v3"

_PLACE = re.compile(r"(?<!\w)(?=/opt/|/run/cc-images/)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpackHost:
    """A Spack, and a folder that has a container's files, a store and a key."""

    folder: Path
    environment: Mapping[str, str]
    patience: int = generated.PATIENCE
    """Tenths of a second for which the script waits until the drop folder is empty."""
    beside: Path | None = None
    """The folder of another host whose store and key are ours."""

    def path(self, place: str) -> Path:
        """Return where a path of the container is."""
        return self.folder / "container" / place.lstrip("/")

    @property
    def caches(self) -> Caches:
        """The store's build cache as a run of its own sees it."""
        shared = self.beside or self.folder
        return Caches((), shared / "store", shared / "key")

    def spack(self, *words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Give a command to Spack, with its paths below the folder; its messages are all in `stdout`.

        `before` is a command that runs it.
        """
        with self._agent_ends():
            argv = [*before, "spack", *map(self._here, words)]
            return subprocess.run(
                argv, env=self.environment, text=True, errors="replace", timeout=300, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def locked(self, *specs: str) -> str:
        """Concretize in a new container; return the lock. Raises CCImagesError as a build does."""
        return self.concretized(_environment(specs))

    def concretized(self, wanted: Environment, files: Mapping[str, str] | None = None) -> str:
        """Do the same with an environment and further files of its folder."""
        texts = generated.lock_files(wanted.text, "tool", wanted.target, previous=False)
        self._begin(texts | {f"{generated.OURS}/environment/{name}": text for name, text in (files or {}).items()})
        self.carried_out("concretize")
        return self.path(f"{generated.FOLDER}/{generated.LOCK}").read_text(errors="replace")

    def built(
        self, lock: str, *specs: str, timeout: float = 300.0, told: list[str] | None = None
    ) -> tuple[list[str], list[str]]:
        """Build in a new container by a lock; return the names of the packages that were compiled, and what was told.

        Raises CCImagesError as a build does.
        """
        caches, packages, log = self.caches, read(lock).to_build, self.folder / "log"
        told = [] if told is None else told
        missing = {each.hash for each in packages} - caches.known(packages)
        texts = generated.image_files(
            _environment(specs).text, lock, key=caches.public_key, compiles=bool(read(lock).installed & missing), jobs=2
        )
        self._begin(texts, caches.folder)
        with caches.wanted(packages, threading.Event()), caches.publishing(
            self.path(generated.DROP), packages, told.append
        ):  # fmt: skip
            self.carried_out("install", timeout)
        return re.findall(r"==> (\S+): Executing phase: 'install'", log.read_text(errors="replace")), told

    def prepare(self, lock: str, *specs: str) -> None:
        """Make a new container with what a build's scripts have but a build cache, and run none."""
        self._begin(generated.image_files(_environment(specs).text, lock, key="", compiles=True, jobs=2))

    def _begin(self, texts: Mapping[str, str], cache: Path | None = None) -> None:
        """Make a new container: the files of a build in their places, and its shown folders."""
        shutil.rmtree(self.folder / "container", ignore_errors=True)
        for name, text in texts.items():
            for part, place in (("environment", generated.FOLDER), ("tools", generated.WORK)):
                if name.startswith(f"{generated.OURS}/{part}/"):
                    file = name.removeprefix(f"{generated.OURS}/{part}/")
                    write(self.path(place), {file: text if file == "key.asc" else self._here(text)})
        for each in (generated.DROP, generated.MADE):
            self.path(each).mkdir(parents=True)
        for each in (generated.CACHE, generated.ARRIVED) if cache else ():
            self.path(each).symlink_to(cache)  # type: ignore[arg-type]

    def _here(self, text: str) -> str:
        waits = (f"left={generated.PATIENCE};", f"left={self.patience};")
        return _PLACE.sub(str(self.folder / "container"), text).replace(*waits)

    def carried_out(self, script: str, timeout: float = 300.0) -> None:
        """Run a script of the container. Raises CCImagesError as a build does."""
        words = ["sh", str(self.path(f"{generated.WORK}/{script}"))]
        with self._agent_ends(), clear_errors(), (self.folder / "log").open("wb") as log:
            try:
                run(words, env=self.environment, timeout=timeout, output=Output(log=log))
            except TimedOut:
                raise
            except CommandFailed as error:  # as that of buildah is one of a build
                raise CCImagesError(error.message, reason=Reason.COMMAND) from error

    @contextmanager
    def _agent_ends(self) -> Iterator[None]:
        """End the agent that Spack's gpg starts."""
        try:
            yield
        finally:
            home = self.environment["SPACK_GNUPGHOME"]
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False)


def _environment(specs: tuple[str, ...]) -> Environment:
    return environment({"specs": [*specs]}, Arch.AMD64, Additions(target=TARGET))


def with_standin(folder: Path, *, patience: int = 20) -> SpackHost:
    """Return a host whose Spack is the stand-in."""
    program = folder / "bin" / "spack"
    write(
        folder,
        {"bin/spack": f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m {standin_spack.__name__} "$@"\n'},
    )
    program.chmod(0o755)
    (folder / "gpg").mkdir(mode=0o700)
    own = clean_environment(folder)
    own |= {"PATH": f"{program.parent}:{own['PATH']}", "SPACK_GNUPGHOME": str(folder / "gpg")}
    return SpackHost(folder=folder, environment=own, patience=patience)


def with_real(folder: Path) -> SpackHost:
    """Return a host whose Spack is the real one for tests; `spackbed.REASON` says why there is none."""
    bed = spackbed.spack_bed()
    shutil.copytree(bed.folder / "config", folder / "config")
    (folder / "gpg").mkdir(mode=0o700)
    own = {
        "SPACK_USER_CONFIG_PATH": str(folder / "config"),
        "SPACK_USER_CACHE_PATH": str(folder / "cache"),
        "SPACK_GNUPGHOME": str(folder / "gpg"),
    }
    return SpackHost(folder=folder, environment={**bed.environment, **own})
