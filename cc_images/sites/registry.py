"""A registry for containers as a site: a version is a manifest, its name a tag, its marks a record with a tag.

    HOST/PREFIX/<image>:latest               the version in force
    HOST/PREFIX/<image>:<version>            each version, for as long as it is kept
    HOST/PREFIX/<image>:latest-YYYYMMDD[.n]  versions that were replaced
    HOST/PREFIX/<image>:latest.<id>.entry    what cc-images knows of a version; see `registry_entries`

Manifests cannot be changed, tags can. A push makes a record with the marks of an upload, brings the image by its
digest, and completes the record; then come the archive tag of the version before, the version's own tag, and `latest`,
which alone says what is in force. A version that a push has left in between is an upload, which the next push removes.
A removal marks the record first and removes it last. Removing a manifest takes all of its tags with it, so a manifest
that others use stays, and a tag goes with a manifest of its own (`registry_records`).
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Format, Json
from cc_images.model.site import Site
from cc_images.model.stop import Stop
from cc_images.sites import layouts
from cc_images.sites.base import (
    Act,
    Archive,
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
from cc_images.sites.cloud import ENOUGH, Patience
from cc_images.sites.entry import ARCHIVED, Entry, mark
from cc_images.sites.queries import Queries
from cc_images.sites.registry_entries import entries, marked, upload_of
from cc_images.sites.registry_names import BUMP, Place, place_of, version_tags
from cc_images.sites.registry_records import Records
from cc_images.sites.skopeo import TEMPORARY, Registry, Skopeo


class RegistrySite(Queries):
    """A registry, for images of one format."""

    def __init__(
        self, site: Site, disk_format: Format, patience: Patience = ENOUGH, registry: Registry | None = None
    ) -> None:
        self._site, self._form = site, disk_format
        self._registry: Registry = registry or Skopeo(site, patience)
        self._records = Records(self._registry)
        self.disk_format = ""
        self.vacates = False
        self.visibility = ""

    def place(self) -> str:
        """Return host and prefix."""
        return self._site.registry

    def first_visibility(self) -> str:
        """Return nothing: who may pull is the registry's business."""
        return ""

    def address(self, name: str) -> str:
        """Return what a person pulls."""
        place = self._place(name)
        return f"{self._site.registry}/{place.repository}:{place.latest}"

    def shown(self, archived: str) -> str:
        """Return the repository and tag of an archived version."""
        if not ARCHIVED.search(archived):
            return archived
        place = self._place(ARCHIVED.sub("", archived))
        return f"{place.repository}:{place.tag(archived)}"

    def refusal(self, name: str, properties: Mapping[str, str], publication: Publication | None) -> str:
        """Return which version exists, with other bytes or with bytes that a build has not made yet."""
        place, digest = self._place(name), ""
        if publication is not None:
            with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
                _, digest = self._source(publication, Path(folder))
        for tag in version_tags(place, properties) if BUMP not in properties else []:
            if self._records.digest(place, tag) not in ("", digest):
                version = f"{self._site.registry}/{place.repository}:{tag} exists"
                return f"{version} with other bytes" if digest else f"{version}, and the build may have other bytes"
        return ""

    @contextmanager
    def exclusive(self, stop: Stop) -> Iterator[None]:
        """Let everybody in: nobody can be kept away from a registry."""
        yield

    # -- observe ----------------------------------------------------------------------------------------------------

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return every version of a name, and every upload for it."""
        place = self._place(name)
        return entries(place, *self._records.look(place), clock.now())

    def _place(self, name: str) -> Place:
        return place_of(self._site, name, self._form)

    # -- act --------------------------------------------------------------------------------------------------------

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take a step. Its precondition is looked at just before."""
        self._records.near = publication.path.parent if publication is not None else self._records.near
        match step:
            case Upload():
                assert publication is not None
                return self._upload(step, publication, stop, report)
            case Delete(entry=entry):
                self._delete(entry)
                return None
            case Archive():
                self._archive(step)
            case Publish() | Restore():
                self._publish(step)
            case Return(entry=entry):
                place, said = self._described(entry)
                self._registry.point(place.repository, said["digest"], place.tag(step.name))
                self._records.write(place, marked(said, after(step)) | {"archive": step.name})
            case Describe(entry=entry) if not entry.target:
                self._describe(step)
            case Describe(entry=entry) | Recall(entry=entry) | Settle(entry=entry):
                place, said = self._described(entry)
                more = {"publishing": False} if isinstance(step, Settle) else {}
                self._records.write(place, marked(said, after(step)) | more)
            case Share() | Give():  # only sites with `shares` are asked
                pass
        return after(step)

    def _upload(self, step: Upload, publication: Publication, stop: Stop, report: Callable[[int], None]) -> Entry:
        """Make a record, bring the image by its digest, look at it there, and complete the record."""
        place = self._place(publication.name)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self._records.near) as name:
            folder = Path(name)
            source, digest = self._source(publication, folder)
            said = upload_of(step, publication, place, digest)
            if BUMP in publication.properties:
                said["tags"] = [self._raised(place, tag, digest) for tag in said["tags"]]
            self._refuse_other_bytes(place, said)
            self._records.write(place, said)
            (folder / "tmp").mkdir()
            self._registry.push(source, place.repository, digest, folder=folder / "tmp", stop=stop)
        if self._records.digest(place, digest) != digest:
            raise CCImagesError(
                f"site {self._site.name}: {place.repository}: the registry holds another manifest than {digest[:19]}…",
                hint="push again; if it repeats, the registry's storage is damaged",
                reason=Reason.VERIFICATION,
            )
        report(publication.size)
        said |= {"sha512": publication.sha512, "size": publication.size}
        self._records.write(place, said)
        return next(each for each in entries(place, [said], {}, clock.now()) if each.id == step.id)

    def _source(self, publication: Publication, folder: Path) -> tuple[str, str]:
        """Return a publication as skopeo reads it, and the digest of its manifest."""
        if self._form is not Format.SIF:
            return f"oci-archive:{publication.path}", layouts.archived_digest(publication.path)
        layout = folder / "layout"
        layout.mkdir()
        file = f"{publication.name}.{self._form.suffix}"
        digest = layouts.around_sif(layout, publication.path, file, publication.digest("sha256"))
        return f"oci:{layout}", digest

    def _raised(self, place: Place, tag: str, digest: str) -> str:
        """Return the first of 2.1, 2.1.1, 2.1.2 and so on that no other image has."""
        version = tag.removesuffix(place.suffix)
        numbered = (f"{version}.{number}{place.suffix}" for number in itertools.count(1))
        free = (each for each in itertools.chain([tag], numbered) if self._records.digest(place, each) in ("", digest))
        return next(free)

    def _refuse_other_bytes(self, place: Place, said: Json) -> None:
        """Raise CCImagesError where a version's tag has other bytes: whoever has pulled it does not pull it again."""
        for tag in said["tags"]:
            if self._records.digest(place, tag) in ("", said["digest"]):
                continue
            raise CCImagesError(
                f"site {self._site.name}: {self._site.registry}/{place.repository}:{tag} exists with other bytes",
                hint="raise the image's version, or say bump: yes: machines pull a version once",
                reason=Reason.CONFLICT,
            )

    def _archive(self, step: Archive) -> None:
        """Give the version in force its archive tag; the tag `latest` stays until `_publish` takes it."""
        entry = step.entry
        place = self._place(entry.name)
        digest, said = entry.id, None
        if entry.made:
            place, said = self._described(entry)
            digest = said["digest"]
        tag = place.tag(step.name)
        there = self._records.digest(place, tag)
        if there not in ("", digest) and there not in {each["digest"] for each in self._records.look(place)[0]}:
            raise self._conflict(place)
        if self._records.digest(place, place.latest) != digest:
            raise self._conflict(place)
        self._registry.point(place.repository, digest, tag)
        if said is not None:
            self._records.write(place, said | {"archive": step.name})

    def _describe(self, step: Describe) -> None:
        """Give a version other properties, and the tag that goes with them."""
        place, said = self._described(step.entry)
        wanted = step.wanted.properties
        more = [tag for tag in version_tags(place, wanted) if tag not in said["tags"] and BUMP not in wanted]
        said |= {"tags": [*said["tags"], *more]}
        self._refuse_other_bytes(place, said)
        self._records.write(place, marked(said, step.wanted))
        for tag in more:
            self._registry.point(place.repository, said["digest"], tag)

    def _publish(self, step: Publish | Restore) -> None:
        """Let a version be in force, then take its marks; one that is being removed is given up again."""
        told = after(step)
        if not step.entry.made:
            place = self._place(told.name)
            self._registry.point(place.repository, step.entry.id, place.latest)
            return
        place, said = self._described(step.entry)
        before = step.before if isinstance(step, Publish) else None
        old = self._described(before)[1] if before is not None and before.made else None
        named = self._records.digest(place, place.latest)
        if named not in ("", said["digest"], old["digest"] if old else before.id if before else ""):
            raise self._conflict(place)
        self._refuse_other_bytes(place, said)
        self._records.write(place, marked(said, told) | {"target": told.name, "publishing": True})
        for tag in (*said["tags"], place.latest):
            self._registry.point(place.repository, said["digest"], tag)
        if self._described(step.entry)[1].get("removed", False):
            if named:
                self._registry.point(place.repository, named, place.latest)
            raise self._gone(step.entry.name)
        if self._records.digest(place, place.latest) != said["digest"]:
            raise self._conflict(place)
        self._records.write(place, marked(said, told) | {"publishing": False, "archive": ""})
        if old is not None and old["id"] != said["id"]:
            self._records.write(place, old | {"archived": True, "successor": mark(step.entry.sha512)})
        if said.get("archive"):
            with suppress(CCImagesError):  # it is none any more, and its tag goes with the version
                self._records.drop(place, place.tag(said["archive"]), said["digest"])

    def _delete(self, entry: Entry) -> None:
        """Remove a version or an upload with its tags; one that is gone already is fine."""
        try:
            place, said = self._described(entry)
        except CCImagesError as error:
            if error.reason is Reason.GONE:
                return
            raise
        self._records.require_removals(place)
        self._records.write(place, said | {"removed": True})
        if self._records.is_in_force(place, said):
            self._records.write(place, said)
            raise self._conflict(place)
        self._records.remove(place, said)

    # -- records ----------------------------------------------------------------------------------------------------

    def _described(self, entry: Entry) -> tuple[Place, Json]:
        """Return a version's record as it is now. Raises CCImagesError for one that is gone."""
        place = self._place(entry.made_for or entry.target or entry.archives or entry.name)
        if (said := self._records.of(place, entry.id)) is None:
            raise self._gone(entry.name)
        return place, said

    def _conflict(self, place: Place) -> CCImagesError:
        return CCImagesError(
            f"site {self._site.name}: {self.address(place.name)} was changed meanwhile",
            hint="somebody else pushes to the repository; push again", reason=Reason.CONFLICT, temporary=True,
        )  # fmt: skip

    def _gone(self, what: str) -> CCImagesError:
        return CCImagesError(
            f"site {self._site.name}: {self.shown(what)} is gone", hint="somebody else removed it; push again",
            reason=Reason.GONE, temporary=True,
        )  # fmt: skip
