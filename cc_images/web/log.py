"""The log of the service: one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from cc_images.model.redaction import without_secrets


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object; control characters are escaped, secrets in addresses left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "module": record.name,
            "message": without_secrets(record.getMessage()),
            **getattr(record, "said", {}),
        }
        if record.exc_info:
            said["traceback"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(said, default=str)


def listen(handler: logging.Handler) -> None:
    """Let a handler write what cc-images and its server log, as JSON."""
    handler.setFormatter(JsonLines())
    for name in ("cc_images", "uvicorn", "asyncio"):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.propagate = False
        log.setLevel(logging.INFO if name == "cc_images" else logging.WARNING)
