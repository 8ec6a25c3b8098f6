"""Publications on request: which stored version a file's name means, and why it cannot be published any more."""

from __future__ import annotations

from cc_images.api.stored_images import StoredFile, stored_files
from cc_images.model.catalog import Arch, Format
from cc_images.web.kinds import push_of
from cc_images.web.service import Service
from cc_images.web.tables import Account
from cc_images.web.value import Value

ENDS = {end for each in Format for end in (f".{each.suffix}", f"-{each}.{each.suffix}")}
"""How the names of files go on behind the version."""


class Outdated(Exception):
    """A version that was there, and is not any more, or will not be when its turn comes."""


def publication(service: Service, account: Account, name: str) -> Value | None:
    """Return the request to publish the version of a file; None: the account has no such file. Raises Outdated."""
    file = found(service, account, name)
    if file is None:
        _require_unknown(service, account, name)
        return None
    for value, run in service.queue.at_work():
        content = value.content
        if value.kind == "images" and content["force"] and run != file.version and file.tag in content["images"] \
                and (not content["architectures"] or file.arch in content["architectures"]):  # fmt: skip
            raise Outdated(
                f"a build by force that waits or runs replaces version {file.version} of {file.tag} for {file.arch}: "
                "publish what it makes"
            )
    return push_of(file.tag, file.arch, file.version)


def found(service: Service, account: Account, name: str) -> StoredFile | None:
    """Return a file by its name among those that records have and the account may see."""
    versions = service.queue.versions(account)
    return next((each for each in stored_files(service.catalogue.config, versions) if each.file_name == name), None)


def _require_unknown(service: Service, account: Account, name: str) -> None:
    """Raise Outdated for a file of a version that the account has had."""
    config = service.catalogue.config
    for tag, arch, version in sorted(service.queue.known(account)):
        image = config.images.get(tag)
        begins = f"{image.published_name(Arch(arch))}-{version}" if image is not None else ""
        if not begins or not name.startswith(begins) or name.removeprefix(begins) not in ENDS:
            continue
        others = stored_files(config, service.queue.versions(account))
        other = next((each.file_name for each in others if (each.tag, each.arch) == (tag, arch)), "")
        raise Outdated(
            f"version {version} of {tag} for {arch} is no longer in the store: a build by force has replaced it, or it "
            f"was pruned; {f'there is {other}' if other else 'request the image again, with push: true'}"
        )
