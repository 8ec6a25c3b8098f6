"""The gate of a site's contract: a container that broke one of its rules when it was tried is not published there."""

from __future__ import annotations

from cc_images.errors import CCImagesError, Reason
from cc_images.model.builds import Output
from cc_images.model.catalog import CONTAINERS
from cc_images.model.plan import PushJob
from cc_images.model.site import Site
from cc_images.store.records import Store


def require_kept(job: PushJob, at: Site, output: Output, store: Store) -> None:
    """Raise CCImagesError when a container does not keep what a site wants of all; `tail` has a line for each rule.

    What was not tried, since the run is without boot tests, nobody knows.
    """
    if not at.contract or output.format not in CONTAINERS:
        return
    known = store.broken(output.digest, job.test_key)
    if known is None:
        return
    wrong = [each for name in at.contract for each in known.get(name, [f"{name}: it was looked into, and not started"])]
    if wrong:
        raise CCImagesError(
            f"version {job.version} of {job.tag} does not keep the contract of {at.name}: {'; '.join(wrong)}",
            hint="docs/containers.md has the rules; correct the image and build it again",
            reason=Reason.CONTRACT,
            tail=wrong,
        )
