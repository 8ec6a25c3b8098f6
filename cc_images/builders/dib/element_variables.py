"""Declarations of the variables that elements read: `variables.yaml`, and which variables nobody reads.

The file maps a variable to `values`, a regular expression that a whole value must fit, and `says`, the same in words.
No build reads it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping

from cc_images.builders.dib.element_files import mentions
from cc_images.builders.dib.elements import VARIABLES, Elements, own_elements
from cc_images.config.yaml_file import Document
from cc_images.errors import Reason, UserError
from cc_images.model.patterns import fits

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def impossible(elements: Elements, used: Iterable[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each value that cannot be. Raises UserError for a `variables.yaml` that is wrong."""
    for name in used:
        file = elements.path(name) / VARIABLES
        if not os.path.lexists(file):
            continue
        problems: list[str] = []
        for section in Document(file, problems, f"elements/{name}/{VARIABLES}").sections(_NAME):
            values, says = section.text("values"), section.text("says") or "what its element takes"
            try:
                re.compile(values)
            except (re.error, RecursionError, OverflowError) as error:
                section.problem("values", f"is not a regular expression: {error}")
            section.close()
            value = environment.get(section.name)
            if value is not None and not problems and not fits(rf"\A(?:{values})\Z", value):
                yield f"{section.name}: {value!r} is not {says}"
        if problems:
            raise UserError("\n".join(problems), hint="a variable has `values` and `says`", reason=Reason.VARIABLES)


def unread(elements: Elements, used: Iterable[str], variables: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each DIB_* variable that neither dib nor one of the elements reads."""
    used = tuple(used)
    known: list[str] = []
    for variable in variables:
        if not variable.startswith("DIB_") or any(elements.hooks_mention(name, variable) for name in used):
            continue
        if not any(mentions(path, variable) for path in (own_elements().parent / "lib").iterdir() if path.is_file()):
            known = known or _exported(elements, used)
            close = difflib.get_close_matches(variable, known, n=1)
            yield f"nothing reads {variable}" + (f" (did you mean {close[0]}?)" if close else "")


def _exported(elements: Elements, used: Iterable[str]) -> list[str]:
    """Return the DIB_* variables that the elements export."""
    return sorted({each for name in used for each in elements.exports(name) if each.startswith("DIB_")})
