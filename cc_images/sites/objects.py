"""Calls to one container of Swift, as a user of clouds.yaml.

A call that changes something is made once, but for removals. Reads ask every replica for the newest state. Only answers
of Swift's own count: 202 to an upload means that something newer is there already.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cc_images.errors import CCImagesError, Reason
from cc_images.sites.body import Body
from cc_images.sites.cloud import Cloud

PAGE = 10_000
"""Objects that are asked for at once: the most that Swift gives."""

META = "X-Object-Meta-"

EXPECTED = {"GET": (200,), "HEAD": (200,), "PUT": (201,), "DELETE": (204,)}
"""The statuses of answers to calls that succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object: its bytes (none of one that was only looked for), size, entity tag, and our words about it."""

    content: bytes = b""
    size: int = 0
    etag: str = ""
    said: Mapping[str, str] = field(default_factory=dict)
    """By names in lower case."""


class Objects:
    """One container; its objects are named by their paths."""

    def __init__(self, cloud: Cloud, container: str) -> None:
        self.cloud = cloud
        self.container = container

    def account(self) -> str:
        """Return the account that the user's project has there."""
        found = self.cloud.repeated(lambda: self.cloud.connection().object_store.get_endpoint())
        if not found:
            raise CCImagesError(
                f"site {self.cloud.site}: the cloud's catalogue has no object store",
                hint="check region_name and interface of the cloud in clouds.yaml",
                reason=Reason.CLOUD,
            )
        return str(found).rstrip("/").rpartition("/")[2]

    def make(self) -> None:
        """Make the container, unless it is there."""
        self._call("PUT", "", also=(202,))

    def read(self, path: str, most: int = 0) -> Stored | None:
        """Return a small object; None if there is none. With `most`, at most so many bytes of it."""
        part = {"Range": f"bytes=0-{most - 1}"} if most else {}
        answer = self._call("GET", path, also=(206, 404), headers={"X-Newest": "true", **part})
        return None if answer.status_code == 404 else _stored(answer, answer.content)

    def look(self, path: str) -> Stored | None:
        """Return an object without its bytes; None if there is none."""
        answer = self._call("HEAD", path, also=(404,), headers={"X-Newest": "true"})
        return None if answer.status_code == 404 else _stored(answer, b"")

    def write(self, path: str, content: bytes, said: Mapping[str, str] | None = None) -> str:
        """Put a small object in the place of what is there; return its entity tag."""
        headers = {f"{META}{name}": value for name, value in (said or {}).items()}
        return _tag(self._call("PUT", path, headers={"Content-Type": _type(path), **headers}, data=content))

    def claim(self, path: str, content: bytes) -> bool:
        """Make a small object where none is; return whether it is this content that is there.

        Swift looks for an object when such a call begins, so two calls at one moment can both succeed, and the later
        one stays. So the object is read again once a call that began before must have ended.
        """
        began = time.monotonic()
        headers = {"Content-Type": _type(path), "If-None-Match": "*"}
        answer = self._call("PUT", path, also=(412,), headers=headers, data=content)
        if answer.status_code != 412:
            time.sleep(max(self.cloud.patience.settle, time.monotonic() - began))
        found = self.read(path)
        return found is not None and found.content == content

    def send(self, path: str, body: Body) -> str:
        """Send a file, or a part of one; return the entity tag that Swift gives it."""
        headers = {"Content-Type": "application/octet-stream"}
        return _tag(self._call("PUT", path, headers=headers, data=body, timeout=self.cloud.patience.store))

    def join(self, path: str, parts: Sequence[tuple[str, str, int]]) -> None:
        """Make a static large object of parts, each with its path, entity tag and size."""
        said = [{"path": f"/{self.container}/{part}", "etag": etag, "size_bytes": size} for part, etag, size in parts]
        self._call(
            "PUT",
            path,
            params={"multipart-manifest": "put"},
            headers={"Content-Type": "application/octet-stream"},
            data=json.dumps(said).encode(),
            timeout=self.cloud.patience.store,
        )

    def remove(self, path: str) -> None:
        """Remove an object; one that is gone already is fine."""
        self._call("DELETE", path, also=(404,))

    def listed(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        """Yield path and entity tag of each object, in the order of their paths; new ones may be missing for a while.

        `after` is the path after which to begin.
        """
        while True:
            query = {"format": "json", "prefix": prefix, "marker": after, "limit": str(PAGE)}
            answer = self._call("GET", "", also=(204, 404), params=query)
            found = self._objects(answer) if answer.status_code == 200 else []
            yield from found
            if len(found) < PAGE:
                return
            after = found[-1][0]

    def _objects(self, answer: Any) -> list[tuple[str, str]]:
        try:
            return [(str(each["name"]), str(each["hash"])) for each in answer.json() if "name" in each]
        except (ValueError, KeyError, TypeError) as error:
            raise CCImagesError(
                f"site {self.cloud.site}: the list of container {self.container} is not Swift's",
                hint="something in between, such as a proxy, may have answered; else see the cloud's own log",
                reason=Reason.SITE,
                temporary=True,
            ) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        also: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
        **arguments: Any,
    ) -> Any:
        """Make a call; return an answer with one of the expected statuses or of those in `also`."""
        where = quote(f"/{self.container}/{path}".rstrip("/"))
        patience = self.cloud.patience

        def call() -> Any:
            answer = self.cloud.connection().object_store.request(
                where,
                method,
                timeout=(patience.connect, timeout or patience.answer),
                raise_exc=False,
                status_code_retries=0,
                connect_retries=0,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                **arguments,
            )
            if answer.status_code in (*EXPECTED[method], *also):
                return answer
            raise self._refused(method, path, answer)

        return self.cloud.repeated(call, 1 if method == "PUT" else 0)

    def _refused(self, method: str, path: str, answer: Any) -> CCImagesError:
        status = answer.status_code
        reason, hint = {
            202: (
                Reason.CONFLICT,
                "somebody else works in the catalogue, or the cloud has two clocks; push again",
            ),
            401: (Reason.CREDENTIALS, "check the credentials of the cloud in clouds.yaml"),
            403: (Reason.FORBIDDEN, "the user's role may not do this in the container; check roles and its ACL"),
            404: (Reason.GONE, "somebody removed the container; push again"),
            409: (Reason.CONFLICT, "somebody else works in the catalogue; push again"),
            413: (Reason.QUOTA, "the quota is full; remove old images, see `keep`"),
            422: (Reason.VERIFICATION, "it arrived damaged; push again"),
            507: (Reason.QUOTA, "the cloud's storage is full"),
        }.get(status, (Reason.SITE, "see the cloud's own log"))
        return CCImagesError(
            f"site {self.cloud.site}: {method} of {f'{self.container}/{path}'.rstrip('/')} returned {status}"
            f" {answer.reason}",
            hint=hint,
            reason=reason,
            temporary=status in (202, 404, 408, 409, 422, 429, 500, 502, 503, 504),
        )


def _stored(answer: Any, content: bytes) -> Stored:
    length = answer.headers.get("Content-Length") or ""
    return Stored(
        content=content,
        size=int(length) if length.isdecimal() else len(content),
        etag=_tag(answer),
        said={
            name[len(META) :].lower(): value
            for name, value in answer.headers.items()
            if name.lower().startswith(META.lower())
        },
    )


def _tag(answer: Any) -> str:
    return str(answer.headers.get("ETag") or "").strip('"')


def _type(path: str) -> str:
    return "text/plain" if path.endswith("SUMS") else "application/json"
