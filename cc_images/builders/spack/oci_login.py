"""Credentials for a registry: from variables that sites.yaml names, or the files of containers' tools; and its tokens.

The files are those that skopeo, podman and docker write: REGISTRY_AUTH_FILE, else containers/auth.json below
XDG_RUNTIME_DIR and XDG_CONFIG_HOME, else docker's config.json; and the programs that these name. No secret is an
argument or in a message.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment
from cc_images.model.build_cache import BuildCache

PATIENCE = 30.0
"""Seconds that a program with credentials may take."""

_HINT = "log in with `skopeo login`, or set the variables that sites.yaml names for this build cache"
_BASIC, _BEARER = re.compile(r"\bbasic\b", re.IGNORECASE), re.compile(r"\bbearer\s+(.*)", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PROGRAM = re.compile(r"[A-Za-z0-9_.-]+")
_IDENTITY = "<token>"
"""The user's name by which programs say that they have no password but a token of another kind."""


class Login:
    """What one user may do in one repository. `read` fetches a small JSON text by an address and headers."""

    def __init__(self, cache: BuildCache, read: Callable[[str, Mapping[str, str]], Any]) -> None:
        self._cache, self._read = cache, read
        self._host, _, self._repository = cache.repository.partition("/")

    def authorization(self, challenge: str, actions: str) -> str:
        """Return the header by which a registry that answers with a challenge lets us take some actions.

        Raises CCImagesError when there are no credentials, or they do not count.
        """
        pair = self._credentials()
        if found := _BEARER.search(challenge):
            return f"Bearer {self._token(dict(reversed(_PARAMETER.findall(found[1]))), pair, actions)}"
        if not _BASIC.search(challenge):
            raise self._failed("the registry wants a login of a kind that is not known here")
        if pair is None:
            raise self._failed(f"the registry wants a login, and there is none for {self._host}")
        return _basic(*pair)

    def _token(self, said: Mapping[str, str], pair: tuple[str, str] | None, actions: str) -> str:
        realm = said.get("realm", "")
        address = urlsplit(realm)
        is_near = address.scheme == "http" and address.hostname == urlsplit(f"//{self._host}").hostname
        if address.scheme != "https" and not (self._cache.insecure and is_near):
            raise self._failed("the registry names a place for tokens that is without TLS")
        asked = {"service": said.get("service", ""), "scope": f"repository:{self._repository}:{actions}"}
        words = urlencode({key: value for key, value in asked.items() if value})
        headers = {} if pair is None else {"Authorization": _basic(*pair)}
        answer = self._read(f"{realm}{'&' if address.query else '?'}{words}", headers)
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._failed("the place for tokens of the registry gives none")
        return token

    def _credentials(self) -> tuple[str, str] | None:
        """Return user and password; None where nobody has any."""
        if any(self._cache.access):
            user, password = map(self._variable, self._cache.access)
            return user, password
        for file in _files():
            try:
                said = json.loads(file.read_bytes())
                found = self._in(said)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
                raise self._failed(f"{file} cannot be read, or is no file with credentials") from error
            if found is not None:
                return found
        return None

    def _variable(self, name: str) -> str:
        if not (value := environment.variable(name)):
            raise self._failed(f"the variable {name} is not set")
        return value

    def _in(self, said: dict[str, Any]) -> tuple[str, str] | None:
        """Return what a file has for the repository or its host, the nearest first."""
        if program := said.get("credHelpers", {}).get(self._host):
            return self._told_by(program)
        auths = said.get("auths", {})
        for name in self._names():
            entry = auths.get(name) or {}
            if entry.get("identitytoken"):
                raise self._failed(f"there is an identity token for {self._host}, which cannot be used here")
            if entry.get("auth"):
                user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
                if not colon:
                    raise ValueError(name)
                return user, password.rstrip("\0")
        return self._told_by(said["credsStore"]) if said.get("credsStore") else None

    def _names(self) -> Iterator[str]:
        path = self._cache.repository
        while path:
            yield path
            path = path.rpartition("/")[0]
        yield from (f"https://{self._host}{end}" for end in ("", "/", "/v1/", "/v2/"))

    def _told_by(self, program: str) -> tuple[str, str] | None:
        """Return what a program of containers' tools has for the host; it gets the host's name as its input."""
        if not _PROGRAM.fullmatch(program):
            raise ValueError(program)
        try:
            done = subprocess.run(
                [f"docker-credential-{program}", "get"], input=self._host.encode(), capture_output=True,
                env=environment.whole(), timeout=PATIENCE, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(f"docker-credential-{program} does not run, or does not end") from error
        if done.returncode != 0:
            return None  # which is how it says that it has none
        said = json.loads(done.stdout)
        if said["Username"] == _IDENTITY:
            raise self._failed(f"there is an identity token for {self._host}, which cannot be used here")
        return str(said["Username"]), str(said["Secret"])

    def _failed(self, why: str) -> CCImagesError:
        return CCImagesError(f"{self._cache.url}: {why}", hint=_HINT, reason=Reason.CREDENTIALS)


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _files() -> Iterator[Path]:
    """Yield the files that may have credentials, in the order in which containers' tools look."""
    if said := environment.variable("REGISTRY_AUTH_FILE"):
        yield Path(said)
        return
    home = Path.home()
    if said := environment.variable("XDG_RUNTIME_DIR"):
        yield Path(said) / "containers" / "auth.json"
    yield Path(environment.variable("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(environment.variable("DOCKER_CONFIG") or home / ".docker") / "config.json"
