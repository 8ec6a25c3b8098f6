"""Native twins as a builder of their own: the programs of a release for this host, kept as a layer."""

from __future__ import annotations

from pathlib import Path

from msgspec import convert

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.dib import packing, twins
from cc_images.builders.dib.build import linked, networked
from cc_images.builders.dib.command import packages
from cc_images.builders.dib.spec import ProgramsSpec, TwinsSpec
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Json
from cc_images.model.spec import BuildSpec
from cc_images.sources import upstream
from cc_images.store.run_context import TaskContext


class TwinsBuilder:
    """Makes twins; see `builders.base.Builder` and `toolbox/twins/make.py`, which says how they work."""

    def decode(self, plain: Json) -> BuildSpec:
        return convert(plain, TwinsSpec)

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        assert isinstance(spec, TwinsSpec)
        run = context.run
        keyrings = [*linked(spec, inputs).values()]
        named = [*keyrings, *twins.keyring_files(spec.environment)]
        sandbox = Sandbox(
            workspace=inputs.workspace,
            guards=run.run.work / "guards",
            visible=tuple(each for each in named if each.is_absolute() and inputs.workspace not in each.parents),
            behind=tuple(each.resolve() for each in named),
            tmpfs_mib=context.tmpfs_mib,
            cores=run.settings.cores,
            **networked(spec.network, {**run.network, **spec.environment}),
        )
        context.step("unpacking programs")
        placed = [str(sandbox.place(each)) for each in keyrings]
        file = twins.make(
            spec.arch, spec.environment, placed, sandbox, network=run.network, log=context.log, stop=run.stop
        )
        return Built(
            file=file, packages=packages(file.parent), upstream=upstream.seen(sandbox.out), peaks=sandbox.peaks()
        )

    def packed(self, spec: BuildSpec, folder: Path) -> BuildSpec:
        assert isinstance(spec, ProgramsSpec)
        return packing.named(spec, folder)


TWINS = TwinsBuilder()
