"""A catalogue that other sites pull from, in a container of Swift; its objects are those of a folder (`catalogue`).

    <scope>/current, <scope>/changes/<number>   the versions that are in force; see `changes`
    <scope>/versions/<YYYYMMDD>-vN/             one version of one image: its file, manifest.json, SHA256SUMS
    <scope>/segments/<YYYYMMDD>-vN/             segments of a file that is larger than one object may be

Objects cannot be renamed, so a version has its place from the beginning: its manifest is made first, on the condition
that there is none, and has the marks of an upload. Then comes the file, then the manifest with its digests, and last of
all `current`, which alone tells a reader. A push that ends in between leaves an upload, which the next push removes.
A removal marks the manifest first and removes it last. It looks at what is in force after the mark, and a publication
looks for the mark after it is in force, so that no version is both. Lists lag behind: versions that this object knows,
and those in force, are read whatever a list says. Each manifest has the marks of its last writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.model import site_shapes
from cc_images.model.catalog import Format, Json
from cc_images.model.site import Site
from cc_images.model.stop import Stop
from cc_images.model.swift_address import SwiftAddress
from cc_images.sites.base import (
    Act,
    Archive,
    Delete,
    Describe,
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
from cc_images.sites.catalogue_entries import (
    CURRENT,
    MANIFEST,
    SUMS,
    entry_of,
    manifest_of,
    marks_of,
    upload_of,
    with_archive_names,
)
from cc_images.sites.changes import Changes, State
from cc_images.sites.cloud import ENOUGH, Cloud, Patience
from cc_images.sites.entry import Entry, mark
from cc_images.sites.large_files import SEGMENT, Target, send_file
from cc_images.sites.objects import Objects
from cc_images.sites.queries import Queries


@dataclass(slots=True)
class Listed:
    """What a list has of one version: the names of its objects, and the entity tag of its manifest."""

    files: set[str] = field(default_factory=set)
    etag: str = ""


class ContainerCatalogue(Queries):
    """One scope of a catalogue, for images of one format."""

    def __init__(
        self,
        site: Site,
        disk_format: Format,
        patience: Patience = ENOUGH,
        objects: Objects | None = None,
        segment: int = SEGMENT,
    ) -> None:
        address = SwiftAddress.parse(site.catalogue)
        self._name, self._scope, self._suffix = site.name, site.scope, disk_format.suffix
        self._objects = objects or Objects(Cloud(site.name, address.cloud, patience), address.container)
        self._segment = segment
        self._shown = f"{site.catalogue}/{site.scope}"
        self._changes = Changes(self._objects, site.scope, f"{self._shown}/{CURRENT}")
        self._places: dict[str, str] = {}
        """The places of versions, by id, as far as they were seen."""
        self._own: set[str] = set()
        """Places in which this object has changed something: lists may not have it yet."""
        self._known: dict[tuple[str, str], Json] = {}
        """Manifests by place and entity tag."""
        self._current: Mapping[str, str] | None = None
        self.disk_format = disk_format.suffix
        self.vacates = False
        self.visibility = ""

    def place(self) -> str:
        """Return the account, the container and the scope."""
        return f"{self._objects.account()} {self._objects.container} {self._scope}"

    def first_visibility(self) -> str:
        """Return nothing: who may read a container is the container's business."""
        return ""

    def address(self, name: str) -> str:
        """Return the address of the version that was in force when that was looked at last."""
        if self._current is None:
            self._current = self._changes.state().places
        place = self._current.get(name, "")
        return f"{self._shown}/versions/{place}" if place else f"{self._shown}: {name}"

    @contextmanager
    def exclusive(self, stop: Stop) -> Iterator[None]:
        """Let `current` say what is in force; nobody can be kept away from a container."""
        self._changes.settle()
        yield

    # -- observe ----------------------------------------------------------------------------------------------------

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return every version of a name, and every upload for it."""
        return self._observed([name])[name]

    def observe_each(self, names: Sequence[str]) -> dict[str, list[Entry]]:
        """Return every version of each name, and every upload, from one list."""
        return self._observed(names)

    def _observed(self, names: Sequence[str]) -> dict[str, list[Entry]]:
        listed = self._listed()
        self._current = self._changes.state().places
        return {name: self._versions_of(name, listed, self._current.get(name, "")) for name in names}

    def _versions_of(self, name: str, listed: Mapping[str, Listed], current: str) -> list[Entry]:
        found: list[tuple[Entry, bool]] = []
        for place in sorted({*listed, *self._own, current} - {""}):
            files = listed.get(place, Listed())
            images = files.files - {MANIFEST, SUMS}
            if images and not any(each.startswith(f"{name}.") for each in images):
                continue
            said = self._manifest(place, files.etag)
            if said is None or said["name"] != name:
                continue
            self._places[said["id"]] = place
            file = f"{name}.{self._suffix}"
            stored = file in images or ("sha512" in said and self._objects.look(self._at(place, file)) is not None)
            in_force = place == current
            entry = entry_of(said, disk_format=self.disk_format, in_force=in_force, stored=stored)
            found.append((entry, in_force))
        return with_archive_names(found)

    def _listed(self, prefix: str = "") -> dict[str, Listed]:
        """Return what lists have of versions, by their places."""
        start = f"{self._scope}/versions/"
        found: dict[str, Listed] = {}
        for path, etag in self._objects.listed(start + prefix):
            place, _, file = path.removeprefix(start).partition("/")
            if file:
                found.setdefault(place, Listed()).files.add(file)
                found[place].etag = etag if file == MANIFEST else found[place].etag
        return found

    def _manifest(self, place: str, etag: str = "") -> Json | None:
        """Return a version's manifest; None if there is none of ours. With `etag`, one that was read before will do."""
        if etag and place not in self._own and (place, etag) in self._known:
            return self._known[place, etag]
        found = self._objects.read(self._at(place, MANIFEST))
        with suppress(ValueError, record_files.Newer):
            if found is not None:
                shape = site_shapes.ManifestOfVersionShape
                self._known[place, found.etag] = record_files.parsed(found.content, shape, MANIFEST)
                return self._known[place, found.etag]
        return None

    def _at(self, place: str, file: str) -> str:
        return f"{self._scope}/versions/{place}/{file}"

    # -- act --------------------------------------------------------------------------------------------------------

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take a step. Its precondition is looked at just before."""
        match step:
            case Upload():
                assert publication is not None
                return self._upload(step, publication, stop, report)
            case Archive() | Share():  # a version is archived when `current` names another one
                return after(step)
            case Delete(entry=entry):
                self._delete(entry)
                return None
            case Publish() | Restore():
                self._publish(step)
            case Describe() | Recall() | Return() | Settle():
                told = after(step)
                place = self._place_of(step.entry)
                self._write(place, self._described(place) | marks_of(told) | {"properties": dict(told.properties)})
                if isinstance(step, Settle):
                    self._changes.settle()
        return after(step)

    def _upload(self, step: Upload, publication: Publication, stop: Stop, report: Callable[[int], None]) -> Entry:
        said = upload_of(step, publication, self.disk_format)
        if step.entry is None:
            self._objects.make()
            place = self._claimed(said)
        else:
            place = self._place_of(step.entry)
        file, segments = f"{publication.name}.{self._suffix}", f"{self._scope}/segments/{place}/"
        target = Target(path=self._at(place, file), segments=segments, segment=self._segment)
        digests = send_file(self._objects, target, publication.path, publication.size, stop, report)
        self._objects.write(self._at(place, SUMS), f"{digests['sha256']}  {file}\n".encode())
        if self._described(place)["id"] != step.id:
            raise self._changes.conflict()
        self._write(place, said := said | digests)
        return entry_of(said, disk_format=self.disk_format, in_force=False, stored=True)

    def _claimed(self, said: Json) -> str:
        """Make the manifest of a version in the first free place of its day; return the place."""
        day = f"{clock.now():%Y%m%d}-v"
        taken = [each.removeprefix(day) for each in self._listed(day)]
        for number in count(1 + max((int(each) for each in taken if each.isdecimal()), default=0)):
            place = f"{day}{number}"
            self._own.add(place)
            if self._objects.claim(self._at(place, MANIFEST), manifest_of(said)):
                self._places[said["id"]] = place
                return place
        raise AssertionError("numbers do not end")

    def _publish(self, step: Publish | Restore) -> None:
        """Let a version be in force, then take its marks; one that is being removed is given up again."""
        told, before, place = after(step), self._changes.state(), self._place_of(step.entry)
        named = before.places.get(told.name, "")
        old = self._places.get(step.before.id, "") if isinstance(step, Publish) and step.before is not None else ""
        if named not in ("", place, old) and self._manifest(named) is not None:
            raise self._changes.conflict()
        self._write(place, self._described(place) | marks_of(told) | {"target": told.name})
        self._put_in_force(before, told.name, place)
        if (said := self._manifest(place)) is None or said.get("removed", False):
            self._put_in_force(self._changes.state(), told.name, named)
            raise self._gone(step.entry.name)
        self._write(place, said | marks_of(told))
        if old not in ("", place) and (replaced := self._manifest(old)) is not None:
            self._write(old, replaced | {"archived": True, "successor": mark(step.entry.sha512)})

    def _put_in_force(self, before: State, name: str, place: str) -> None:
        """Let a name have a version (none: no version), unless others have changed what is in force since `before`."""
        wanted = {each: at for each, at in before.places.items() if each != name} | ({name: place} if place else {})
        state = self._changes.change(before, wanted) if wanted != before.places else self._changes.settle()
        self._current = state.places
        if state.places.get(name, "") != place:
            raise self._changes.conflict()

    def _delete(self, entry: Entry) -> None:
        """Remove a version or an upload; one that is gone already is fine."""
        try:
            place = self._place_of(entry)
            said = self._described(place)
        except CCImagesError as error:
            if error.reason is Reason.GONE:
                return
            raise
        if place in self._changes.state().places.values():
            raise self._changes.conflict()
        self._write(place, said | {"removed": True})
        if place in self._changes.state().places.values():
            self._write(place, said)
            raise self._changes.conflict()
        listed = [path for path, _ in self._objects.listed(f"{self._scope}/segments/{place}/")]
        listed += [path for path, _ in self._objects.listed(self._at(place, ""))]
        files = {self._at(place, each) for each in (f"{said['name']}.{self._suffix}", SUMS)} | {*listed}
        for path in [*sorted(files - {self._at(place, MANIFEST)}), self._at(place, MANIFEST)]:
            self._objects.remove(path)

    def _place_of(self, entry: Entry) -> str:
        if entry.id not in self._places:
            for place, files in self._listed().items():
                if (said := self._manifest(place, files.etag)) is not None:
                    self._places[said["id"]] = place
        if (found := self._places.get(entry.id)) is None:
            raise self._gone(entry.name)
        return found

    def _described(self, place: str) -> Json:
        """Return a version's manifest as it is now. Raises CCImagesError for one that is gone."""
        if (said := self._manifest(place)) is None:
            raise self._gone(place)
        return said

    def _write(self, place: str, said: Json) -> None:
        self._own.add(place)
        self._objects.write(self._at(place, MANIFEST), manifest_of(said))

    def _gone(self, what: str) -> CCImagesError:
        return CCImagesError(
            f"site {self._name}: {what} is gone", hint="somebody else removed it; push again",
            reason=Reason.GONE, temporary=True,
        )  # fmt: skip
