"""Past runs: their journals and pages."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path

from cc_images.api.page import page_path, write_page
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Json
from cc_images.store import journal


def names(config: Config, most: int = 50) -> list[str]:
    """Return the names of the newest runs."""
    return [path.stem for path in islice(journal.newest_first(config.store), most)]


def newest(config: Config, most: int = 20) -> list[Json]:
    """Return the journals of the newest runs that began, as far as they can be read.

    Raises CCImagesError when the store cannot be read.
    """
    with clear_errors(config.store):
        readable = (journal.read(path) for path in journal.newest_first(config.store))
        return list(islice((said for said in readable if said is not None and "began" in said), most))


def find(config: Config, name: str = "") -> Json:
    """Return the journal of a run by its name or the beginning of that; by default of the newest that had a plan.

    Raises UserError when there is none.
    """
    with clear_errors(config.store):
        for path in journal.newest_first(config.store):
            if name and not path.stem.startswith(name):
                continue
            said = journal.read(path)
            if said is not None and "began" in said and (name or "plan" in said):
                return said
    raise UserError(
        f"there is no run {name}" if name else "no run yet: the store has no journal",
        hint="`cc-images report --list` shows the last runs" if name else "start one with `cc-images -b TAG`",
        reason=Reason.UNKNOWN_RUN,
    )


def page(config: Config, said: Json) -> Path:
    """Write the page of a run from its journal, and return where it is."""
    with suppress(OSError):  # another user's store: the page that its run has written will do
        return write_page(config.store, said)
    return page_path(config.store, str(said["run"]))
