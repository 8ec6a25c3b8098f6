"""The kinds of builder hosts: how jobs are started on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cc_images.model.attempt import BuilderHost
from cc_images.remote.cloud_machines import machine_loop
from cc_images.remote.launchers.base import Launcher
from cc_images.remote.launchers.machine import MachineLauncher
from cc_images.remote.launchers.slurm import SlurmLauncher
from cc_images.remote.launchers.ssh import SshLauncher


def _slurm(host: BuilderHost, hub: str, store: Path) -> Launcher:
    return SlurmLauncher(host)


def _ssh(host: BuilderHost, hub: str, store: Path) -> Launcher:
    return SshLauncher(host, hub)


def _machine(host: BuilderHost, hub: str, store: Path) -> Launcher:
    return MachineLauncher(host, lambda: machine_loop(host, store), partial(_reached, hub))


def _reached(hub: str, host: BuilderHost, options: tuple[str, ...]) -> Launcher:
    return SshLauncher(host, hub, options)


LAUNCHERS: Mapping[str, Callable[[BuilderHost, str, Path], Launcher]] = {
    "ssh": _ssh,
    "slurm": _slurm,
    "machine": _machine,
}
"""What starts jobs, by the kind of an entry; it takes the entry, where the hub of the run listens, and the store."""


def launcher(host: BuilderHost, hub: str, store: Path) -> Launcher:
    """Return the launcher of a builder host."""
    return LAUNCHERS[host.kind](host, hub, store)
