"""One git command: its environment, its limits, and its failures in words."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.model.element_source import ElementSource
from cc_images.model.redaction import without_secrets

_HANDED_DOWN = ("GIT_SSL", "SSH_AUTH", "SSL_CERT", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
"""Beginnings of the variables that git gets from the user's environment."""


TIMEOUT = 300.0
"""Seconds that one git command may take."""


CORRUPT = re.compile(r"corrupt|inflate:|bad object|loose object|unable to read|missing blob|not a git repository")


_REFERENCE = re.compile(r"(?P<object>[0-9a-f]{40}|[0-9a-f]{64})\t(?P<name>\S+)\Z")


SILENT = "30"
"""Seconds for which a server may be silent."""


def git(
    mirror: Path, *arguments: str, url: str = "", stop: threading.Event | None = None, timeout: float = TIMEOUT
) -> str:
    """Run git. An address goes by environment, its password as a header: git shows addresses in its helpers' argv."""
    env = environment.inherited(*_HANDED_DOWN, "HOME") | {"PATH": environment.plain()["PATH"]}
    env.setdefault("HOME", "/")
    env |= {"GIT_DIR": str(mirror), "GIT_TERMINAL_PROMPT": "0"}
    # packs are put in place whole; loose objects of a killed fetch would be a commit without its files
    settings: dict[str, str] = {"fetch.unpackLimit": "1", "http.lowSpeedLimit": "1", "http.lowSpeedTime": SILENT}
    if url:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        if at and parts.scheme in ("http", "https"):
            header = base64.b64encode(unquote(user).encode()).decode()
            settings["http.extraHeader"] = f"Authorization: Basic {header}"
            url = parts._replace(netloc=host).geturl()
        settings["remote.origin.url"] = url
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return process.run(["git", *arguments], env=env, timeout=timeout, stop=stop)


def references(source: ElementSource, names: Sequence[str], timeout: float = TIMEOUT) -> dict[str, str]:
    """Return the objects to which references of a repository point now, for those that it has; nothing is fetched.

    Raises CCImagesError when the repository does not answer within `timeout` seconds.
    """
    nowhere = Path("/nonexistent")
    try:
        said = git(nowhere, "ls-remote", "--quiet", "origin", *names, url=source.repo, timeout=timeout)
    except process.CommandFailed as error:
        raise CCImagesError(
            f"{source.title} {source.name} does not answer: {without_secrets(error.message)}",
            hint=f"check its address in {source.file}, and that the server is up",
            reason=Reason.FETCH,
            temporary=True,
        ) from error
    found = (_REFERENCE.match(line) for line in said.splitlines())
    return {each["name"]: each["object"] for each in found if each and each["name"] in names}


def torn_source(source: ElementSource, why: str) -> CCImagesError:
    """Return the error for a copy of a repository that git cannot read."""
    return CCImagesError(
        f"{source.title} {source.name}: the copy of the repository is damaged: {why}",
        hint="run once without --offline, which gets another copy; if it repeats, ask the owner of the repository",
        reason=Reason.DAMAGED,
    )
