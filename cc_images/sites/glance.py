"""A cloud's Glance as a site, by openstacksdk's session and the Image API v2.

What differs from calling the SDK's own image methods, and why (measured against Glance 33, openstacksdk 4):

- An upload is an iterable that opens the file anew at each start. After a 401 keystoneauth repeats the request, and the
  SDK would send a file from where it stands: a short image becomes active.
- Every call has time-outs, and is repeated (`cloud`). A broken upload is removed and sent once more from the beginning,
  as a new image.
- Work is by id. Names are not unique in Glance, and images of other projects may have ours.
- After an upload the image is read again: only status, size and `os_hash_value` tell what arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cc_images.blobs import CHUNK
from cc_images.cloud import CONNECT_TIMEOUT, ENOUGH, Cloud, Patience
from cc_images.errors import CCImagesError, Interrupted
from cc_images.model import Format, Json, Site
from cc_images.sites.base import Entry, Publication, Stop

STORE_TIMEOUT = 900.0
"""Seconds for Glance to store what was sent."""

UPLOADS = 2
"""How often a file is sent."""

OURS = "cc-images"
"""The tag of every image that cc-images has made; staged ones have more, which name run, target and predecessor."""

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"

CORE_NUMBERS = ("min_disk", "min_ram")
"""Properties that Glance wants as numbers (GiB and MiB)."""


class GlanceSite:
    """One cloud, for images of one disk format."""

    def __init__(self, site: Site, disk_format: Format, patience: Patience = ENOUGH) -> None:
        self._site = site
        self._disk_format = disk_format.suffix
        self._cloud = Cloud(site.name, site.cloud, patience)
        self.visibility = site.visibility

    # -- the protocol -------------------------------------------------------------------------------------------

    def first_visibility(self) -> str:
        """Return what Chameleon's own scripts give a first image: public in the project `openstack`, else shared."""
        project = self._cloud.repeated(lambda: self._cloud.connection().current_project)
        return "public" if project is not None and project.get("name") == "openstack" else "shared"

    @contextmanager
    def exclusive(self, stop: Stop) -> Iterator[None]:
        """Do nothing: Glance has no locks. The store's lock keeps runs of one host apart."""
        yield

    def find(self, name: str) -> list[Entry]:
        """Return the project's images with this name that have data, hidden and deactivated ones too."""
        found = [*self._list(name=name), *self._list(name=name, os_hidden="true")]
        return [entry for entry in found if entry.complete]

    def staged(self, name: str) -> list[Entry]:
        """Return what earlier runs of ours left for this name, whatever its state."""
        return [entry for entry in self._list(tag=_target(name)) if entry.name != name]

    def archived(self, name: str) -> list[Entry]:
        """Return the archived versions that cc-images made, newest first."""
        return sorted(self._list(tag=_archives(name)), key=lambda entry: entry.created, reverse=True)

    def upload(self, publication: Publication, replaces: str, *, stop: Stop, report: Callable[[int], None]) -> Entry:
        """Create a private image under a temporary name and send the file."""
        record: Json = {
            "name": f"{publication.name}.{publication.run}.staged",
            "disk_format": self._disk_format,
            "container_format": "bare",
            "visibility": "private",
            "tags": [
                *(OURS, _target(publication.name), f"{OURS}:run={publication.run}", f"{OURS}:replaces={replaces}"),
                f"{OURS}:visibility={publication.visibility}",
            ],
        }
        record |= _typed(publication.properties)
        visibility = publication.visibility
        body = _Body(publication.path, publication.size, stop, report)
        for _ in range(UPLOADS - 1):
            try:
                return self._sent(record, body, visibility)
            except CCImagesError as error:
                # to one that is away a second upload would be one more thing that it may find when it is back
                if not error.temporary or not self._answers():
                    raise
        return self._sent(record, body, visibility)

    def archive(self, entry: Entry, name: str) -> None:
        """Rename an image and, if it is ours, tag it as a version of its name; protected ones may be renamed too."""
        tags = self._tags(entry.id)
        ours = [_archives(entry.name)] if OURS in tags else []
        self._patch(entry.id, {"name": name, "tags": sorted({*tags, *ours})})

    def restore(self, image_id: str, name: str) -> None:
        """Give an image its name back, unless it still has it or is gone."""
        found = self._call("GET", f"/images/{image_id}", missing_is_fine=True)
        if found and found["name"] != name:
            self._patch(image_id, {"name": name, "tags": sorted({*found["tags"]} - {_archives(name)})})

    def holds(self, image_id: str, name: str) -> bool:
        """Say whether the image has the name."""
        found = self._call("GET", f"/images/{image_id}", missing_is_fine=True)
        return bool(found) and found["name"] == name

    def publish(self, staged: Entry, name: str) -> None:
        """Give a staged image its name and visibility in one call, and the tags that people gave the one before."""
        visibility = staged.intended or self._site.visibility or "private"
        before = self._call("GET", f"/images/{staged.replaces}", missing_is_fine=True) if staged.replaces else {}
        tags = {OURS} | {tag for tag in before.get("tags", []) if tag.partition(":")[0] != OURS}
        self._patch(staged.id, {"name": name, "visibility": visibility, "tags": sorted(tags)})

    def describe(self, entry: Entry, publication: Publication) -> None:
        """Set properties and visibility in one call; properties that nobody asks for any more stay."""
        changes = _typed(publication.properties)
        if publication.visibility and publication.visibility != entry.visibility:
            changes["visibility"] = publication.visibility
        self._patch(entry.id, changes, known={*entry.properties, "visibility"})

    def delete(self, entry: Entry) -> None:
        """Delete an image; one that is gone already is fine."""
        self._call("DELETE", f"/images/{entry.id}", missing_is_fine=True)

    def address(self, name: str) -> str:
        """Return the cloud and the name."""
        return f"{self._site.cloud}: {name}"

    # -- Glance -------------------------------------------------------------------------------------------------

    def _sent(self, record: Json, body: _Body, visibility: str) -> Entry:
        """Create an image with its data, or leave none."""
        image = self._call("POST", "/images", json=record, tries=1)
        try:
            self._check_visibility(image["id"], visibility)
            self._call(
                "PUT",
                f"/images/{image['id']}/file",
                tries=1,
                data=body,
                headers={"Content-Type": "application/octet-stream", "X-OpenStack-Image-Size": str(len(body))},
                timeout=(CONNECT_TIMEOUT, STORE_TIMEOUT),
            )
            return self._get(image["id"])
        except BaseException:
            self._forget(image["id"])
            raise

    def _answers(self) -> bool:
        """Say whether the site answers now."""
        try:
            self._call("GET", "/images", params={"limit": "1"}, tries=1)
        except CCImagesError:
            return False
        return True

    def _list(self, **query: str) -> list[Entry]:
        """Return the project's images that match, all pages."""
        found: list[Entry] = []
        path: str | None = "/images"
        parameters: Mapping[str, str] | None = {"owner": self._project(), "limit": "100", **query}
        while path:
            page = self._call("GET", path, params=parameters)
            found += [_entry(image) for image in page["images"]]
            path, parameters = page.get("next", "").removeprefix("/v2") or None, None
        return found

    def _tags(self, image_id: str) -> list[str]:
        return list(self._call("GET", f"/images/{image_id}")["tags"])

    def _get(self, image_id: str) -> Entry:
        return _entry(self._call("GET", f"/images/{image_id}"))

    def _patch(self, image_id: str, changes: Mapping[str, object], known: Container[str] | None = None) -> None:
        """Change what an image has; of properties, `known` are those that it has already."""
        body = [
            {"op": "replace" if known is None or name in known else "add", "path": f"/{name}", "value": value}
            for name, value in changes.items()
        ]
        self._call("PATCH", f"/images/{image_id}", json=body, headers={"Content-Type": PATCH_TYPE})

    def _check_visibility(self, image_id: str, wanted: str) -> None:
        """Ask for the wanted visibility and take it back, while the image is empty and has its temporary name."""
        if wanted in ("", "private"):
            return
        self._patch(image_id, {"visibility": wanted})
        self._patch(image_id, {"visibility": "private"})

    def _forget(self, image_id: str) -> None:
        """Delete an image whose upload failed; if that fails too, the next run finds it by its tags."""
        try:
            # twice, because the first may meet the connection that the broken upload has left
            self._call("DELETE", f"/images/{image_id}", missing_is_fine=True, tries=2, timeout=(5.0, 10.0))
        except CCImagesError:
            return

    def _project(self) -> str:
        return str(self._cloud.repeated(lambda: self._cloud.connection().session.get_project_id()))

    def _call(
        self,
        method: str,
        path: str,
        *,
        tries: int = 0,
        missing_is_fine: bool = False,
        timeout: tuple[float, float] | None = None,
        **arguments: Any,
    ) -> Any:
        """Make a call up to `tries` times (0: as its patience says) while its failure is temporary.

        Return the decoded answer.
        """

        def call() -> Any:
            answer = self._cloud.connection().image.request(
                f"/v2{path}" if self._unversioned() else path,
                method,
                timeout=timeout or (self._cloud.patience.connect, self._cloud.patience.answer),
                **arguments,
            )
            return self._checked(answer, method, missing_is_fine)

        return self._cloud.repeated(call, tries)

    def _unversioned(self) -> bool:
        return not self._cloud.connection().image.get_endpoint().rstrip("/").endswith("/v2")

    def _checked(self, answer: Any, method: str, missing_is_fine: bool) -> Any:
        status = answer.status_code
        if status < 300:
            return answer.json() if answer.content else {}
        if status == 404 and missing_is_fine:
            return {}
        said = _said(answer)
        asked = self._site.visibility or "as the image that is replaced"
        reason, hint = {
            401: ("credentials", "check the credentials of the cloud in clouds.yaml"),
            403: (
                "forbidden",
                f"the project may not do this; check visibility ({asked}) and quotas",
            ),
            404: ("gone", "somebody else removed the image; push again"),
            409: ("conflict", "another process is working on the image; push again"),
            410: ("gone", "somebody else removed the image while it was uploaded; push again"),
            413: ("quota", "the cloud's storage or the project's quota is full; remove old images, see `keep`"),
        }.get(status, ("site", "see the cloud's own log"))
        raise CCImagesError(
            f"site {self._site.name}: {method} was answered with {status}: {said}",
            hint=hint,
            reason=reason,
            temporary=status in (408, 429, 500, 502, 503, 504),
        )


