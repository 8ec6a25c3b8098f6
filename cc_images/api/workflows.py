"""Descriptions of steps: from the repository of workflows at a version, or from a folder of the user's own.

Nothing is read outside of the folder: links in it that lead elsewhere are refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images.builders.containerfile import context
from cc_images.config.loader import Config
from cc_images.config.requests import why_no_folder
from cc_images.config.steps import describes, require_described, step_of
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.element_source import ElementSource
from cc_images.model.plain_text import brief
from cc_images.model.redaction import without_secrets
from cc_images.model.request import LATEST, LONGEST_WORD, WORD, ImageRequest
from cc_images.model.workflow import Step, Workflows
from cc_images.sources import git
from cc_images.sources.git_command import references
from cc_images.store.records import Store

NAME = "workflows"

_log = logging.getLogger(__name__)

MOST_LISTED = 20_000
"""Files of a folder that is looked at for a request over HTTP."""

LONGEST_PATH = 200
"""Characters of a path that a message shows."""

MOST_STEPS = 2000
"""Steps of a repository that are listed."""

BRANCH = "refs/remotes/"

_COMMIT = re.compile(r"[0-9a-f]{7,40}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A step's description, its folder, and the commit that changed the folder last; empty: it has none."""

    step: Step
    folder: Path
    commit: str = ""
    of_branch: bool = False
    """Whether the version is a branch, which moves."""

    @property
    def entries(self) -> list[context.Entry]:
        """The files of the folder."""
        return context.entries(self.folder)


NOTHING = Description(step=Step(), folder=Path())


def description(
    request: ImageRequest, config: Config, *, offline: bool = False, stop: threading.Event | None = None
) -> Description:
    """Return the description of a request's step: the newest one for `latest`, unless offline.

    Raises UserError for one that is not there or cannot be, and CCImagesError when the repository does not answer.
    """
    if request.is_base:
        return NOTHING
    if request.path is not None:
        found = Description(step=Step(), folder=_own(request.path))
    else:
        found = _of_repository(request, config, offline, stop)
    require_described(found.folder)
    _require_inside(found.folder)
    return replace(found, step=step_of(found.folder))


def served(path: str, workflows: Workflows) -> Path | None:
    """Return the folder that a path means below those that are served; None: there is none.

    Links are followed first, and nothing outside of those folders is looked at unless a link there leads to it.
    """
    if not path or "\0" in path or ".." in Path(path).parts:
        return None
    for each in workflows.served:
        folder = Path(each)
        with suppress(OSError, RuntimeError):
            if (folder / path).is_relative_to(folder):
                found = (folder / path).resolve()
                if found.is_relative_to(folder.resolve()) and found.is_dir():
                    return found
    return None


def listed(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the steps of each workflow of the repository, at the commit that `latest` means; empty without one.

    The repository is fetched; while it does not answer, the steps are those that were fetched last. Raises
    CCImagesError when it was never fetched.
    """
    if not config.workflows.repo:
        return {}
    source, store = _repository(config, config.workflows.folder), Store(config.store)
    try:
        at = git.update(source, store)
    except CCImagesError as error:
        _log.warning("the workflows are those of the last time: %s", without_secrets(error.message))
        at = git.update(source, store, offline=True)
    found: dict[str, tuple[str, ...]] = {}
    left = MOST_STEPS
    for workflow in _named_folders(at.folder) if _is_inside(at, store) else ():
        steps = [each.name for each in _named_folders(workflow) if describes(each)][:left]
        left -= len(steps)
        if steps:
            found[workflow.name] = tuple(steps)
    return found


def _is_inside(found: git.Checkout, store: Store) -> bool:
    """Say whether a folder of the repository is in it: a link there may lead elsewhere."""
    return found.folder.resolve().is_relative_to((store.root / "sources" / NAME / found.commit).resolve())


def _named_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that a request can name; links may lead elsewhere, and are none."""
    found = (Path(each.path) for each in os.scandir(folder) if each.is_dir(follow_symlinks=False))
    return sorted(each for each in found if WORD.match(each.name) and len(each.name) <= LONGEST_WORD)


def standing(request: ImageRequest, config: Config, timeout: float) -> dict[str, str]:
    """Return by what the description of a step is known now: `commit`, or `listing` of a folder; nothing is fetched.

    With another one the same request may give another image. Empty: it cannot change. Raises UserError for a version
    that is not there, and CCImagesError when the repository does not answer in time.
    """
    if request.is_base:
        return {}
    if request.path is not None:
        return {"listing": _listing(request.path)}
    source = _source(request, config)
    if request.version == LATEST:
        if source.commit:
            return {"commit": source.commit}
        names = [f"refs/heads/{source.branch}", f"refs/tags/{source.branch}"] if source.branch else ["HEAD"]
    else:
        names = [f"refs/tags/{request.version}", f"refs/heads/{request.version}"]
    found = references(source, names, timeout)
    commit = next((found[each] for each in names if each in found), "")
    if not commit and not _COMMIT.match(request.version):
        raise _no_version(request)
    return {"commit": commit} if commit else {}


def _listing(folder: Path) -> str:
    """Return a digest of names, sizes and times of the files of a folder. Raises UserError for too many."""
    found = hashlib.sha256()
    for number, path in enumerate(_below(folder)):
        if number == MOST_LISTED:
            raise UserError(f"the folder has more than {MOST_LISTED} files", hint="name a smaller one")
        with suppress(OSError):
            status = path.lstat()
            stamp = f"{status.st_mode} {status.st_size} {status.st_mtime_ns}"
            found.update(f"{path.relative_to(folder)}\0{stamp}\0".encode(errors="surrogateescape"))
    return found.hexdigest()


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted((*folders, *files)))


