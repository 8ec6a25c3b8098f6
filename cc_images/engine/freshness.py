"""Whether upstream has moved while a run was at work."""

from __future__ import annotations

from cc_images.model.builds import Build, Layer
from cc_images.sources.apt import Repositories
from cc_images.sources.changes import Changes
from cc_images.store.run_context import RunContext


def has_moved(made: Build | Layer, context: RunContext) -> bool:
    """Say whether upstream has moved, in a way that matters, between a build or layer and the plan of a run."""
    repositories = Repositories(context.store.root / "indices", context.settings.offline, context.stop)
    return bool(Changes(context.store, context.upstream, repositories).moved(made))
