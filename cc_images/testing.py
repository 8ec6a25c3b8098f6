"""For tests of plugins: a builder, a site and an observer that do nothing by themselves.

Nothing of cc_images imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import convert

from cc_images import clock
from cc_images.builders import base
from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.dib.spec import DibSpec
from cc_images.engine.events import Event, Observer
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json, Material
from cc_images.model.kept import LeftTree
from cc_images.model.spec import BuildSpec
from cc_images.model.stop import Stop
from cc_images.sites.base import Act, Delete, Publication, Upload, after
from cc_images.sites.entry import Entry, concerns, staged_name
from cc_images.sites.queries import Queries
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
    leaves: LeftTree | None = None
    """The tree that it leaves when it fails, by its file's name in the workspace."""
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
        folder = inputs.workspace / "out"
        folder.mkdir(parents=True)
        if self.error is not None:
            self._leave(inputs)
            raise self.error
        file = folder / ("disk.raw" if spec.makes is Material.DISK else "tree")
        file.write_bytes(self.content)
        return Built(file=file, upstream=self.upstream)

    def packed(self, spec: BuildSpec, folder: Path) -> BuildSpec:
        """Write one file, and name it in place of the spec's folders."""
        assert isinstance(spec, DibSpec)
        (folder / "elements").mkdir(parents=True)
        (folder / "elements" / "file").write_text("of the head\n")
        return replace(spec, folders=(f"{base.BUNDLED}/elements",))

    def _leave(self, inputs: BuildInputs) -> None:
        if self.leaves is not None and inputs.keep is not None:
            file = inputs.workspace / self.leaves.file
            file.write_bytes(self.content)
            inputs.keep(replace(self.leaves, file=file))


class FakeSite(Queries):
    """A site in memory: `images` has what it holds, by id. `failing` is called before each step, and may raise."""

    visibility, disk_format, vacates = "", "", False

    def __init__(self, failing: Callable[[Act], None] = lambda step: None) -> None:
        self.images: dict[str, Entry] = {}
        self.content: dict[str, bytes] = {}
        self._failing = failing

    def place(self) -> str:
        """Return a name for it."""
        return "memory"

    def first_visibility(self) -> str:
        """Return the visibility of an image that replaces none."""
        return "private"

    def address(self, name: str) -> str:
        """Return where a person would find an image."""
        return f"memory:{name}"

    def exclusive(self, stop: Stop) -> AbstractContextManager[None]:
        """Keep nobody away."""
        return nullcontext()

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return all images that concern a name."""
        return [entry for entry in self.images.values() if concerns(entry, name)]

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take a step."""
        self._failing(step)
        match step:
            case Delete(entry=entry):
                self.images.pop(entry.id, None)
                return None
            case Upload():
                assert publication is not None
                made = self._uploaded(step, publication)
                report(publication.size)
            case _:
                made = after(step)
        self.images[made.id] = made
        return made

    def _uploaded(self, step: Upload, publication: Publication) -> Entry:
        self.content[step.id] = publication.path.read_bytes()
        return Entry(
            id=step.id,
            name=staged_name(publication.name, publication.run),
            sha512=publication.sha512,
            size=publication.size,
            created=clock.now(),
            properties=dict(publication.properties),
            made=True,
            made_for=publication.name,
            run=publication.run,
            target=publication.name,
            replaces=step.replaces,
            visibility="private",
            intended=step.visibility,
        )
