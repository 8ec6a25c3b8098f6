"""Images by request: a step of a workflow for a machine, as entries of the catalogue made on the fly, and a run."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images.api import remote_build
from cc_images.api.outcome import Outcome
from cc_images.api.request_entries import entries
from cc_images.api.run import run
from cc_images.api.workflows import description
from cc_images.config.loader import Config
from cc_images.config.requests import image_name, read_request, request_of
from cc_images.engine.events import Observer
from cc_images.model.catalog import Format, Image, Json
from cc_images.model.plan import BuildJob, Request, Status
from cc_images.model.request import ImageRequest, identifier, sif_name
from cc_images.store.records import Store

__all__ = ["Made", "Prepared", "build_request", "prepared", "put", "read_request", "request_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as an ordinary run takes it: while its folder is there."""

    asked: ImageRequest
    request: Request
    config: Config
    image: Image
    commit: str = ""
    """The commit of the workflow's repository that changed the step last; empty: it is from a folder."""

    @property
    def name(self) -> str:
        """The name under which the image is published."""
        return self.image.published_name(self.asked.machine.arch)

    @property
    def identifier(self) -> str:
        """The image's identifier: name and version."""
        return identifier(self.name, self.asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The outcome of a request. `files` has the image by formats, where there is one."""

    ready: Prepared
    outcome: Outcome
    files: Mapping[Format, Path]

    @property
    def identifier(self) -> str:
        """The image's identifier: name and version."""
        return self.ready.identifier

    @property
    def sif_name(self) -> str | None:
        """The name of the image's SIF file with its version; None where the machine's engine takes none."""
        taken = Format.SIF in self.ready.image.formats
        return sif_name(self.ready.name, self.ready.asked) if taken else None

    @property
    def commit(self) -> str:
        """The commit of the workflow's repository that changed the step last."""
        return self.ready.commit

    @property
    def is_new(self) -> bool:
        """Whether anything was built."""
        tasks = {task.id for task in self.outcome.plan.tasks if isinstance(task.job, BuildJob)}
        return any(self.outcome.results[each].status is Status.DONE for each in tasks & {*self.outcome.results})

    def as_json(self, files: Mapping[Format, str]) -> Json:
        """Return what came of it as plain data, with places of its files by format."""
        return {
            "image": self.identifier,
            "sif": self.sif_name,
            "commit": self.commit,
            "files": dict(files),
            "run": self.outcome.plan.version,
            "built": self.is_new,
            "seconds": self.outcome.seconds,
        }


def build_request(
    asked: ImageRequest,
    config: Config,
    observer: Observer,
    *,
    stop: threading.Event,
    offline: bool = False,
    sites: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Made:
    """Carry out a request, made by `read_request` or `request_of`; see `api.run.run`.

    Raises UserError for a request that cannot be, and CCImagesError for what keeps its run from having a name.
    """
    with prepared(asked, config, offline=offline, stop=stop, sites=sites) as ready:
        outcome = run(ready.request, ready.config, observer, offline=offline, stop=stop, words=words)
    return Made(ready=ready, outcome=outcome, files=_files(ready))


def put(made: Made, wanted: Format, folder: Path) -> Path:
    """Copy the image to a folder, in a format, under the name that it has with its version; return its place."""
    stem = sif_name(made.ready.name, made.ready.asked).removesuffix(Format.SIF.suffix)
    target = folder / f"{stem}{wanted.suffix}"
    remote_build.placed(remote_build.Order(target=target, recipe=target), made.ready.request, made.ready.config, wanted)
    return target


@contextmanager
def prepared(
    asked: ImageRequest,
    config: Config,
    *,
    offline: bool = False,
    stop: threading.Event | None = None,
    sites: Sequence[str] = (),
) -> Iterator[Prepared]:
    """Yield a request as a run takes it, with a configuration that has its entries; its folder goes with it.

    Raises UserError for a request that cannot be, and CCImagesError when the repository does not answer.
    """
    name = image_name(asked, config.workflows.prefix, config.images)
    found = description(asked, config, offline=offline, stop=stop)
    with tempfile.TemporaryDirectory(prefix="cc-images-request-") as made:
        images = entries(asked, found, config, Path(made))
        images[-1] = replace(images[-1], name=name)
        own = replace(config, images={**config.images, **{each.tag: each for each in images}})
        request = Request(
            tags=(images[-1].tag,),
            arches=(asked.machine.arch,),
            build=True,
            push=bool(asked.push),
            force=asked.force,
            jobs=0,
            sites=tuple(sites),
        )
        yield Prepared(asked=asked, request=request, config=own, image=images[-1], commit=found.commit)


def _files(ready: Prepared) -> Mapping[Format, Path]:
    """Return the files of the image that is in force."""
    store = Store(ready.config.store)
    build = store.in_force(ready.image.tag, ready.asked.machine.arch)
    formats = build.outputs if build else ()
    return {each: store.image_link(ready.name, each) for each in ready.image.formats if each in formats}
