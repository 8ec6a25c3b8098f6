"""The gate before the sites: which files of a version have passed the boot test, or pass it now.

One file of a version is booted; the others pass when they hold the same disk. A pass belongs to a digest and
a test key, and is kept with the digest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images.boottest.verdict import BootTestResult, Refused
from cc_images.errors import CCImagesError, Reason
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import CONTAINERS, RAMDISK, Format
from cc_images.model.plan import BootJob
from cc_images.model.redaction import redacted
from cc_images.outputs import disk
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The gate for one version. `intact` returns a name for an output's file after reading it through."""

    context: TaskContext
    job: BootJob
    build: Build
    variables: Mapping[str, str]
    """The variables of the image's builds, with secrets."""
    declared: tuple[str, ...]
    """The variables that are declared secrets."""
    examine: Callable[[Path, Format], BootTestResult]
    """Puts one file through its boot test."""
    intact: Callable[[Output], Path]

    def admit(self, outputs: Sequence[Output]) -> BootTestResult | None:
        """Let the files pass; return the verdict, or None when nothing had to be booted.

        Raises Refused for an image that does not pass, and CCImagesError for a file that holds another disk.
        """
        every = self.build.outputs
        passes = self.context.store.passes(output.digest for output in every.values())
        passed = {each: output for each, output in every.items() if passes.get(output.digest) == self.job.test_key}
        verdict = None
        _log.info("passed before: %s", ", ".join(passed) or "nothing")
        for output in sorted(outputs, key=_rank):
            if output.format in passed:
                continue
            vouching = [each for each in passed.values() if _vouches(each, output)]
            if not vouching:
                able = [each for each in (*outputs, *every.values()) if _vouches(each, output)]
                booted = min(able, key=_rank)
                verdict = self._tried(booted, verdict)
                passed[booted.format] = booted
                vouching = [booted]
            if output.format not in passed:
                self._compare(output, min(vouching, key=_rank))
                passed[output.format] = output
        return verdict

    def _compare(self, output: Output, model: Output) -> None:
        """Let a file pass that holds the same disk as one that has passed, or a tree that was made with it."""
        if not (output.format.is_disk and model.format.is_disk):
            self._note(output)
            return
        self.context.step(f"comparing {output.format} with {model.format}")
        files = self.intact(model), model.format, self.intact(output), output.format
        if not disk.same(*files, stop=self.context.stop):
            for each in self.build.outputs.values():  # one of the two is not what was built
                self.context.store.forget_pass(each.digest)
            raise _unlike(output, model)
        self._note(output)

    def _tried(self, output: Output, before: BootTestResult | None) -> BootTestResult:
        """Put one file through its boot test and record the result, with that of a file before it."""
        store = self.context.store
        self._require_secrets()
        verdict = self.examine(self.intact(output), output.format)
        if before is not None:
            verdict = replace(verdict, climbs=dict([*before.climbs.items(), *verdict.climbs.items()]))
        said = verdict.as_json()
        self.context.log.write(json.dumps(said, indent=1).encode() + b"\n")
        store.note_boot(self.build, verdict.level, said, verdict.contents)
        if not verdict.passed:
            for each in self.build.outputs.values():
                store.forget_pass(each.digest)
            raise Refused(verdict, self._hint(verdict))
        self._note(output, verdict.broken)
        return verdict

    def _hint(self, verdict: BootTestResult) -> str:
        """Return what the user can do about a refusal."""
        tag, firmware = self.job.tag, verdict.stuck
        if firmware in CONTAINERS and not verdict.inside:
            return f"the log has all that {tag} printed; docs/containers.md says how containers are tried"
        if firmware is None:
            return f"correct the elements that left it, and build again; `cc-images inspect {tag}` shows what is inside"
        serial = self.context.run.run.log_path(f"{self.context.task} {firmware} serial")
        return f"read {serial}, or look yourself: `cc-images boot {tag} --firmware {firmware} --keep`"

    def _require_secrets(self) -> None:
        """Raise CCImagesError when secrets of the build are not at hand: the look inside cannot search for them."""
        built = self.context.store.details(self.build).get("recipe", {}).get("environment", {})
        declared = self.declared
        now = redacted(self.variables, declared=declared)
        unknown = [name for name, shown in built.items() if "sha256:" in shown and now.get(name) != shown]
        if unknown:
            raise CCImagesError(
                f"{', '.join(unknown)} had another value when this version was built, so the image cannot be searched "
                "for it",
                hint="set it as for the build, or build and push in one run with -b -p"
                + (
                    ", and -f, since a new value of a declared secret builds nothing"
                    if {*unknown} & {*declared}
                    else ""
                ),
                reason=Reason.BOOT_SECRETS,
            )

    def _note(self, output: Output, broken: Mapping[str, Sequence[str]] | None = None) -> None:
        said = {"asked": self.job.test_key, "tag": self.job.tag, "version": self.build.version}
        self.context.store.note_pass(output.digest, said | ({"broken": dict(broken)} if broken else {}))


def _vouches(model: Output, output: Output) -> bool:
    """Say whether a file that has passed lets another one of its version pass.

    A disk does so for all, a tree for trees; a container must start itself. Of a ramdisk the initramfs does so for its
    kernel alone, and the kernel for none.
    """
    if output.format in CONTAINERS and model is not output:
        return False
    if model.format is Format.KERNEL:
        return False
    if model.format.is_disk or model is output:
        return True
    if {*RAMDISK} & {model.format, output.format}:
        return output.format is Format.KERNEL and model.format is Format.INITRAMFS
    return not output.format.is_disk


def _rank(output: Output) -> int:
    """Return how well a file shows the version: a disk best, and qcow2 of these; a kernel alone shows nothing."""
    if output.format.is_disk:
        return 0 if output.format is Format.QCOW2 else 1
    return {Format.INITRAMFS: 2, Format.KERNEL: 4}.get(output.format, 3)


def _unlike(output: Output, model: Output) -> CCImagesError:
    return CCImagesError(
        f"the {output.format} file holds another disk than the {model.format} file, which was booted",
        hint="build the image again with -b -f",
        reason=Reason.BOOT_UNLIKE,
    )