def _own(path: Path) -> Path:
    if why := why_no_folder(path):
        raise UserError(f"path: {brief(str(path), LONGEST_PATH)} {why}", hint="name a folder", reason=Reason.VALUE)
    return path.resolve()


def _of_repository(request: ImageRequest, config: Config, offline: bool, stop: threading.Event | None) -> Description:
    """Return the folder of a step in the repository of workflows."""
    source = _source(request, config)
    store = Store(config.store)
    refs = [source]
    if request.version != LATEST:
        tag, branch = f"refs/tags/{request.version}", f"{BRANCH}{request.version}"
        commit = [request.version] if _COMMIT.match(request.version) else []
        refs = [replace(source, branch="", commit=each) for each in (tag, branch, *commit)]
    for number, each in enumerate(refs):
        try:
            # the first one has brought all branches and tags
            found = git.update(each, store, offline=offline or number > 0, stop=stop)
        except CCImagesError as error:
            if error.reason is Reason.MISSING_ELEMENT:
                raise _not_there(request, config) from error
            if request.version == LATEST or error.temporary or error.reason is not Reason.FETCH:
                raise
            continue
        if not _is_inside(found, store):
            raise _not_there(request, config)
        commit_of_folder = git.last_change(each, store, found.commit)
        return Description(step=Step(), folder=found.folder.resolve(), commit=commit_of_folder,
                           of_branch=each.commit.startswith(BRANCH))  # fmt: skip
    raise _no_version(request)


def _source(request: ImageRequest, config: Config) -> ElementSource:
    """Return the repository of workflows, with the folder of a step. Raises UserError where nothing names it."""
    if not config.workflows.repo:
        raise UserError(
            f"nothing says where the workflow {request.workflow} is described",
            hint="give the request a path, or say workflows: {repo: ADDRESS} in settings.yaml",
            reason=Reason.CONFIGURATION,
        )
    return _repository(config, f"{config.workflows.folder}/{request.workflow}/{request.step}")


def _repository(config: Config, folder: str) -> ElementSource:
    """Return the repository of workflows, with a folder of it."""
    said = config.workflows
    return ElementSource(
        name=NAME,
        title="the repository of",
        file="settings.yaml",
        repo=said.repo,
        branch=said.branch,
        commit=said.commit,
        elements_directory=os.path.normpath(folder),
    )


def _no_version(request: ImageRequest) -> UserError:
    return UserError(
        f"version {request.version}: the repository of workflows has no such tag, branch or commit",
        hint="name one of its own, or leave the version out",
        reason=Reason.VALUE,
    )


def _not_there(request: ImageRequest, config: Config) -> UserError:
    place = os.path.normpath(f"{config.workflows.folder}/{request.workflow}/{request.step}")
    return UserError(
        f"the repository of workflows has no folder {place} at version {request.version}",
        hint="name a workflow and a step of its own, or another version",
        reason=Reason.MISSING_FILE,
    )


def _require_inside(folder: Path) -> None:
    """Raise UserError for links that lead out of a folder."""
    for link in _links(folder):
        target = os.readlink(link)
        inside = os.path.normpath(link.parent / target)
        if os.path.isabs(target) or not Path(inside).is_relative_to(folder) or not _ends_inside(link, folder):
            raise UserError(
                f"{link.relative_to(folder)} is a link that leads out of its folder",
                hint="put the file itself there",
                reason=Reason.ODD_FILE,
            )


def _ends_inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # links that lead to each other
        return False


def _links(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files) if Path(place, name).is_symlink())
