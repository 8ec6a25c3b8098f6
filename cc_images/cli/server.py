"""The verbs that a service elsewhere carries out, each from its options to its exit code."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cc_images import clock
from cc_images.cli.server_follow import How, cancelled, follow, tell, way
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Format
from cc_images.report import text
from cc_images.report.units import size
from cc_images.web.client import answers, decisions, shown
from cc_images.web.client.address import address_of, authorization_of
from cc_images.web.client.attempts import Attempts
from cc_images.web.client.connection import Link
from cc_images.web.client.download import download as fetch
from cc_images.web.client.service import Service, builds_path, checked, is_id

ENDS = tuple(f".{each.suffix}" for each in Format)
"""How the names of files of images end."""

EVERY = 0.5
"""Seconds between two looks at the progress of a download."""


def _service(options: argparse.Namespace) -> Service:
    if not options.server:
        raise UserError("this is about a service", hint="name it: --server URL, or CC_IMAGES_SERVER; docs/service.md")
    link = Link(address_of(options.server), authorization_of(options.token_file), options.ca_file or None)
    return Service(link, Attempts(_say))


def _say(message: str) -> None:
    text.say(f"cc-images: {message}", to=sys.stderr)


def run(options: argparse.Namespace) -> int:
    """Request images, and follow what becomes of them."""
    if not options.build and not options.version:
        raise UserError("-p without -b publishes a stored version there", hint="name it: --version VERSION")
    if not options.build and options.force:
        raise UserError("-f without -b is not for a service")
    if options.build and options.version:
        raise UserError("--version is about a stored version, and -b builds a new one", hint="leave one of them out")
    service = _service(options)
    tags = _tags(service, options.tags)
    if not options.build:
        return decisions.worst(
            [_requested(service, service.push(file), options) for file in _stored(service, tags, options)]
        )
    arches = list(options.architecture) or os.environ.get("ARCH", "").replace(",", " ").split()
    content = {"images": tags, "architectures": arches, "push": options.push, "force": options.force}
    return _requested(service, service.request(content), options)


def build_request(options: argparse.Namespace) -> int:
    """Request the image that a file describes, and follow what becomes of it; with -o get its files."""
    from cc_images.config.request_file import written_request

    folder = _folder(options.output)
    content = written_request(Path(options.request))
    if options.push:
        if content.get("push") is False:
            raise UserError(f"{options.request} says push: false, and -p says the opposite", hint="remove one of them")
        content["push"] = True
    service = _service(options)
    taken = service.request(content)
    code = _requested(service, taken, options)
    if code or options.detach or not options.output:
        return code
    return _files(service, _names(service, taken.id), folder, options)


def status(options: argparse.Namespace) -> int:
    """Show one's builds, or all that is known of some."""
    service = _service(options)
    if not options.tags:
        path = builds_path(options.everyone)
        said = service.told(path)
        found = answers.read(said, list[answers.Build])
        text.say(text.as_json(said) if options.json else shown.builds(found, clock.now()))
        return 0
    said = [service.told(f"/build/{checked(each)}") for each in options.tags]
    builds = [answers.read(each, answers.Build) for each in said]
    text.say(text.as_json(said) if options.json else "\n".join(map(shown.build, builds)))
    return 0


def catalogue(options: argparse.Namespace) -> int:
    """Show the images that can be requested."""
    service = _service(options)
    said = service.told("/catalogue")
    found = answers.read(said, list[answers.Entry])
    if options.tags:
        wanted = _fitting(found, options.tags)
        found = [each for each in found if each.image in wanted]
        said = [each for each in said if each["image"] in wanted]
    text.say(text.as_json(said) if options.json else shown.catalogue(found))
    return 0


def log(options: argparse.Namespace) -> int:
    """Show the log of a build; with -f until it is over."""
    service = _service(options)
    if options.follow:
        return follow(service, options.id, How(json=options.json, on_interrupt=options.on_interrupt, task=options.task))
    pieces = service.log(options.id, options.task)
    if options.json:
        text.say(text.as_json({"build": options.id, "task": options.task, "log": "".join(pieces)}))
        return 0
    for piece in pieces:
        sys.stdout.write(piece)
    return 0


def download(options: argparse.Namespace) -> int:
    """Download a file, or all files of a build."""
    folder = _folder(options.output)
    service = _service(options)
    names = _names(service, options.what) if is_id(options.what) else [options.what]
    return _files(service, names, folder, options)


