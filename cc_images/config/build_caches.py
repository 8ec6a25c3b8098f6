"""The schema of `build-caches` in sites.yaml: places that share packages of Spack, and by which keys."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from cc_images.config.site_places import absolute
from cc_images.config.yaml_file import Section
from cc_images.model.build_cache import BuildCache

BUILD_CACHES = "build-caches"
"""The entry of sites.yaml that is no site."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_KEY = re.compile(r"([0-9A-Fa-f ]{40,60}|(/|~/).*)\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+\Z")
_PREFIX = re.compile(r"(/[A-Za-z0-9._=+-]+)*/?\Z")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

KINDS = "file:///FOLDER, or s3://BUCKET/PREFIX"
_NOT_YET = {
    "oci": "Spack does not sign packages in a registry, so nobody could tell a package that was tampered with",
    "http": "nothing can be written there; copy it into a folder",
    "https": "nothing can be written there; copy it into a folder",
}


def build_caches_of(section: Section | None, home: Path, file: Path) -> tuple[BuildCache, ...]:
    """Return the build caches that sites.yaml names; what is wrong with them is noted in the section."""
    if section is None:
        return ()
    found: list[BuildCache] = []
    for name in section.names:
        inner = section.child(name)
        if not _NAME.match(name):
            inner.problem("", "is not a name: letters, digits, dot, underscore and hyphen")
        cache = _cache_of(inner, home, file)
        if cache.url and (other := next((each.name for each in found if each.url == cache.url), "")):
            inner.problem("url", f"{cache.url} is also that of {other}")
        found.append(cache)
    return tuple(found)


def _cache_of(section: Section, home: Path, file: Path) -> BuildCache:
    said = section.text("url")
    url = _url(section, said, home, file)
    key = section.text("key", _KEY, "a fingerprint of 40 digits, or a GnuPG home that begins with / or ~/")
    names = [_variable(section, each) for each in ("access-key-variable", "secret-key-variable")]
    cache = BuildCache(
        name=section.name,
        url=url,
        push=section.flag("push"),
        key=absolute(key, home, file) if key.startswith(("/", "~/")) else key.replace(" ", "").upper(),
        trust=tuple(absolute(each, home, file) for each in section.words("trust")),
        endpoint=section.text("endpoint"),
        access=(names[0], names[1]),
    )
    if cache.key and not cache.push:
        section.unused("key", "it signs packages that are pushed, and push is not yes; name others' keys under trust")
    for each in cache.trust:
        if not Path(each).is_file():
            section.problem("trust", f"{each} is not there; write it with `gpg --armor --export KEY`")
    _check_service(section, cache)
    section.close()
    return cache


def _variable(section: Section, key: str) -> str:
    """Return the name of a variable; what is none may be the secret itself, and is not repeated."""
    said = section.text(key)
    if said and not _VARIABLE.match(said):
        section.problem(key, "is not the name of a variable of the environment; the value does not belong here")
        return ""
    return said


def _url(section: Section, said: str, home: Path, file: Path) -> str:
    """Return the address of a cache with a whole path; empty for one that is wrong, which is noted."""
    scheme, separator, rest = said.partition("://")
    if not separator:
        section.problem("url", f"{said!r} is not {KINDS}" if said else f"is missing: {KINDS}")
    elif scheme in _NOT_YET:
        section.problem("url", f"{scheme}:// is no build cache here: {_NOT_YET[scheme]}; known are {KINDS}")
    elif scheme == "file":
        if rest.startswith(("/", "~/")):
            return f"file://{absolute(rest, home, file)}".rstrip("/")
        section.problem("url", f"{said} must be file:///FOLDER, with a whole path")
    elif scheme == "s3":
        bucket, slash, prefix = rest.partition("/")
        if "@" in bucket:
            section.problem("url", "has credentials; name variables: access-key-variable, secret-key-variable")
        elif _BUCKET.match(bucket) and _PREFIX.match(slash + prefix) and ".." not in prefix.split("/"):
            return said.rstrip("/")
        else:
            section.problem("url", f"{said} is not s3://BUCKET/PREFIX")
    else:
        section.problem("url", f"{scheme}:// is not known; {KINDS}")
    return ""


def _check_service(section: Section, cache: BuildCache) -> None:
    """Report what only S3 has in another cache, and an address of a service that sends secrets in the clear."""
    of_s3 = {"endpoint": cache.endpoint, "access-key-variable": cache.access[0], "secret-key-variable": cache.access[1]}
    if cache.folder:
        for key, value in of_s3.items():
            if value:
                section.unused(key, "only s3:// has it")
        return
    if any(cache.access) and not all(cache.access):
        section.problem("", "needs both access-key-variable and secret-key-variable, or neither")
    if not cache.endpoint:
        return
    try:
        address = urlsplit(cache.endpoint)
        host, user = address.hostname or "", address.username
        is_odd = address.port == 0 or not _HOST.match(host) or bool(address.query or address.fragment)
    except ValueError:
        host, user, address, is_odd = "", None, urlsplit(""), True
    if address.scheme not in ("http", "https") or is_odd or user:
        section.problem("endpoint", f"{cache.endpoint} is not https://HOST[:PORT]")
    elif address.scheme == "http" and host not in _LOOPBACK:
        section.problem("endpoint", "is without TLS, which is for a service on this host's loopback")
