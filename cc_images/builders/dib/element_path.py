"""The folders of elements for a request, with third-party ones brought up to date, and the elements' claims.

Decides nothing; whatever is worth knowing of it is returned as sentences for the user.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cc_images.builders.dib.element_checks import Claims, own_checks
from cc_images.builders.dib.element_lint import Lint
from cc_images.builders.dib.element_variables import impossible, unread
from cc_images.builders.dib.elements import Elements, MissingElement, own_elements, with_layout
from cc_images.config.loader import Config, packaged
from cc_images.errors import CCImagesError, Interrupted, Reason, UserError
from cc_images.model.catalog import Arch, Image
from cc_images.model.contract import named
from cc_images.model.element_source import ElementSource
from cc_images.model.target import Target
from cc_images.sources import git
from cc_images.store.records import Store

AT_ONCE = 8
"""Sources that are asked at a time."""


def third_party(
    config: Config, store: Store, *, offline: bool, stop: threading.Event | None = None
) -> dict[str, git.Checkout]:
    """Return the third-party elements by the names of their sources, brought up to date side by side unless `offline`.

    Raises CCImagesError with all that cannot be had.
    """
    found: dict[str, git.Checkout] = {}
    troubles: list[CCImagesError] = []

    def update(source: ElementSource) -> git.Checkout | CCImagesError:
        try:
            return git.update(source, store, offline=offline, stop=stop)
        except CCImagesError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sources") as pool:
        for source, answer in zip(config.sources, pool.map(update, config.sources), strict=True):
            if isinstance(answer, CCImagesError):
                troubles.append(answer)
            else:
                found[source.name] = answer
    if troubles:
        first = troubles[0]
        if len(troubles) == 1 or isinstance(first, Interrupted):
            raise first
        raise CCImagesError(
            "\n".join(each.message for each in troubles),
            hint=first.hint,
            reason=first.reason,
            temporary=all(each.temporary for each in troubles),
        )
    return found


def known_folders(config: Config, store: Store) -> tuple[Path, ...]:
    """Return the folders of elements as far as they are here; nothing is fetched."""
    fetched = [folder for source in config.sources if (folder := git.last(source, store)) is not None]
    return (*config.elements, *fetched, own_elements())


def with_claims(chosen: Sequence[Target], config: Config, elements: Elements) -> tuple[list[Target], list[str]]:
    """Return the images with what their elements claim among their checks, and which have elements that are not here.

    Raises UserError for claims that are wrong.
    """
    claims = Claims(elements)
    completed: list[Target] = []
    told: dict[str, None] = {}
    for image, arch in chosen:
        try:
            complete = claims.complete(image, config.lineage(image))
            completed.append(Target(replace(complete, checks=named(complete.checks, image.boot)), arch))
        except MissingElement as error:
            own = named(own_checks(config.lineage(image)), image.boot)
            completed.append(Target(replace(image, checks=own), arch))
            told[f"{image.tag} is tested by its own checks alone: {error.message}"] = None
    return completed, list(told)


def require_sound(image: Image, arch: Arch, config: Config, elements: Elements, lint: Lint) -> None:
    """Raise UserError for values that cannot be, and for hooks that dib would pass over without a word.

    An image may allow such hooks. dib's own elements are not looked at.
    """
    used = elements.closure(with_layout((*config.content(image), *image.disk), arch))
    if values := list(impossible(elements, used, config.variables(image))):
        raise UserError("; ".join(values), hint="correct it in images.yaml or the environment", reason=Reason.VALUE)
    ignored = [] if "ignored-hooks" in image.allow else _ignored(used, elements, lint)
    if ignored:
        hint = "or say allow: [ignored-hooks] in images.yaml"
        raise UserError("; ".join(ignored), hint=hint, reason=Reason.IGNORED_HOOKS)


def linted(chosen: Sequence[Target], config: Config, elements: Elements, lint: Lint) -> list[str]:
    """Return what is odd about the elements of images, a sentence each; dib's own are not looked at."""
    told = dict.fromkeys(_of_the_package(chosen, config, elements))
    for image, arch in chosen:
        used = elements.closure(with_layout((*config.content(image), *image.disk), arch))
        variables = config.variables(image)
        own = [name for each in config.lineage(image) for name in each.environment]
        told.update(dict.fromkeys(f"{image.name}: {each}" for each in unread(elements, used, own)))
        unset = [name for name in config.declared(image) if name not in variables]
        told.update(dict.fromkeys(f"{image.name}: secrets: {name} is set by nothing" for name in unset))
        if "ignored-hooks" in image.allow:
            told.update(dict.fromkeys(_ignored(used, elements, lint)))
        for path in _others(used, elements):
            told.update(dict.fromkeys(lint.odd(path)))
    return list(told)


def _others(names: Iterable[str], elements: Elements) -> list[Path]:
    """Return the folders of elements that are not dib's own."""
    own = own_elements()
    return [path for path in map(elements.path, names) if path.parent != own]


def _ignored(names: Iterable[str], elements: Elements, lint: Lint) -> list[str]:
    return [sentence for path in _others(names, elements) for sentence in lint.ignored(path)]


def _of_the_package(chosen: Sequence[Target], config: Config, elements: Elements) -> Iterator[str]:
    """Say which images of another catalogue have the element of their own name from cc-images."""
    ours = packaged("elements")
    if config.files["images.yaml"] == packaged("images.yaml") or config.elements[0] == ours:
        return
    for image, _ in chosen:
        if image.elements == (image.tag,) and elements.path(image.tag).parent == ours:
            place = config.elements[0]
            yield f"element {image.tag} is the one that comes with cc-images: {place} has none of this name"


def as_of(third: Mapping[str, git.Checkout], offline: bool) -> list[str]:
    """Say which copies of third-party elements are used without asking."""
    return [
        f"--offline: elements {name} at commit {each.commit[:12]}, as fetched {each.fetched:%Y-%m-%d %H:%M} UTC"
        for name, each in third.items()
        if offline
    ]
