"""Disk tools as a builder of their own: programs of a release of Debian for this host, kept as a layer."""

from __future__ import annotations

from pathlib import Path

from msgspec import convert

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.dib import disk_tools, packing
from cc_images.builders.dib.build import networked
from cc_images.builders.dib.build_log import cause_of
from cc_images.builders.dib.spec import DiskToolsSpec, ProgramsSpec
from cc_images.errors import CCImagesError, Reason
from cc_images.host import process
from cc_images.host.root import TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Json
from cc_images.model.redaction import without_secrets
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext


class DiskToolsBuilder:
    """Fetches disk tools; see `builders.base.Builder` and `toolbox/disk/fetch`."""

    def decode(self, plain: Json) -> BuildSpec:
        return convert(plain, DiskToolsSpec)

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        assert isinstance(spec, DiskToolsSpec)
        run, suite = context.run, spec.environment["SUITE"]
        sandbox = Sandbox(
            workspace=inputs.workspace,
            guards=run.run.work / "guards",
            behind=(disk_tools.KEYRING.resolve(),),
            tmpfs_mib=context.tmpfs_mib,
            cores=run.settings.cores,
            **networked(spec.network, {**run.network, **spec.environment}),
        )
        context.step("unpacking programs")
        sources = f"deb {spec.environment['DIB_DISTRIBUTION_MIRROR']} {suite} main"
        fetch = str(sandbox.place(TOOLBOX) / "disk" / "fetch")
        words = (suite, str(disk_tools.KEYRING), ",".join(disk_tools.PACKAGES), str(sandbox.place(sandbox.out)))
        try:
            sandbox.run(
                [fetch, *words],
                {**run.network, "CC_IMAGES_SOURCES": sources},
                log=context.log,
                timeout=spec.timeout * 60.0,
                stop=run.stop,
                on_line=lambda line: None,
            )
        except process.CommandFailed as error:
            tail = tuple(map(without_secrets, error.tail))
            cause, hint = cause_of(tail)
            raise CCImagesError(
                f"the programs that write disks cannot be had: {cause or without_secrets(error.message)}",
                hint=f"{hint or 'read the log'}; {disk_tools.SWITCH}=no lets dib write all disks, different each time",
                reason=Reason.DISK_TOOLS,
                tail=tail,
            ) from error
        return Built(file=sandbox.out / "disk.tar", peaks=sandbox.peaks())

    def packed(self, spec: BuildSpec, folder: Path) -> BuildSpec:
        assert isinstance(spec, ProgramsSpec)
        return packing.named(spec, folder)


DISK_TOOLS = DiskToolsBuilder()
