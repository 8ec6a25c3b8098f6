"""skopeo: manifests, tags and blobs of one registry. Credentials are those that skopeo finds in the standard files.

Owns its command lines and what its failures mean. No secret is in either: skopeo reads REGISTRY_AUTH_FILE, containers'
auth.json and docker's config.json itself.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.model.plain_text import clean
from cc_images.model.site import Site
from cc_images.model.stop import Stop
from cc_images.sites import layouts
from cc_images.sites.cloud import Patience

_log = logging.getLogger(__name__)

TEMPORARY = "cc-images-registry-"
"""The beginning of names of temporary folders."""

AT_ONCE = 4
"""Manifests that are asked for at a time."""

_HANDED_DOWN = (
    "HOME", "USER", "XDG_", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_", "SSL_CERT", "http_proxy",
    "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "AWS_", "GOOGLE_", "AZURE_",
)  # fmt: skip
"""Beginnings of the variables that skopeo, and programs that have credentials for it, get."""

_STATUS = r"(?:status:|StatusCode:|status code from registry) "
"""The words before a status of HTTP."""

_ABSENT = re.compile(
    rf"manifest unknown|name unknown|repository name not known|{_STATUS}404\b|Image may not exist", re.IGNORECASE
)

_FAILURES: Sequence[tuple[str, Reason, bool, str]] = (
    (r"HTTP response to HTTPS client", Reason.SITE, False,
     "say `insecure: yes` for a registry on loopback that speaks HTTP; others need a certificate"),
    (rf"unauthorized|authentication required|invalid username/password|{_STATUS}401\b", Reason.CREDENTIALS, False,
     "log in with `skopeo login`, or correct the file that REGISTRY_AUTH_FILE names"),
    (rf"\bdenied\b|{_STATUS}403\b", Reason.FORBIDDEN, False, "ask the registry's owner to let this account push there"),
    (rf"{_STATUS}(507|413)\b|no space left|quota", Reason.QUOTA, False,
     "free some space there, or ask for a larger quota"),
    (r"does not match provided manifest digest|digest did not match|digest mismatch|DIGEST_INVALID|digest invalid",
     Reason.VERIFICATION, False, "push again; if it repeats, the registry's storage is damaged"),
    (rf"{_STATUS}405\b|unsupported", Reason.SITE, False,
     "let the registry delete manifests: what is replaced, or was left by a kill, stays there otherwise"),
    (r"connection refused|connection reset|broken pipe|\bEOF\b|timeout|timed out|no such host|deadline exceeded|"
     rf"no route|network is unreachable|{_STATUS}(429|50[234])\b", Reason.UNREACHABLE, True,
     "see whether the registry runs and can be reached from here"),
    (rf"{_STATUS}500\b", Reason.SITE, True, "see the registry's own log: its storage may be full"),
)  # fmt: skip
"""What skopeo says → what that means, whether it may pass, and what to do."""


class Registry(Protocol):
    """What `registry` needs of a registry. Repositories are paths below its prefix, references tags or digests.

    All raise CCImagesError when the registry does not answer, or refuses.
    """

    def tags(self, repository: str) -> list[str]:
        """Return all tags; none for a repository that is not there."""

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """Return a manifest as it is; None if there is none."""

    def manifests(self, repository: str, references: Sequence[str]) -> dict[str, bytes | None]:
        """Return several manifests by their references."""

    def configuration(self, repository: str, reference: str) -> bytes | None:
        """Return the configuration of an image as it is; None if there is none."""

    def note(self, repository: str, annotations: Mapping[str, str], tag: str, *, folder: Path | None) -> str:
        """Bring a manifest that has annotations alone, under a tag or none; return its digest."""

    def push(self, source: str, repository: str, reference: str, *, folder: Path, stop: Stop | None = None) -> None:
        """Bring an image from a place of skopeo's (`oci:FOLDER`, `oci-archive:FILE`); `folder` is for its files."""

    def point(self, repository: str, digest: str, tag: str) -> None:
        """Let a tag have a manifest that is there."""

    def delete(self, repository: str, digest: str) -> None:
        """Remove a manifest, and every tag that has it; one that is gone is fine."""


