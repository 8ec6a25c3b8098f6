"""Downloads of earlier builds that a build is shown, and what it adds to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cc_images.builders.download_cache import Caches, Generation
from cc_images.errors import CCImagesError
from cc_images.host.root import remove
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


@contextmanager
def held(spec: BuildSpec, context: TaskContext) -> Iterator[list[Generation]]:
    """Hold what earlier builds of the image and of its ancestors have downloaded."""
    found: list[Generation] = []
    try:
        for family in spec.families:
            if (generation := Caches(context.store.root).newest(family)) is not None:
                found.append(generation)
                _log.info("downloads: %s of %s", generation.path.name, family)
        yield found
    finally:
        for each in found:
            each.close()


def keep(spec: BuildSpec, found: Sequence[Generation], out: Path, context: TaskContext) -> None:
    """Promote what a build has downloaded; the build is worth more than that, so a failure is only noted."""
    if not spec.families:
        return
    family = spec.families[0]
    used = next((each.path for each in found if each.path.parent.name == family), None)
    try:
        with context.store.lock(f"cache {family}"):
            Caches(context.store.root).promote(family, context.run.run.version, used, out, remove)
    except (OSError, CCImagesError) as error:
        context.log.write(f"cannot keep its downloads: {error}\n".encode())
