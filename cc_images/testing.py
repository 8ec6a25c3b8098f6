"""For tests of plugins: a builder, a site and an observer that do nothing by themselves.

Nothing of cc_images imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import convert

from cc_images.builders import base
from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.dib.spec import DibSpec
from cc_images.engine.events import Event, Observer
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json, Material
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext


class Silent(Observer):
    """An observer that keeps the events that it has seen."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)


@dataclass
class FakeBuilder:
    """A builder that writes the same bytes each time, or fails with an error.

    `specs` and `inputs` have what it was given, in order.
    """

    content: bytes = bytes(4096)
    upstream: Mapping[str, str] = field(default_factory=dict)
    error: CCImagesError | None = None
    specs: list[BuildSpec] = field(default_factory=list)
    inputs: list[BuildInputs] = field(default_factory=list)

    @classmethod
    def registered(cls, name: str, **more: object) -> FakeBuilder:
        """Return a new one that stands in the table of builders under a name."""
        made = cls(**more)  # type: ignore[arg-type]
        base.BUILDERS[name] = made
        return made

    def decode(self, plain: Json) -> BuildSpec:
        """Return the spec that was encoded as JSON: one of dib's kind."""
        return convert(plain, DibSpec)

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        """Write the bytes."""
        self.specs.append(spec)
        self.inputs.append(inputs)
        context.log.write(b"built\n")
        if self.error is not None:
            raise self.error
        folder = inputs.workspace / "out"
        folder.mkdir(parents=True)
        file = folder / ("disk.raw" if spec.makes is Material.DISK else "tree")
        file.write_bytes(self.content)
        return Built(file=file, upstream=self.upstream)
