"""Bills of materials of builds that were looked into: made once, and kept in the store beside the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import clear_errors
from cc_images.model.bill import bill_of
from cc_images.model.bill_forms import FORMS
from cc_images.model.builds import Build
from cc_images.outputs.bills import document
from cc_images.store import bills
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """The documents about a build by form, or why there are none."""

    documents: Mapping[str, str] = field(default_factory=dict)
    lacking: str = ""


def documents(store: Store, build: Build, published_name: str) -> Bills:
    """Return the bills of a build, which are made and kept if they are not there yet.

    There are none of a build that was never looked into, or by an older version, and none without the libraries.
    """
    bill, record = bill_of(build, store.details(build), {}), store.record_path(build)
    if not (bill.whole and bill.packages):
        return Bills(lacking="no SBOM: its package databases were not read")
    if found := bills.kept(record, str(bill.identity)):
        return Bills(documents=found)
    try:
        made = {form: f"{document(bill, form)}\n" for form in FORMS}
    except CCImagesError as error:
        if error.reason is not Reason.MISSING_TOOL:
            raise
        return Bills(lacking=f"no SBOM: {error.message}, {error.hint}")
    with clear_errors(store.root), store.lock("gc", shared=True):  # whoever forgets the build holds it alone
        if record.exists():
            bills.keep(record, made)
            if store.current(build.tag, build.arch) == build.version:
                store.point_names(build, published_name)
    return Bills(documents=made)
