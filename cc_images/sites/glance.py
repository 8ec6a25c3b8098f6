"""A cloud's Glance as a site: what is observed, and each step as one call.

- Work is by id. Names are not unique in Glance, and images of other projects may have ours.
- cc-images chooses the id of an upload, so a creation whose answer was lost is found, not repeated.
- Marks are tags, since Glance changes all tags together with the name. Tags are written after the image, so the name
  that an image is made for is a property too.
- Glance has no locks and no conditions on changes: before an image is deleted it is read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from urllib.parse import quote

from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Format, Json
from cc_images.model.site import Site
from cc_images.model.stop import Stop
from cc_images.sites import servers
from cc_images.sites.base import (
    Act,
    Archive,
    Broken,
    Delete,
    Describe,
    Give,
    Publication,
    Publish,
    Recall,
    Restore,
    Return,
    Settle,
    Share,
    Upload,
    after,
)
from cc_images.sites.body import Body
from cc_images.sites.cloud import ENOUGH, Cloud, Patience
from cc_images.sites.entry import Entry, archive_names, concerns, staged_name
from cc_images.sites.image_api import NAME, OURS, ImageApi, marked, tags, typed
from cc_images.sites.queries import Queries
from cc_images.sites.targets import LINKS

CANDIDATES = 8
"""Archive names that are asked for before one is chosen."""

FIELDS = {"name": "name", "visibility": "visibility", "protected": "protected", "os_hidden": "hidden", "owner": "owner"}
"""Fields of Glance's that steps change, and what they are called in `Entry`."""


AMAZON = {Format.KERNEL: "aki", Format.INITRAMFS: "ari"}
"""Glance's disk and container formats of a ramdisk where a site wants Amazon's."""


