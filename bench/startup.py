"""Measure what `cc-images --help`, `list` and a completion cost against `python3 -c pass`: CPU seconds and ratios."""

from __future__ import annotations

import os
import subprocess
import sys

ROUNDS = 40
GOAL = 3.5


def cpu(command: list[str]) -> float:
    """Return the CPU seconds, user and system, of one run of a command."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main() -> None:
    """Print both sides, alternating them so that a noisy neighbour meets both."""
    sides = {
        "python3 -c pass": [sys.executable, "-c", "pass"],
        "cc-images --help": [sys.executable, "-m", "cc_images", "--help"],
        "cc-images complete": [sys.executable, "-m", "cc_images", "complete", "-b", "cc-"],
        "cc-images list": [sys.executable, "-m", "cc_images", "list"],
    }
    totals = dict.fromkeys(sides, 0.0)
    for _ in range(ROUNDS):
        for name, command in sides.items():
            totals[name] += cpu(command)
    for name, total in totals.items():
        print(f"{name:18} {1000 * total / ROUNDS:6.1f} ms CPU")
    for name in list(sides)[1:]:
        ratio = totals[name] / totals["python3 -c pass"]
        goal = f"    (goal < {GOAL:g})" if name.endswith("--help") else ""
        print(f"{'ratio of ' + name.rpartition(' ')[2]:18} {ratio:6.2f}{goal}")
    program = "import sys; from cc_images.cli.main import parser; parser('').format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    heavy = [name for name in ("openstack", "diskimage_builder", "yaml", "tqdm") if name in loaded]
    print(f"{'heavy imports':18} {', '.join(heavy) or 'none'}")


if __name__ == "__main__":
    main()
