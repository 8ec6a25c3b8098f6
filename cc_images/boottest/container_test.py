"""The test of a container before it is pushed: look inside, start it, ask it as its user, and judge.

Owns how `inside/container.py` is run: in a sandbox of its own, without a network unless the image asks for one.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cc_images.boottest import container_verdict, hygiene, inspector
from cc_images.boottest.contents import contents
from cc_images.boottest.verdict import BootTestResult
from cc_images.errors import CCImagesError, Reason
from cc_images.host import network, user_emulation
from cc_images.host.containers import archive
from cc_images.host.root import remove
from cc_images.host.sandbox import Sandbox
from cc_images.model import contracts
from cc_images.model.catalog import Checks, Format, Json, Level
from cc_images.model.check_kinds import KINDS, Wanted
from cc_images.model.checks import canonical
from cc_images.model.container import Trial
from cc_images.model.plan import BootJob

ASK = Path(__file__).parent / "inside" / "ask.sh"

ASKED = ("files", "executables", "packages", "commands", "free")
"""Kinds of checks that a container's user is asked about by a shell; of `ports` the sandbox knows."""

OWN = """\
cc_done() { printf '\\n%s %s\\n' "$CC_MARK" "$1"; }
cc_runs() (
    IFS=:
    for folder in $PATH; do
        [ -f "$folder/$1" ] && [ -x "$folder/$1" ] && exit 0
    done
    exit 1
)
"""
"""Answers without a clock; and a search of PATH, since a busybox says that it has what is no file."""

GRACE, ASKING, COPYING = 10, 60, 900
"""Seconds that a container has to end after SIGTERM, for all checks, and for a large tree to be copied for starts."""

SLOWER = 8
"""How much longer a start may take that is emulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerTest:
    """One test of one file, in `folder`, which must not exist."""

    job: BootJob
    image: Path
    form: Format
    folder: Path
    guards: Path
    secrets: Sequence[str] = ()
    """Values that no file of the image may contain; they are masked in what it prints."""
    admitted: Sequence[str] = ()
    log: BinaryIO
    stop: threading.Event
    report: Callable[[str], None]

    def run(self) -> BootTestResult:
        """Look into the image, start it, ask it and judge. Raises CCImagesError for what is this host's fault."""
        self.report("inside")
        try:
            return self._judged()
        finally:
            if self._tree.parent.exists():
                remove(self._tree.parent)

    @property
    def _tree(self) -> Path:
        """The image's tree, unpacked by the look; the start has it as it is, and changes nothing in it."""
        return inspector.tree(self.folder)

    def _judged(self) -> BootTestResult:
        facts = inspector.unpacked(
            self.image,
            self.folder,
            self.secrets,
            guards=self.guards,
            log=self.log,
            stop=self.stop,
        )
        inspector.require_system(facts)
        seen = contents(facts) | configured(self.image)
        advice = tuple(contracts.advice(facts.get("layers", ())))
        if inside := hygiene.problems(facts, inspector.nameservers(), self.admitted, self.job.allow):
            return BootTestResult(inside=tuple(inside), contents=seen, advice=advice)
        if self.job.boot.level is Level.INSIDE:
            return BootTestResult(contents=seen, advice=advice)
        self.report("starts")
        checks = self.job.checks if self.job.boot.level in (None, Level.CHECKS) else {}
        return self._tried(checks, seen, advice)

    def _tried(self, checks: Checks, seen: Json, advice: tuple[str, ...]) -> BootTestResult:
        trial = self.job.trial or Trial()
        asked = {kind: named for kind, named in checks.items() if kind in ASKED}
        mark = f"cc-{secrets.token_hex(8)}"
        ports = {canonical("ports", name): wanted for name, wanted in checks.get("ports", {}).items()}
        said = self._said(trial, script(mark, asked) if asked else "", ports)
        found, tail = container_verdict.judged(said, asked, ports, mark)
        subject = container_verdict.subject(said, self.form)
        return BootTestResult(
            climbs={self.form.value: found},
            contents=seen,
            tail=tail,
            broken=contracts.broken(trial.contracts, subject) if found.failed is None else {},
            advice=(*advice, *filter(None, [subject.stops])),
        )

    def _said(self, trial: Trial, asks: str, ports: Mapping[str, Wanted]) -> Json:
        """Start the image in a sandbox; return what became of it."""
        image = self.image.resolve()
        foreign = user_emulation.is_foreign(self.job.arch)
        pace = SLOWER if foreign else 1
        order = {
            "words": None if trial.words is None else list(trial.words),
            "user": trial.user or str(contracts.USER_ID),
            "ports": list(trial.ports),
            "volumes": list(trial.volumes),
            "limit": trial.limit * pace,
            "grace": GRACE * pace,
            "patience": ASKING * pace,
            "asks": asks,
            "heard": {port: "banner" in wanted for port, wanted in ports.items()},
            "starts": 2 if trial.contracts else 1,
            "folders": list(contracts.FOLDERS) if trial.contracts else [],
        }
        sandbox = Sandbox(
            workspace=self.folder,
            guards=self.guards,
            visible=(image, inspector.INSIDE),
            network=_network(trial.network),
            outlet=network.program() if trial.network else "",
            interpreter=user_emulation.registration(self.job.arch) if foreign else None,
        )
        program, shown, tree, cells, result = (
            str(sandbox.place(each))
            for each in (
                inspector.INSIDE / "container.py",
                image,
                self._tree,
                sandbox.scratch / "cells",
                sandbox.out / "facts.json",
            )
        )
        sandbox.run(
            [sys.executable, "-I", program, shown, tree, cells, result],
            {"CC_IMAGES_TRIAL": json.dumps(order)},
            log=self.log,
            timeout=COPYING + (trial.limit + GRACE + ASKING) * pace * 3,
            stop=self.stop,
            on_line=lambda line: None,
            secrets=self.secrets,
        )
        return inspector.written(sandbox.out / "facts.json")


def script(mark: str, checks: Checks) -> str:
    """Return the script that asks for every check; it needs nothing of the image but a shell."""
    lines = [f"CC_MARK={mark}", ASK.read_text(), OWN]
    asked = [KINDS[kind].ask(name, wanted) for kind, named in checks.items() for name, wanted in named.items()]
    lines += [f"( {command}\n) 2> /dev/null < /dev/null; cc_done $?" for command in asked]
    return "\n".join(lines) + "\n"


def _network(wanted: bool) -> str:
    """Return the network of a start. Raises CCImagesError for one that this host does not offer."""
    if wanted and not network.program():
        raise CCImagesError(
            "the image wants a network to start (try-network), and this host offers none of its own to it",
            hint="install the package slirp4netns and check that /dev/net/tun is there",
            reason=Reason.MISSING_TOOL,
        )
    return network.Network.PRIVATE if wanted else network.Network.NONE


def configured(image: Path) -> Json:
    """Return what a record keeps of how an image for containers is run; nothing of other files."""
    with suppress(CCImagesError, OSError):
        return {"container": archive.read(image).configuration.as_json()}
    return {}
