"""Claims: checks of a running image that its elements declare in their `checks.yaml`.

An image is tested by the claims of all its elements and by its own checks, which win. Claims are no part of a key: they
say what is looked at, not what is built.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import replace

from cc_images.builders.dib.elements import CHECKS, Elements, with_layout
from cc_images.config.image_parts import checks_of
from cc_images.config.images import content
from cc_images.config.yaml_file import Document
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Checks, Image
from cc_images.model.checks import merged, needless


def own_checks(lineage: Sequence[Image]) -> Checks:
    """Return what the catalogue alone asks of an image; `lineage` are its ancestors and itself."""
    return functools.reduce(merged, (each.checks for each in lineage), {})


class Claims:
    """The claims of the elements in some folders, each read when it is first asked for."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        self._of_element = functools.cache(self._read)
        self._of_elements = functools.cache(self._together)

    def complete(self, image: Image, lineage: Sequence[Image]) -> Image:
        """Return an image with all that it is tested by as its checks; `lineage` are its ancestors and itself.

        An element wins over those that it depends on, an image over all elements and over its parents. Raises
        UserError for a file of claims that is wrong, for what drops a check that nobody has, and for a missing element.
        """
        claimed, wrong = self._of_elements(with_layout((*content(lineage), *image.disk), image.arches[0]))
        problems = [*wrong]
        for ancestor in lineage:
            if ancestor is lineage[-1]:  # an ancestor may drop what its own disk's elements claim
                problems += [f"images.yaml: {image.name}.{each}" for each in needless(claimed, ancestor.checks)]
            claimed = merged(claimed, ancestor.checks)
        if problems:
            raise UserError("\n".join(problems), hint="take the line out, or correct the name", reason=Reason.CHECKS)
        return replace(image, checks=claimed)

    def of(self, name: str) -> Checks:
        """Return what one element claims."""
        return self._of_element(name)

    def _together(self, wanted: tuple[str, ...]) -> tuple[Checks, tuple[str, ...]]:
        """Return what some elements and those that they need claim together, and what is wrong with it."""
        claimed: Checks = {}
        problems: list[str] = []
        for name in self._elements.in_order(wanted):
            own = self._of_element(name)
            problems += [f"elements/{name}/{CHECKS}: {each}" for each in needless(claimed, own)]
            claimed = merged(claimed, own)
        return claimed, tuple(problems)

    def _read(self, name: str) -> Checks:
        file = self._elements.path(name) / CHECKS
        if not os.path.lexists(file):
            return {}
        problems: list[str] = []
        section = Document(file, problems, f"elements/{name}/{CHECKS}").whole()
        found = checks_of(section) if section is not None else {}
        if problems:
            hint = "docs/catalogue.md lists the kinds of checks"
            raise UserError("\n".join(problems), hint=hint, reason=Reason.CHECKS)
        return found
