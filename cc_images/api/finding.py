"""What a checkup finds, and the finding about machines of clouds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from cc_images.api import machines
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost
from cc_images.model.catalog import Json
from cc_images.sites.cloud import LOOK


class State(StrEnum):
    """How a thing stands: `slow` works, but not as well as it could; `lack` keeps something from working."""

    FINE = "ok"
    SLOW = "slow"
    LACK = "LACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: State
    text: str
    remedy: str = ""

    def as_json(self) -> Json:
        """Return the finding as plain data."""
        return asdict(self)


def machine_finding(host: BuilderHost, config: Config) -> Finding:
    """Say whether an entry of builders.yaml has machines in its cloud that nobody owns."""
    subject = f"machines of {host.name}"
    try:
        left = machines.unowned(host, config, LOOK)
    except CCImagesError as error:
        return Finding(subject=subject, state=State.LACK, text=error.message, remedy=error.hint)
    if not left:
        return Finding(subject=subject, state=State.FINE, text="each has an owner")
    remedy = "cc-images builder-node sweep"
    return Finding(subject=subject, state=State.SLOW, text=f"nobody owns {'; '.join(left)}", remedy=remedy)
