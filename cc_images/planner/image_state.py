"""The state of one image for one architecture, as the planner sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Image
from cc_images.model.plan import BuildJob, Request
from cc_images.model.status import Hold, Put


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageState:
    """One image for one architecture, and what the store has of it."""

    image: Image
    arch: Arch
    job: BuildJob
    """The job that builds it; without a spec's recipe key when only what is stored matters."""
    match: Build | None
    """The newest build of this recipe whose upstream has not moved, as far as that is known."""
    newest: Build | None
    on_parent: bool = False
    """Whether it starts, itself or by its own layer, from its first parent's tree."""
    unsure: str = ""
    """Why nobody can say whether upstream has moved since `match`; empty when it was asked."""
    quiet: str = ""
    """A note that repositories have changed since `match`, and nothing that it has; empty when they have not."""
    changed: tuple[str, ...] = ()
    """The inputs that differ from the newest build's, one short phrase each."""
    holds: Mapping[str, Hold] = field(default_factory=dict)
    """Holds and releases of its versions."""
    puts: Mapping[str, Put] = field(default_factory=dict)
    """What was put last, by site."""
    builds: Mapping[str, Build] = field(default_factory=dict)
    """The stored builds of the versions in `puts`; read where sites have waves."""

    @property
    def label(self) -> str:
        """The name of the pair in the ids of tasks."""
        return f"{self.image.tag} {self.arch}"


def is_held(state: ImageState, stored: Build | None, request: Request) -> bool:
    """Say whether the stored build that serves is held; a person who names it, or forces it, publishes it."""
    hold = state.holds.get(stored.version) if stored is not None else None
    return hold is not None and not (hold.released or request.force or request.version)
