"""Containerfiles as a builder: its resolver, and one build from a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from msgspec import convert

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.containerfile.build import build, carry
from cc_images.builders.containerfile.resolver import version
from cc_images.builders.containerfile.spec import ContainerfileSpec
from cc_images.model.catalog import Json
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext


class ContainerfileBuilder:
    """buildah; see `builders.base.Builder`."""

    def decode(self, plain: Json) -> BuildSpec:
        return convert(plain, ContainerfileSpec)

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        assert isinstance(spec, ContainerfileSpec)
        return build(spec, inputs, context)

    def versions(self) -> Mapping[str, str]:
        return {"buildah": version()}

    def packed(self, spec: BuildSpec, folder: Path) -> BuildSpec:
        assert isinstance(spec, ContainerfileSpec)
        if spec.own:
            return replace(spec, folder="", contexts={})
        return carry(spec, folder)


CONTAINERFILE = ContainerfileBuilder()