class _Body:
    """A file as the body of a request: from its beginning each time it is sent, and of known length."""

    def __init__(self, path: Path, size: int, stop: Stop, report: Callable[[int], None]) -> None:
        self._path, self._size, self._stop, self._report = path, size, stop, report

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK):
                if self._stop.is_set():
                    raise Interrupted("the push was ended")
                yield chunk
                done += len(chunk)
                self._report(done)


def _entry(image: Mapping[str, Any]) -> Entry:
    tags = dict(tag.partition("=")[::2] for tag in image["tags"])
    properties = {name: str(value) for name, value in image.items() if isinstance(value, str | int)}
    return Entry(
        id=image["id"],
        name=image["name"] or "",
        sha512=image.get("os_hash_value") or "",
        size=image.get("size") or 0,
        created=datetime.strptime(image["created_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
        properties=properties,
        complete=image["status"] in ("active", "deactivated"),
        visibility=image["visibility"],
        protected=bool(image.get("protected")),
        run=tags.get(f"{OURS}:run", ""),
        replaces=tags.get(f"{OURS}:replaces", ""),
        intended=tags.get(f"{OURS}:visibility", ""),
    )


def _typed(properties: Mapping[str, str]) -> Json:
    """Return properties as Glance wants them: some as numbers."""
    return {name: int(value) if name in CORE_NUMBERS else value for name, value in properties.items()}


def _target(name: str) -> str:
    return f"{OURS}:target={name}"


def _archives(name: str) -> str:
    return f"{OURS}:archives={name}"


def _said(answer: Any) -> str:
    """Return what an error's body says, without its markup."""
    import re

    text = re.sub(r"<[^>]*>|\s+", " ", answer.text or "").strip()
    return re.sub(r"\s+", " ", text)[:300] or answer.reason
