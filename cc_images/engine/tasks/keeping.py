"""Keep the tree of a build that failed, or that was to stop after a phase, in the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cc_images import clock
from cc_images.errors import CCImagesError
from cc_images.model.kept import Kept, LeftTree
from cc_images.model.plan import BuildJob
from cc_images.store import kept
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


def place(job: BuildJob, left: LeftTree, context: TaskContext, *, until: bool = False) -> Kept:
    """Put a tree into the store that a build has left, or that was built `until` a phase.

    Raises CCImagesError when that is not possible.
    """
    found = Kept(
        tag=job.tag,
        arch=job.arch,
        run=context.run.run.version,
        task=context.task,
        phase=left.phase,
        hook=left.hook,
        code=left.code,
        until=until,
        created=clock.now().timestamp(),
    )
    kept.place(context.store.root, found, left.file)
    _log.info("kept: the tree of %s %s, which %s", job.tag, job.arch, found.why)
    return found


def failed(job: BuildJob, trees: Sequence[LeftTree], error: CCImagesError, context: TaskContext) -> CCImagesError:
    """Keep the last tree that a failed build has left; return its error with what opens the tree."""
    trouble = trees[-1].trouble
    if not trouble:
        try:
            place(job, trees[-1], context)
        except CCImagesError as refused:
            trouble = refused.message
    said = f"its tree could not be kept: {trouble}" if trouble else f"`{command(job)}` opens the tree that it has left"
    return CCImagesError(
        error.message,
        hint="; ".join(filter(None, (error.hint, said))),
        reason=error.reason,
        temporary=error.temporary,
        tail=error.tail,
    )


def command(job: BuildJob) -> str:
    """Return the command that opens the kept tree of a job."""
    return f"cc-images shell -a {job.arch} {job.tag} --kept"