class GlanceSite(ImageApi, Queries):
    """One cloud, for images of one disk format."""

    def __init__(
        self, site: Site, disk_format: Format, patience: Patience = ENOUGH, cloud: Cloud | None = None
    ) -> None:
        super().__init__(site, patience, cloud)
        self.disk_format = glance_format(disk_format, site.amazon)
        self.vacates = True
        self.visibility = site.visibility
        self.shares = True

    def place(self) -> str:
        """Return the project's id."""
        return self.project()

    def first_visibility(self) -> str:
        """Return what Chameleon's own scripts give a first image: public in the project `openstack`, else shared."""
        project = self.cloud.repeated(lambda: self.cloud.connection().current_project)
        return "public" if project is not None and project.get("name") == "openstack" else "shared"

    @contextmanager
    def exclusive(self, stop: Stop) -> Iterator[None]:
        """Do nothing: Glance has no locks. The store's lock keeps runs of one host apart."""
        yield

    def address(self, name: str) -> str:
        """Return the cloud and the name."""
        return f"{self._site.cloud}: {name}"

    def find(self, name: str) -> list[Entry]:
        """Return the project's images with this name that have data, hidden and deactivated ones too."""
        found = [*self.listed(name=name), *self.listed(name=name, os_hidden="true")]
        return [entry for entry in found if entry.complete]

    # -- observe ----------------------------------------------------------------------------------------------------

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return all images of the project that concern a name.

        Five calls and one for each further page; two with `before`, as long as the same images have the name. As many
        again for each owner that the site names.
        """
        if before and not lost:
            holders = [entry for entry in before if entry.name == name]
            names = [name, *(each for entry in holders for each in islice(archive_names(entry), CANDIDATES))]
            seen = {entry.id: entry for entry in before if entry.name not in names and not entry.hidden}
            seen |= {entry.id: entry for entry in [*self.listed(name=_any(names)), *self._hidden(name)]}
            if {entry.id for entry in seen.values() if entry.name == name} == {entry.id for entry in holders}:
                return list(seen.values())
        found = [*self.listed(name=name), *self._hidden(name), *self.listed(**{NAME: name})]
        found += [*self.listed(tag=f"{OURS}:archives={name}"), *self.listed(tag=f"{OURS}:target={name}")]
        if lost:
            found += [entry for entry in self.listed(status="in:queued,saving") if concerns(entry, name)]
        return list({entry.id: entry for entry in found}.values())

    def observe_each(self, names: Sequence[str]) -> dict[str, list[Entry]]:
        """Return what concerns each name, from one list of all images of the project: two calls, one a further page."""
        if len(names) == 1:
            return super().observe_each(names)
        every = [*self.listed(), *self.listed(os_hidden="true")] if names else []
        return {name: [entry for entry in every if concerns(entry, name)] for name in names}

    def _hidden(self, name: str) -> list[Entry]:
        return [entry for entry in self.listed(os_hidden="true") if concerns(entry, name)]

    def members(self, entry: Entry) -> frozenset[str]:
        """Return the projects that an image is shared with."""
        said = self.call("GET", f"/images/{entry.id}/members", read=lambda answer: answer["members"])
        return frozenset(str(each["member_id"]) for each in said)

    def users(self, entry: Entry) -> int | None:
        """Return how many servers of all projects were started from an image; None where Nova does not say.

        Nor does it say who uses a ramdisk: that is Ironic's business, and that of images which name it.
        """
        if entry.disk_format in AMAZON.values() or {*LINKS.values()} & entry.properties.keys():
            return None
        return servers.count(self.cloud, entry.id)

    # -- act --------------------------------------------------------------------------------------------------------

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take a step in one call that changes something; an upload needs several, all before the name is touched."""
        match step:
            case Upload():
                assert publication is not None
                return self._upload(step, publication, Body(publication.path, publication.size, stop, report))
            case Share(entry=entry, project=project):
                self.call("POST", f"/images/{entry.id}/members", tries=1, json={"member": project}, fine=(200, 409))
                return entry
            case Archive() | Publish() | Restore() | Recall() | Return() | Settle() | Describe() | Give():
                return self._change(step.entry, after(step))
            case Delete(entry=entry):
                self._delete(entry)
        return None

    def _change(self, entry: Entry, wanted: Entry) -> Entry:
        """Change all that differs together: Glance makes all changes of a call or none."""
        changes: Json = {
            name: getattr(wanted, field)
            for name, field in FIELDS.items()
            if getattr(wanted, field) != getattr(entry, field)
        }
        if tags(wanted) != tags(entry):  # else what another host has just marked would be lost
            changes["tags"] = tags(wanted)
        if (
            changes.keys() == {"tags"}
            and wanted.properties == entry.properties
            and set(tags(wanted)) < set(tags(entry))
        ):
            return self._untag(entry, set(tags(entry)) - set(tags(wanted)))
        own = {name: value for name, value in wanted.properties.items() if entry.properties.get(name) != value}
        gone = entry.properties.keys() - wanted.properties.keys()
        return self.patch(entry.id, changes | typed(own), new=own.keys() - entry.properties.keys(), gone=gone)

    def _untag(self, entry: Entry, gone: set[str]) -> Entry:
        """Take tags from an image, each alone: others, which somebody has just put there, stay."""
        for tag in sorted(gone):
            self.call("DELETE", f"/images/{entry.id}/tags/{quote(tag, safe='')}", tries=1, fine=(404,))
        if (now := self.get(entry.id)) is None:
            raise CCImagesError(f"site {self._site.name}: {entry.name} ({entry.id}) is gone", reason=Reason.GONE)
        return now

    def _upload(self, step: Upload, publication: Publication, body: Body) -> Entry | None:
        """Create the image, unless it is there, and send the bytes."""
        if step.entry is None:
            self._create(step, publication)
        self.check_visibility(step.id, step.visibility)
        try:
            self.call(
                "PUT",
                f"/images/{step.id}/file",
                tries=1,
                data=body,
                headers={"Content-Type": "application/octet-stream", "X-OpenStack-Image-Size": str(len(body))},
                timeout=(self.cloud.patience.connect, self.cloud.patience.store),
            )
        except CCImagesError as error:
            if not error.temporary or body.left:
                raise
            raise Broken(error.message, hint=error.hint, reason=error.reason, temporary=True) from error
        return self.get(step.id)

    def _create(self, step: Upload, publication: Publication) -> None:
        """Create an empty image. An answer that was not seen is replaced by a look."""
        record: Json = {
            "id": step.id,
            "name": staged_name(publication.name, publication.run),
            "disk_format": self.disk_format,
            "container_format": self.disk_format if self.disk_format in AMAZON.values() else "bare",
            "visibility": "private",
            "tags": marked(
                target=publication.name,
                run=publication.run,
                replaces=step.replaces,
                visibility=step.visibility,
            ),
        }
        record = typed(publication.properties) | {NAME: publication.name} | record
        try:
            self.call("POST", "/images", tries=1, json=record)
        except CCImagesError as error:
            made = self.get(step.id) if error.temporary else None
            if made is None:
                raise
            if made.target != publication.name:  # the image was stored, and its tags were not
                self.patch(step.id, {"tags": record["tags"]})

    def check_visibility(self, image_id: str, wanted: str) -> None:
        """Ask for the wanted visibility and take it back, while the image is empty and has its temporary name.

        Everybody may have private and shared images; for others the site may refuse.
        """
        if wanted in ("", "private", "shared"):
            return
        self.patch(image_id, {"visibility": wanted})
        self.patch(image_id, {"visibility": "private"})

    def _delete(self, entry: Entry) -> None:
        """Delete an image that is as it was seen; one that is gone already is fine."""
        now = self.get(entry.id)
        if now is None:
            return
        if (now.name, now.archives, now.target, now.protected) != (
            entry.name,
            entry.archives,
            entry.target,
            entry.protected,
        ):
            raise CCImagesError(
                f"site {self._site.name}: {entry.name} ({entry.id}) changed meanwhile and was left alone",
                hint="see who else works with this image",
                reason=Reason.CONFLICT,
            )
        self.call("DELETE", f"/images/{entry.id}", tries=1, fine=(404,), timeout=None)


def glance_format(wanted: Format, amazon: bool) -> str:
    """Return Glance's `disk_format` of a file; the two of a ramdisk are plain ones, or Amazon's."""
    return wanted.suffix if wanted.is_disk else AMAZON[wanted] if amazon else Format.RAW.value


def _any(names: Sequence[str]) -> str:
    """Return Glance's filter for several names."""
    return "in:" + ",".join('"' + each.replace('"', '""') + '"' for each in names)
