"""Spack as a builder: one build from a spec."""

from __future__ import annotations

from msgspec import convert

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.spack.build import build
from cc_images.builders.spack.spec import SpackSpec
from cc_images.model.catalog import Json
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext


class SpackBuilder:
    """Spack, inside images that buildah makes; see `builders.base.Builder`. Its builds stay on the planning host."""

    def decode(self, plain: Json) -> BuildSpec:
        return convert(plain, SpackSpec)

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        assert isinstance(spec, SpackSpec)
        return build(spec, inputs, context)


SPACK = SpackBuilder()
