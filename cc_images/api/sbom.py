"""Bills of materials of stored versions, from their records, or by a look inside where these say too little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cc_images.api.inspect import Bench, one_of, seen, stored
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.model.bill import Bill, bill_of
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Image, Json
from cc_images.outputs import bills
from cc_images.store import bills as keeping
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A bill as a document; `lacks` says why it has names and versions alone."""

    text: str
    lacks: str = ""


def written(
    config: Config, tag: str, arches: Sequence[Arch], form: str, version: str = "", *, bench: Bench | None = None
) -> Written:
    """Return the bill of a stored version in one of FORMS, by default of that in force.

    Raises UserError for what the store has not, and CCImagesError when nothing says which packages the image has.
    """
    image, arch = one_of(config, tag, arches)
    store = Store(config.store)
    build, _ = stored(store, image, arch, version)
    found, why = _bill(config, store, image, build, bench)
    if not found.packages:
        raise CCImagesError(
            f"nothing says which packages version {build.version} of {image.tag} has: "
            f"{why or 'its databases are empty'}",
            hint=f"`cc-images -b -f {image.tag}` builds it again",
            reason=Reason.GONE,
        )
    kept = keeping.kept(store.record_path(build), str(found.identity))  # what was published and signed
    return Written(text=kept[form].rstrip() if kept else bills.document(found, form), lacks=why)


def _bill(config: Config, store: Store, image: Image, build: Build, bench: Bench | None) -> tuple[Bill, str]:
    """Return the bill of a build, and why it has names and versions alone."""
    details: Json = store.details(build)
    found = bill_of(build, details, image.provenance)
    if found.whole:
        return found, ""
    try:
        looked = details | {"contents": seen(config, store, image, build, bench)}
    except Interrupted:
        raise
    except CCImagesError as error:  # an older record still has names and versions
        return found, error.message
    return bill_of(build, looked, image.provenance), ""
