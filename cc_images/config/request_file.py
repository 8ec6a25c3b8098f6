"""A file with a request for a service: read here, judged there."""

from __future__ import annotations

import json
from pathlib import Path

from cc_images.config.requests import KEYS
from cc_images.config.strict import text_of, whole
from cc_images.config.yaml_text import as_written
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Json


def written_request(file: Path) -> Json:
    """Return a request in JSON or YAML as plain data. Raises UserError with line and column for what is no mapping."""
    text = text_of(file, str(file))
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        whole(text, [], file.name, KEYS)
        try:
            said = as_written(text)
        except ValueError as error:
            raise UserError(f"{file.name}: {error}", reason=Reason.VALUE) from None
    if not isinstance(said, dict):
        raise UserError(f"{file.name} has no mapping; it needs one with {KEYS}", reason=Reason.VALUE)
    return said
