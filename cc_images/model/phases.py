"""dib's phases of hooks."""

from __future__ import annotations

PHASES = ("root", "extra-data", "pre-install", "install", "post-install", "post-root", "block-device", "pre-finalise",
          "finalise", "cleanup")  # fmt: skip
"""All phases in the order in which dib runs them."""

OF_TREES = PHASES[: PHASES.index("block-device")]
"""Those before there is a disk: an image from which others start goes through them in its layer."""