class Skopeo:
    """One registry by skopeo."""

    def __init__(self, site: Site, patience: Patience) -> None:
        self._name, self._registry = site.name, site.registry
        self._insecure, self._patience = site.insecure, patience

    def tags(self, repository: str) -> list[str]:
        """Return all tags; none for a repository that is not there."""
        said = self._asked(["list-tags", self._verify(), f"docker://{self._registry}/{repository}"], repository)
        try:
            return [str(each) for each in json.loads(said)["Tags"] or []] if said is not None else []
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._failure(repository, "its list of tags is none") from error

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """Return a manifest as it is; None if there is none."""
        where = self._at(repository, reference)
        return self._asked(["inspect", "--raw", self._verify(), f"docker://{where}"], where)

    def manifests(self, repository: str, references: Sequence[str]) -> dict[str, bytes | None]:
        """Return several manifests by their references, some at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda each: self.manifest(repository, each), references)
            return dict(zip(references, found, strict=True))

    def configuration(self, repository: str, reference: str) -> bytes | None:
        """Return the configuration of an image as it is; None if there is none."""
        where = self._at(repository, reference)
        return self._asked(["inspect", "--config", "--raw", self._verify(), f"docker://{where}"], where)

    def note(self, repository: str, annotations: Mapping[str, str], tag: str, *, folder: Path | None) -> str:
        """Bring a manifest that has annotations alone, under a tag or none; return its digest."""
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as name:
            digest = layouts.annotated(Path(name), annotations)
            self._copied(f"oci:{name}", repository, tag or digest, [], None)
        return digest

    def push(self, source: str, repository: str, reference: str, *, folder: Path, stop: Stop | None = None) -> None:
        """Bring an image from a place of skopeo's; `folder` is for its files."""
        self._copied(source, repository, reference, [f"--tmpdir={folder}"], stop)

    def point(self, repository: str, digest: str, tag: str) -> None:
        """Let a tag have a manifest that is there."""
        self._copied(f"docker://{self._at(repository, digest)}", repository, tag, [], None)

    def delete(self, repository: str, digest: str) -> None:
        """Remove a manifest, and every tag that has it; one that is gone is fine."""
        where = self._at(repository, digest)
        try:
            self._run(["skopeo", "delete", self._verify(), f"docker://{where}"], where, None)
        except CCImagesError as error:
            if not _ABSENT.search(error.message):
                raise

    # -- one command ------------------------------------------------------------------------------------------------

    def _copied(self, source: str, repository: str, reference: str, options: list[str], stop: Stop | None) -> None:
        verify = [self._verify("dest-"), *([self._verify("src-")] if source.startswith("docker://") else [])]
        where = self._at(repository, reference)
        words = ["--insecure-policy", *options, "copy", "--quiet", "--preserve-digests", *verify]  # our own bytes
        self._run(["skopeo", *words, source, f"docker://{where}"], where, stop)

    def _run(self, argv: list[str], where: str, stop: Stop | None) -> None:
        timeout = None if stop is not None else self._patience.store
        try:
            process.run(argv, env=self._environment(), timeout=timeout, stop=stop)
        except process.TimedOut as error:
            raise self._failure(where, "it timed out") from error
        except process.CommandFailed as error:
            raise self._failure(where, error.tail[-1] if error.tail else error.message) from error

    def _asked(self, words: list[str], where: str) -> bytes | None:
        """Return what a question is answered; None where there is nothing. It is asked again while that may help."""
        pause = self._patience.pause
        for left in reversed(range(self._patience.tries)):
            try:
                return self._answered(words, where)
            except CCImagesError as error:
                if not (error.temporary and left):
                    raise
                _log.info("%s; retry in %g s", error.message, pause)
                time.sleep(pause)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _answered(self, words: list[str], where: str) -> bytes | None:
        try:
            done = subprocess.run(
                ["skopeo", *words], env=self._environment(), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=self._patience.answer,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise CCImagesError("the program skopeo is missing", hint="install the package skopeo",
                                reason=Reason.MISSING_TOOL) from error  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise self._failure(where, "it timed out") from error
        said = clean(done.stderr[-4000:]).strip()
        if done.returncode == 0:
            return done.stdout
        if _ABSENT.search(said):
            return None
        raise self._failure(where, said.rpartition("\n")[2])

    def _environment(self) -> dict[str, str]:
        return environment.plain() | environment.inherited(*_HANDED_DOWN)

    def _verify(self, end: str = "") -> str:
        return f"--{end}tls-verify={'false' if self._insecure else 'true'}"

    def _at(self, repository: str, reference: str) -> str:
        return f"{self._registry}/{repository}{'@' if reference.startswith('sha256:') else ':'}{reference}"

    def _failure(self, where: str, said: str) -> CCImagesError:
        return failure(self._name, where.removeprefix(f"{self._registry}/"), said)


def failure(site: str, where: str, said: str) -> CCImagesError:
    """Return the error that skopeo's last line stands for."""
    found = re.search(r'msg="(.*)"\s*$', said)
    text = found.group(1).replace('\\"', '"') if found else said
    for pattern, reason, temporary, hint in _FAILURES:
        if re.search(pattern, text, re.IGNORECASE):
            return CCImagesError(f"site {site}: {where}: {text}", hint=hint, reason=reason, temporary=temporary)
    return CCImagesError(f"site {site}: {where}: {text}", hint="see the registry's own log", reason=Reason.SITE)
