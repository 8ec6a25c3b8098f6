"""The result of a boot test, and its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cc_images.boottest.stages import BootResult
from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Firmware, Json, Level


class Refused(CCImagesError):
    """An image did not pass. `tail` has the last lines of the console that shows it."""

    def __init__(self, verdict: BootTestResult, hint: str) -> None:
        super().__init__(
            verdict.words,
            hint=hint,
            reason=Reason(f"boot-{verdict.failed}".replace(" ", "-")),
            temporary=bool(verdict.slow_host),
            tail=verdict.tail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BootTestResult:
    """The result of a boot test. `climbs` is empty when the image was not booted; times are seconds since power-on."""

    inside: tuple[str, ...] = ()
    climbs: Mapping[Firmware, BootResult] | Mapping[str, BootResult] = field(default_factory=dict)
    """By firmware; that of a container by its format."""
    accelerated: bool = False
    tail: tuple[str, ...] = ()
    contents: Json = field(default_factory=dict)
    """The facts seen inside, of which a build's record keeps a part; see `boottest.contents.contents`."""
    broken: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of a container: what is wrong by each contract that was asked about."""
    advice: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.inside and all(climb.failed is None for climb in self.climbs.values())

    @property
    def level(self) -> Level:
        """The level that was reached with every firmware; `inside` when it was not, or hardly, booted."""
        order = list(Level)
        lowest = [order.index(climb.reached or Level.INSIDE) for climb in self.climbs.values()]
        return order[min(lowest, default=0)]

    @property
    def failed(self) -> Level | None:
        """The first level that was not reached."""
        if self.inside:
            return Level.INSIDE
        order = list(Level)
        return min((climb.failed for climb in self.climbs.values() if climb.failed), key=order.index, default=None)

    @property
    def words(self) -> str:
        """The faults, in one sentence."""
        if self.inside:
            return f"inside: {'; '.join(self.inside)}"
        told: dict[str, list[str]] = {}
        for firmware, climb in self.climbs.items():
            if climb.failed is not None:
                told.setdefault(f"{climb.failed}: {'; '.join(climb.problems)}", []).append(firmware)
        words = "; ".join(f"{text} ({' and '.join(with_)})" for text, with_ in told.items())
        return f"{words}; {self.slow_host}" if self.slow_host else words

    @property
    def slow_host(self) -> str:
        """The part of a slow host in the failure, a phrase; empty when it has none."""
        for climb in self.climbs.values():
            if climb.failed is not None and climb.timed_out:
                told = f"the guest itself gave up waiting: {climb.timed_out}"
                return f"{told}; this host had no core for it {climb.starved:.0%} of the time"
        return ""

    @property
    def stuck(self) -> str | None:
        """The first firmware, or format of a container, with which a level was not reached."""
        return next((firmware for firmware, climb in self.climbs.items() if climb.failed), None)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds from power-on by firmware and level."""
        return {f"{each}: {level}": at for each, climb in self.climbs.items() for level, at in climb.levels.items()}

    def as_json(self) -> Json:
        """Return the verdict as the build's record keeps it."""
        more: Json = {"broken": dict(self.broken)} if self.broken else {}
        more |= {"advice": list(self.advice)} if self.advice else {}
        return more | {
            "passed": self.passed,
            "level": self.level,
            "failed": self.failed,
            "inside": list(self.inside),
            "accelerated": self.accelerated,
            "boots": {
                firmware: {
                    "levels": {level: round(seconds, 1) for level, seconds in climb.levels.items()},
                    "failed": climb.failed,
                    "problems": climb.problems,
                }
                for firmware, climb in self.climbs.items()
            },
        }
