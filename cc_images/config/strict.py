"""Files of strangers: small, with nothing that JSON has not, mistakes with line and column, and no long words shown."""

from __future__ import annotations

import re
from pathlib import Path

from cc_images.config import json_text
from cc_images.config.yaml_file import Document, Section
from cc_images.config.yaml_text import LARGEST, Node, beyond_json
from cc_images.errors import ConfigError, Reason, UserError
from cc_images.model.redaction import without_logins

KIB = 1 << 10
MOST = 64 * KIB
"""Bytes of such a file."""

SHOWN = 10
"""Mistakes that are shown."""

LONGEST_LINE = 400
"""Characters of a mistake."""


_PAIR = re.compile(r"(\\\\)|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""A character that JSON writes as two halves, which YAML does not; a backslash that is written twice begins none."""


class Mistake(str):
    """A mistake as it is shown, with the key at which it is, and in words without its place."""

    field: str
    words: str

    def __new__(cls, shown: str, field: str, words: str) -> Mistake:
        """Return a mistake."""
        made = super().__new__(cls, shown)
        made.field, made.words = field, words
        return made


class WrongFile(ConfigError):
    """What is wrong with a file of a stranger; `field` is the first key at fault (empty: it is no mapping)."""

    def __init__(self, problems: list[str], first: str) -> None:
        super().__init__(problems)
        self.field = _one_line(first.field) if isinstance(first, Mistake) else ""
        self.words = _one_line(first.words if isinstance(first, Mistake) else first)


class StrictDocument(Document):
    """A text of a stranger, read as YAML, of which JSON is a part; what is neither is judged by the file's name."""

    columns = True

    def __init__(self, text: str, problems: list[str], title: str) -> None:
        assert MOST < LARGEST
        said = text
        text = _PAIR.sub(lambda found: found[1] or _letter(found[2], found[3]), text)
        odd = beyond_json(text)
        super().__init__(Path(title), problems, title, "" if odd else text)
        if odd:
            problems.append(f"{title}:{odd[0]}:{odd[1]}: has {odd[2]}, which is not read here; write it out")
        elif self.root is None and problems and title.lower().endswith(".json"):
            wrong = json_text.mistake(said)
            place = f"{title}:{wrong[0]}:{wrong[1]}: is not JSON: {wrong[2]}" if wrong else ""
            problems[-1] = place or problems[-1].replace(" is not YAML:", "", 1)

    def problem(self, node: Node, path: str, text: str) -> None:
        """Note a mistake at a node."""
        super().problem(node, path, text)
        self._problems.append(Mistake(self._problems.pop(), path.lstrip("."), without_logins(text)))


def text_of(file: Path, title: str, most: int = MOST) -> str:
    """Return the text of a regular file that is not too large. Raises UserError."""
    try:
        if not file.is_file():
            why = "is a folder" if file.is_dir() else "is not a regular file" if file.exists() else "is not there"
            raise UserError(f"{title} {why}", hint="name a file", reason=Reason.MISSING_FILE)
        with file.open("rb") as opened:
            content = opened.read(most + 1)
        if len(content) > most:
            raise UserError(f"{title} has more than {most // KIB} KiB", hint="shorten it", reason=Reason.VALUE)
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{title} is not a text in UTF-8", hint="save it as one", reason=Reason.VALUE) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{title} cannot be read: {why}", hint="name another file", reason=Reason.MISSING_FILE
        ) from error


def whole(text: str, problems: list[str], title: str, known: str) -> Section:
    """Return the mapping that a text has. Raises WrongFile for what is none, with what was expected."""
    document = StrictDocument(text, problems, title)
    found = None if problems else document.whole()
    if found is None and not problems:
        problems.append(f"{title}: is empty; it needs a mapping with {known}")
    refuse(problems)
    assert found is not None
    return found


def refuse(problems: list[str]) -> None:
    """Raise WrongFile if there are mistakes: the first of them, each on one line that a terminal can take."""
    if problems:
        said = [_one_line(each) for each in dict.fromkeys(problems)]
        more = [f"and {len(said) - SHOWN} more mistakes"] if len(said) > SHOWN else []
        raise WrongFile([*said[:SHOWN], *more], problems[0])


def _letter(high: str, low: str) -> str:
    return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)


def _one_line(text: str) -> str:
    plain = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return plain if len(plain) <= LONGEST_LINE else f"{plain[:LONGEST_LINE]}…"
