"""The schema of `build-caches` in sites.yaml: places that share packages of Spack, and by which keys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
_FOLDER = re.compile(r"[^%?#\x00-\x1f\x7f]*\Z")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+\Z")
_PREFIX = re.compile(r"(/[A-Za-z0-9._=+-]+)*/?\Z")
_REGISTRY = re.compile(
    r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|localhost|[A-Za-z0-9-]+(?=:))(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+\Z"
)
"""A host and a repository, by the distribution specification; Spack takes a host without dot and port for a user."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

KINDS = "file:///FOLDER, s3://BUCKET/PREFIX, or oci://HOST/REPOSITORY"
_VARIABLES = {"s3": ("access-key-variable", "secret-key-variable"), "oci": ("user-variable", "password-variable")}
_ONLY = (
    {"endpoint": "s3"}
    | {name: kind for kind, names in _VARIABLES.items() for name in names}
    | {"insecure": "oci", "ca": "oci"}
)
"""Keys → the only kind of cache that has them."""
_NOT_YET = {
    "oci+http": "say oci:// and `insecure: yes`, for a registry on this host's loopback",
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
    names = {kind: tuple(_variable(section, each) for each in pair) for kind, pair in _VARIABLES.items()}
    user, secret = names.get(url.partition(":")[0], ("", ""))
    cache = BuildCache(
        name=section.name,
        url=url,
        push=section.flag("push"),
        key=absolute(key, home, file) if key.startswith(("/", "~/")) else key.replace(" ", "").upper(),
        trust=tuple(absolute(each, home, file) for each in section.words("trust")),
        endpoint=section.text("endpoint"),
        insecure=section.flag("insecure"),
        access=(user, secret),
        ca=absolute(ca, home, file) if (ca := section.text("ca")) else "",
    )
    if cache.key and not cache.push:
        section.unused("key", "it signs packages that are pushed, and push is not yes; name others' keys under trust")
    for each in cache.trust:
        if not os.path.isfile(each):  # which a name that is too long is not, either
            section.problem("trust", f"{each} is not there; write it with `gpg --armor --export KEY`")
    values = {each: name for kind, pair in names.items() for each, name in zip(_VARIABLES[kind], pair, strict=True)}
    values |= {"endpoint": cache.endpoint, "insecure": "yes" if cache.insecure else "", "ca": cache.ca}
    _check_kind(section, cache, values)
    _check_endpoint(section, cache.endpoint if url.startswith("s3:") else "")
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
        if not _FOLDER.match(rest):
            section.problem("url", f"{said} has characters that an address cannot have: % ? # or one that steers")
        elif rest.strip("/") and rest.startswith(("/", "~/")):
            return f"file://{absolute(rest, home, file)}".rstrip("/")
        else:
            section.problem("url", f"{said} must be file:///FOLDER, with a whole path")
    elif scheme in _VARIABLES:
        return _service_url(section, scheme, rest.rstrip("/"))
    else:
        section.problem("url", f"{scheme}:// is not known; {KINDS}")
    return ""


def _service_url(section: Section, scheme: str, place: str) -> str:
    """Return the address of a cache in a bucket or registry; empty for one that is wrong, which is noted."""
    host, slash, path = place.partition("/")
    if "@" in host:
        section.problem("url", f"has credentials; name variables: {', '.join(_VARIABLES[scheme])}")
    elif scheme == "oci" and not _REGISTRY.match(place):
        section.problem("url", f"{scheme}://{place} is not oci://HOST/REPOSITORY, with small letters in the repository")
    elif scheme == "s3" and not (_BUCKET.match(host) and _PREFIX.match(slash + path) and ".." not in path.split("/")):
        section.problem("url", f"{scheme}://{place} is not s3://BUCKET/PREFIX")
    else:
        return f"{scheme}://{place}"
    return ""


def _check_kind(section: Section, cache: BuildCache, values: Mapping[str, str]) -> None:
    """Report keys of another kind of cache, half a pair of variables, and a registry elsewhere without TLS."""
    kind = cache.url.partition(":")[0]
    for key, value in values.items():
        if value and kind and kind != _ONLY[key]:
            section.unused(key, f"only {_ONLY[key]}:// has it")
    if any(cache.access) and not all(cache.access):
        section.problem("", f"needs both {' and '.join(_VARIABLES[kind])}, or neither")
    if cache.insecure and cache.repository and cache.repository.partition("/")[0].partition(":")[0] not in _LOOPBACK:
        section.problem("insecure", "is for a registry on this host's loopback; give others a certificate")
    if cache.ca and cache.insecure:
        section.problem("ca", "there is no certificate to look at with `insecure: yes`; remove one of the two")
    elif cache.ca and not Path(cache.ca).is_file():
        section.problem("ca", f"{cache.ca} is not there; it has certificates, as PEM")


def _check_endpoint(section: Section, endpoint: str) -> None:
    """Report an address of a service that is none, or that sends secrets in the clear."""
    if not endpoint:
        return
    try:
        address = urlsplit(endpoint)
        host, user = address.hostname or "", address.username
        is_odd = address.port == 0 or not _HOST.match(host) or bool(address.query or address.fragment)
    except ValueError:
        host, user, address, is_odd = "", None, urlsplit(""), True
    if address.scheme not in ("http", "https") or is_odd or user:
        section.problem("endpoint", f"{endpoint} is not https://HOST[:PORT]")
    elif address.scheme == "http" and host not in _LOOPBACK:
        section.problem("endpoint", "is without TLS, which is for a service on this host's loopback")
