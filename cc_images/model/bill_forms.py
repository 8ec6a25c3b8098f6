"""The forms that bills of materials have as documents."""

from __future__ import annotations

from collections.abc import Mapping

FORMS: Mapping[str, str] = {"cyclonedx": "cdx", "spdx": "spdx"}
"""The forms, and the ending that each has before `.json`."""
