"""Durations as people write them, `24h`, `90 days`, `18 months`, and the rules of retirement that consist of them."""

from __future__ import annotations

import re
from itertools import pairwise

from cc_images.config.yaml_file import Section
from cc_images.model.catalog import Retirement

DAY = 86_400
LONGEST = 100 * 365 * DAY
"""Seconds that no rule needs to look ahead."""

_UNITS = {"m": 60, "h": 3600, "d": DAY, "w": 7 * DAY, "month": 365 * DAY // 12, "y": 365 * DAY}
_NAMES = {
    "m": ("m", "min", "minute", "minutes"),
    "h": ("h", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
    "month": ("month", "months"),
    "y": ("y", "year", "years"),
}
_LENGTHS = {name: _UNITS[unit] for unit, names in _NAMES.items() for name in names}
_DURATION = re.compile(rf"(\d{{1,6}}) ?({'|'.join(sorted(_LENGTHS, key=len, reverse=True))})\Z")


def duration(section: Section, key: str) -> int:
    """Return a duration in seconds; 0 without the key. A month is a twelfth of 365 days."""
    return _moment(section, key) or 0


def _moment(section: Section, key: str) -> int | None:
    """Return a duration in seconds after which something happens; None, without the key: it never does."""
    said = section.text(key, _DURATION, "a duration such as 24h, 14 days or 12 months")
    if not said:
        return None
    found = _DURATION.match(said)
    assert found is not None
    seconds = int(found[1]) * _LENGTHS[found[2]]
    if seconds > LONGEST:
        section.problem(key, f"{said} is more than a hundred years")
        return None
    return seconds


def retirement(section: Section) -> Retirement | None:
    """Read the section `retire` of an image or a site; None without it."""
    is_said = "retire" in section
    inner = section.child("retire")
    rules = Retirement(
        private_after=_moment(inner, "private-after"),
        hide_after=_moment(inner, "hide-after"),
        delete_after=_moment(inner, "delete-after"),
        keep=inner.number("keep", 1, least=0),
    )
    inner.close()
    if not is_said:
        return None
    stages = ("private-after", "hide-after", "delete-after")
    given = [(each, value) for each in stages if (value := getattr(rules, each.replace("-", "_"))) is not None]
    for (sooner, first), (later, second) in pairwise(given):
        if second < first:
            section.problem("retire", f"{later} comes before {sooner}")
    return rules
