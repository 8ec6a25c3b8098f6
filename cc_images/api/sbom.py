"""Bills of materials of stored versions, from their records."""

from __future__ import annotations

from collections.abc import Sequence

from cc_images.api.inspect import one_of, stored
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason
from cc_images.model.bill import Bill
from cc_images.model.catalog import Arch
from cc_images.store.records import Store


def bill(config: Config, tag: str, arches: Sequence[Arch], version: str = "") -> Bill:
    """Return the bill of a stored version, by default that in force. Raises UserError for what the store has not.

    Raises CCImagesError when the record does not say which packages the image has.
    """
    image, arch = one_of(config, tag, arches)
    store = Store(config.store)
    build, _ = stored(store, image, arch, version)
    packages = store.details(build).get("packages", {})
    if not packages:
        raise CCImagesError(
            f"the record of version {build.version} of {tag} does not name its packages",
            hint=f"`cc-images -b -f {tag}` builds it again",
            reason=Reason.GONE,
        )
    return Bill(
        name=build.name,
        version=build.version,
        arch=build.arch,
        created=build.created,
        digests={str(form): output.digest for form, output in build.outputs.items()},
        distro=image.provenance.get("distro", ""),
        release=image.provenance.get("release", ""),
        packages=packages,
    )
