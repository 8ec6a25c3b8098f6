"""The schema of builders.yaml: hosts that build besides, or instead of, this one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from cc_images.config.durations import duration
from cc_images.config.slurm_entry import slurm_of
from cc_images.config.yaml_file import Document, Section
from cc_images.errors import UserError
from cc_images.model.attempt import HERE, BuilderHost, Provider
from cc_images.model.catalog import Arch

NAME, OF = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z"), "small letters, digits, dot, underscore and hyphen"
BUILDERS = "CC_BUILDERS_CONFIG"
"""The variable that names the file of builder hosts, which need not exist."""

SHORTEST, USUAL = 1800, 12 * 3600
"""Seconds that a machine of a cloud lives at least, and without a word in the file."""

_SSH = re.compile(r"(ssh://)?([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]*\Z")
"""A destination as ssh takes it, and nothing that it would take for an option."""

_HUB = re.compile(r"https://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,9}))?/?\Z")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
_COMMAND = re.compile(r"(?![+-])[A-Za-z0-9_./+-]*[A-Za-z0-9_+-]\Z")
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*\Z")
_FOLDER = re.compile(r"(/|~/)[^\x00-\x1f\x7f]*\Z")


def builder_hosts(file: Path | None, problems: list[str]) -> tuple[BuilderHost, ...]:
    """Return the builder hosts of a file; mistakes are added to the problems."""
    if file is None:
        return ()
    found: list[BuilderHost] = []
    for section in Document(file, problems, "builders.yaml").sections(NAME, OF):
        host = _host(section, file.parent)
        own = next((each.name for each in found if each.local), "")
        if host.local and own:
            section.problem("local", f"this host has an entry, {own}")
        if host.name == HERE and not host.local:
            section.problem("", "is the name of this host (local: yes); another one needs another name")
        found.append(host)
    return tuple(found)


def _host(section: Section, folder: Path) -> BuilderHost:
    is_slurm = "slurm" in section
    ca = section.text("hub-ca")
    provider = _provider(section) if "provider" in section else None
    host = BuilderHost(
        name=section.name,
        ssh=section.text("ssh", _SSH, "USER@HOST, or a name of your ssh configuration"),
        slurm=slurm_of(section) if is_slurm else {},
        architectures=section.choices("architectures", Arch),
        tasks=section.number("limits", provider.maximum if provider else 1, least=1, most=1000),
        scratch=section.text("scratch", _FOLDER, "a folder that begins with / or ~/"),
        trusted=section.flag("trusted"),
        local=section.flag("local"),
        command=section.text("command", _COMMAND, "a program's name or path") or "cc-images",
        hub=section.text("hub", _HUB, "https://HOST:PORT, where `cc-images store serve` listens").rstrip("/"),
        ca=str(folder / ca) if ca else "",
        retries=section.number("retry-lost", 1, least=0, most=10),
        provider=provider,
    )
    _check_kind(section, host, is_slurm)
    _check_hub(section, host, is_slurm)
    section.close()
    return host


def _check_kind(section: Section, host: BuilderHost, is_slurm: bool) -> None:
    """Report an entry of no kind or of several, and what machines of a cloud need, or cannot have."""
    provider = host.provider
    if sum((bool(host.ssh), is_slurm, host.local)) != (0 if provider and not is_slurm else 1):
        section.problem(
            "",
            "needs one of ssh (USER@HOST), slurm (a mapping, {} will do), local: yes and provider (a mapping); "
            "slurm and provider may stand together",
        )
    if provider and not is_slurm and not host.architectures:
        section.problem("architectures", "is missing: a machine that is not there yet cannot say its own")
    if provider and is_slurm and provider.reserve:
        section.problem("provider.reserve", "is not for nodes of Slurm, which keeps them itself: SuspendExcNodes")
    if host.name == HERE and not host.local:
        section.problem("", "is this host's name; give the other one another")


def _check_hub(section: Section, host: BuilderHost, is_slurm: bool) -> None:
    """Report a hub that is missing, cannot be, or is known by nothing."""
    if is_slurm and not host.hub:
        section.problem("hub", "is missing: the nodes of a cluster fetch from https://HOST:PORT of `store serve`")
    if host.hub and not host.ca:
        section.problem("hub-ca", "is missing: the file with the certificate by which the hub is known")
    port = (_HUB.match(host.hub) or {"port": None})["port"]
    if port and not 0 < int(port) < 65536:
        section.problem("hub", f"{port} is no port: 1 to 65535")


def _provider(section: Section) -> Provider:
    inner = section.child("provider")
    for key in ("cloud", "flavor", "image"):
        if not inner.kind(key):
            inner.problem("", f"needs {key}: its name in {'clouds.yaml' if key == 'cloud' else 'the cloud'}")
    ttl = duration(inner, "ttl")
    found = Provider(
        cloud=inner.text("cloud", _ONE_LINE, "one line"),
        flavor=inner.text("flavor", _ONE_LINE, "one line"),
        image=inner.text("image", _ONE_LINE, "one line"),
        network=inner.text("network", _ONE_LINE, "one line") or "auto",
        key=inner.text("key", _ONE_LINE, "one line"),
        user=inner.text("user", _USER, "a user's name") or "debian",
        zone=inner.text("zone", _ONE_LINE, "one line"),
        reserve=inner.number("reserve", 0, least=0, most=100),
        maximum=inner.number("maximum", 1, least=1, most=1000),
        ttl=ttl or USUAL,
    )
    if ttl and ttl < SHORTEST:
        inner.problem("ttl", f"is less than {SHORTEST // 60} m; a machine must outlive its start and a build")
    if found.reserve > found.maximum:
        inner.problem("reserve", f"{found.reserve} is more than the maximum, {found.maximum}")
    inner.close()
    return found


def builders_file(environ: Mapping[str, str], images_file: Path, cwd: Path) -> Path | None:
    """Return the file of builder hosts: that of CC_BUILDERS_CONFIG, or the one beside the catalogue, if any."""
    if environ.get(BUILDERS):
        return (cwd / environ[BUILDERS]).absolute()
    beside = images_file.parent / "builders.yaml"
    return beside if beside.exists() else None


def add_entry(file: Path, line: str) -> None:
    """Add an entry, a line of YAML, to a file that may not exist yet. Raises UserError where the two do not fit."""
    old = file.read_text() if file.exists() else ""
    problems: list[str] = []
    before = builder_hosts(file, problems) if old else ()
    staged = file.with_name(f".{file.name}.new")
    staged.write_text(old + ("" if not old or old.endswith("\n") else "\n") + line)
    try:
        after = builder_hosts(staged, problems)
        if problems or after[:-1] != before:
            raise UserError(
                f"no entry can be added to {file}: {'; '.join(problems) or 'it is no list of entries, a line each'}",
                hint=f"add it by hand: {line.strip()}",
            )
        of = file if old else file.parent
        os.chown(staged, of.stat().st_uid, of.stat().st_gid)
        staged.chmod(file.stat().st_mode & 0o777 if old else 0o644)
        staged.rename(file)
    finally:
        staged.unlink(missing_ok=True)