def cancel(options: argparse.Namespace) -> int:
    """Cancel a build; one that is over stays as it is, or leaves the list if that is said."""
    said = cancelled(_service(options), options.id, remove=options.remove)
    text.say(text.as_json({"build": options.id, "said": said}) if options.json else said)
    return 0


def _requested(service: Service, taken: answers.Requested, options: argparse.Namespace) -> int:
    """Show a request that was taken, and follow it unless that is not wanted."""
    how = How(json=options.json, quiet=getattr(options, "quiet", False), on_interrupt=options.on_interrupt)
    tell(how, "requested", build=taken.id, joined=taken.joined)
    if options.detach:
        if not options.json:
            text.say(taken.id)
            _say(f"to follow it: {way(service, 'log -f', taken.id)}")
        return 0
    if not options.json:
        before = (service.build(taken.id).queue_position or 1) - 1
        place = f"; {before} before it" if before else ""
        same = "; the same was requested before, and is one build with it" if taken.joined else ""
        _say(f"build {taken.id}{same}{place}")
    return follow(service, taken.id, how)


def _tags(service: Service, words: Sequence[str]) -> list[str]:
    """Return the tags that words mean; for patterns the service is asked what it has."""
    unknown = next((each for each in words if each in ("all", "scheduled")), None)
    if unknown is not None:
        raise UserError(f"{unknown} means images of this host's catalogue", hint="name images of the service: 'cc-*'")
    return _fitting(service.catalogue(), words) if any(set(each) & set("*?[") for each in words) else list(words)


def _fitting(found: Sequence[answers.Entry], words: Sequence[str]) -> list[str]:
    tags: dict[str, None] = {}
    for word in words:
        fitting = [each.image for each in found if fnmatch.fnmatchcase(each.image, word)]
        if not fitting:
            raise UserError(f"the service has no image {word}", hint="cc-images list", reason=Reason.UNKNOWN_IMAGE)
        tags |= dict.fromkeys(fitting)
    return list(tags)


def _stored(service: Service, tags: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Return a file of each stored version that is to be published."""
    found: dict[tuple[str, str], str] = {}
    for each in service.files():
        wanted = not options.architecture or each.architecture in options.architecture
        if wanted and each.version == options.version and each.image in tags:
            found.setdefault((each.image, each.architecture), each.file)
    lacking = next((tag for tag in tags if tag not in {image for image, _ in found}), None)
    if lacking is not None:
        raise UserError(f"you have no version {options.version} of {lacking} there", reason=Reason.GONE)
    return list(found.values())


def _names(service: Service, id: str) -> list[str]:
    """Return the names of the files that a build has made: of images alone, since the service chooses them."""
    found = service.build(id)
    names = [file for each in found.images for file in each.files]
    odd = next((each for each in names if not each.endswith(ENDS)), None)
    if odd is not None:
        raise UserError(f"build {id} has a file {odd[:200]!r}, which is no image by its name", reason=Reason.FORBIDDEN)
    if not names:
        why = "has made no files" if found.status in decisions.OVER else "is not over"
        raise UserError(f"build {id} {why}: {shown.state(found)}", reason=Reason.GONE)
    return names


def _folder(said: str) -> Path:
    folder = Path(said or ".")
    if not folder.is_dir():
        why = "is no folder" if folder.exists() else "is not there"
        raise UserError(f"--output {folder} {why}", hint="name a folder that is there", reason=Reason.MISSING_FILE)
    return folder


def _files(service: Service, names: Sequence[str], folder: Path, options: argparse.Namespace) -> int:
    paths: list[Path] = []
    for name in names:
        progress = Progress(name) if sys.stderr.isatty() and not options.json else None
        paths.append(fetch(service, name, folder, progress.at if progress else lambda have, whole: None))
        if progress:
            progress.close()
        if not options.json:
            text.say(str(paths[-1]))
    tell(How(json=options.json), "downloaded", files=[str(each) for each in paths])
    return 0


class Progress:
    """A line at a terminal that says how far a download is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen = 0.0

    def at(self, have: int, whole: int) -> None:
        """Show that so many bytes of all are there."""
        now = time.monotonic()
        if now - self._seen >= EVERY:
            self._seen = now
            line = f"{self._name}: {100 * have // max(whole, 1)} % of {size(whole)}"
            print(f"\r{line[:78]:78}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the line away."""
        print(f"\r{'':78}\r", end="", file=sys.stderr, flush=True)
