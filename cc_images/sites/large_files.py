"""Files in a container: one object, or a static large object of segments where it is larger than one may be.

Segments are in the container of the catalogue itself, so that whoever may read one may read the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Json
from cc_images.model.stop import Stop
from cc_images.sites.body import Body
from cc_images.sites.objects import Objects

SEGMENT = 1 << 30
"""Bytes of a segment, and of the largest file without segments; Swift's own limit is 5 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a file goes: its own path, the path that its segments are below, and the bytes of one."""

    path: str
    segments: str
    segment: int


def send_file(
    objects: Objects, target: Target, file: Path, size: int, stop: Stop, report: Callable[[int], None]
) -> Json:
    """Store a file; return size, sha256 and sha512 of what was sent.

    The entity tag of each object is compared with the digest of the bytes that left. Raises CCImagesError when the
    store has something else.
    """
    digests = {name: hashlib.new(name) for name in ("sha256", "sha512")}
    parts: list[tuple[str, str, int]] = []
    for start in range(0, max(size, 1), target.segment):
        length = min(target.segment, size - start)
        part = f"{target.segments}{start // target.segment:06}" if size > target.segment else target.path
        before = {**digests, "md5": hashlib.md5(usedforsecurity=False)}
        body = Body(file, length, stop, report, start=start, digests=before)
        etag = objects.send(part, body)
        if etag != body.digests.pop("md5").hexdigest():
            raise _other(objects, part)
        digests = body.digests
        parts.append((part, etag, length))
    if size > target.segment:
        objects.join(target.path, parts)
    stored = objects.look(target.path)
    if stored is None or stored.size != size:
        raise _other(objects, target.path)
    return {"size": size, **{name: each.hexdigest() for name, each in digests.items()}}


def _other(objects: Objects, path: str) -> CCImagesError:
    return CCImagesError(
        f"site {objects.cloud.site}: {objects.container}/{path} is not what was sent",
        hint="push again; if it repeats, see the cloud's own log",
        reason=Reason.VERIFICATION,
        temporary=True,
    )
