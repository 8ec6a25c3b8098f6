"""Calls of the Image API v2 (Glance) through an openstacksdk session, and its images as `Entry`.

Measured against Glance 33, openstacksdk 4, and different from the SDK's own image methods for these reasons:

- An upload is an iterable that opens the file again at each start. After a 401 keystoneauth repeats the request, and
  the SDK would send a file from where it stands: a short image becomes active.
- A call that changes something is made once: keystoneauth repeats what was answered with 503, and a load balancer
  answers for calls that took effect. An answer that is not one of Glance's counts as not seen.
- The endpoint is the catalogue's; a version discovery would be one more call that can fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Json
from cc_images.model.properties import CORE
from cc_images.model.site import Site
from cc_images.sites.cloud import ENOUGH, Cloud, Patience
from cc_images.sites.entry import Entry

OURS = "cc-images"
"""The tag of every image that cc-images has made; more of them, with a key and a value, are its marks."""

NAME = "build-name"
"""The property with the name that an image was made for: Glance stores it with the image, unlike tags, in one step."""

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"

CORE_NUMBERS = ("min_disk", "min_ram")
"""Properties that Glance wants as numbers (GiB and MiB)."""

EXPECTED = {"GET": (200,), "POST": (201, 202, 204), "PUT": (204,), "PATCH": (200,), "DELETE": (204,)}
"""The statuses of Glance's successful answers; others come from something in between."""

PAGE = "1000"
"""Images that are asked for at once; Glance gives fewer if it likes."""


class ImageApi:
    """One cloud's images."""

    def __init__(self, site: Site, patience: Patience = ENOUGH, cloud: Cloud | None = None) -> None:
        self._site = site
        self.cloud = cloud or Cloud(site.name, site.cloud, patience)
        self._base = ""

    def listed(self, **query: str) -> list[Entry]:
        """Return the images that match of the project, and of the owners that the site names, all pages."""
        found: dict[str, Entry] = {}
        for owner in dict.fromkeys((self.project(), *self._site.owners)):
            path: str | None = "/images"
            parameters: Mapping[str, str] | None = {"owner": owner, "limit": PAGE, **query}
            while path:
                images, following = self.call("GET", path, params=parameters, read=_page)
                found |= {image.id: image for image in images}
                path, parameters = following.removeprefix("/v2") or None, None
        return list(found.values())

    def _tags(self, image_id: str) -> list[str]:
        return list(self.call("GET", f"/images/{image_id}")["tags"])

    def get(self, image_id: str) -> Entry | None:
        """Return an image; None if there is none of this id."""
        found: Entry | None = self.call(
            "GET", f"/images/{image_id}", fine=(404,), read=lambda answer: entry(answer) if answer else None
        )
        return found

    def patch(
        self, image_id: str, changes: Mapping[str, object], new: Container[str] = (), gone: Iterable[str] = ()
    ) -> Entry:
        """Change what an image has, in one call, once: `new` are properties that it has not, `gone` are removed."""
        body: list[Json] = [
            {"op": "add" if name in new else "replace", "path": f"/{name}", "value": value}
            for name, value in changes.items()
        ]
        body += [{"op": "remove", "path": f"/{name}"} for name in sorted(gone)]
        headers = {"Content-Type": PATCH_TYPE}
        changed: Entry = self.call("PATCH", f"/images/{image_id}", tries=1, json=body, headers=headers, read=entry)
        return changed

    def project(self) -> str:
        """Return the id of the project that the connection is for."""
        return str(self.cloud.repeated(lambda: self.cloud.connection().session.get_project_id()))

    def call(
        self,
        method: str,
        path: str,
        *,
        tries: int = 0,
        fine: tuple[int, ...] = (),
        timeout: tuple[float, float] | None = None,
        read: Callable[[Any], Any] = lambda answer: answer,
        **arguments: Any,
    ) -> Any:
        """Make a call up to `tries` times (0: as its patience says) while its failure is temporary.

        Return the answer as `read` makes it from JSON; one that it cannot read is not Glance's. Raises CCImagesError,
        temporary where nobody knows what became of the call.
        """
        headers = {"Accept": "application/json", **arguments.pop("headers", {})}

        def call() -> Any:
            answer = self.cloud.connection().session.request(
                f"{self._endpoint()}{path}",
                method,
                timeout=timeout or (self.cloud.patience.connect, self.cloud.patience.answer),
                raise_exc=False,
                status_code_retries=0,
                connect_retries=0,
                headers=headers,
                **arguments,
            )
            return self._checked(answer, method, fine, read)

        return self.cloud.repeated(call, tries)

    def _endpoint(self) -> str:
        """Return the address that paths are below, as clouds.yaml or the catalogue says."""
        if not self._base:
            connection = self.cloud.connection()
            config = connection.config
            found = config.get_endpoint("image") or connection.session.get_endpoint(
                service_type="image",
                interface=config.get_interface("image"),
                region_name=config.get_region_name("image"),
            )
            if not found:
                raise CCImagesError(
                    f"site {self._site.name}: the cloud's catalogue has no image service",
                    hint="check region_name and interface of the cloud in clouds.yaml",
                    reason=Reason.CLOUD,
                )
            self._base = f"{found.rstrip('/').removesuffix('/v2')}/v2"
        return self._base

    def _checked(self, answer: Any, method: str, fine: tuple[int, ...], read: Callable[[Any], Any]) -> Any:
        status = answer.status_code
        if status in fine:
            return read({})
        if status in EXPECTED[method]:
            try:
                return read(answer.json() if answer.content else {})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CCImagesError(
                    f"site {self._site.name}: an answer is not Glance's: {type(error).__name__}: {str(error)[:100]}",
                    hint="something in between, such as a proxy, may have answered; else see the cloud's own log",
                    reason=Reason.SITE,
                    temporary=True,
                ) from error
        asked = self._site.visibility or "as the image that is replaced"
        reason, hint = {
            401: (Reason.CREDENTIALS, "check the credentials of the cloud in clouds.yaml"),
            403: (
                Reason.FORBIDDEN,
                f"the user's role may not do this in the project; check roles, visibility ({asked}) and quotas",
            ),
            404: (Reason.GONE, "somebody else removed the image; push again"),
            409: (Reason.CONFLICT, "somebody else is working on the image, or it is in use; push again"),
            410: (Reason.GONE, "somebody else removed the image while it was uploaded; push again"),
            413: (Reason.QUOTA, "the cloud's storage or the project's quota is full; remove old images, see `keep`"),
        }.get(status, (Reason.SITE, "see the cloud's own log"))
        raise CCImagesError(
            f"site {self._site.name}: {method} returned {status}: {_said(answer)}",
            hint=hint,
            reason=reason,
            temporary=status in (408, 409, 429, 500, 502, 503, 504) or status < 400,
        )


def _page(answer: Any) -> tuple[list[Entry], str]:
    """Return the images of a page, and where the next one is."""
    return [entry(image) for image in answer["images"]], answer.get("next", "")


def entry(image: Mapping[str, Any]) -> Entry:
    """Return one of Glance's images."""
    marks = dict(
        tag.removeprefix(f"{OURS}:").partition("=")[::2] for tag in image["tags"] if tag.startswith(f"{OURS}:")
    )
    said = {name: value for name, value in image.items() if name not in CORE and not name.startswith("os_glance_")}
    properties = {name: str(value) for name, value in said.items() if isinstance(value, str | int)}
    return Entry(
        id=image["id"],
        name=image["name"] or "",
        sha512=image.get("os_hash_value") or "",
        algorithm=image.get("os_hash_algo") or "sha512",
        size=image.get("size") or 0,
        created=datetime.strptime(image["created_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
        properties=properties,
        status=image["status"],
        disk_format=image.get("disk_format") or "",
        hidden=bool(image.get("os_hidden")),
        visibility=image["visibility"],
        protected=bool(image.get("protected")),
        owner=image.get("owner") or "",
        tags=frozenset(tag for tag in image["tags"] if tag.partition(":")[0] != OURS),
        made=OURS in image["tags"],
        made_for=str(image.get(NAME) or ""),
        run=marks.get("run", ""),
        target=marks.get("target", ""),
        replaces=marks.get("replaces", ""),
        turn=int(turn) if (turn := marks.get("turn", "")).isdecimal() and turn.isascii() and len(turn) < 10 else 0,
        archives=marks.get("archives", ""),
        successor=marks.get("successor", ""),
        intended=marks.get("visibility", ""),
        recalled="recalled" in marks,
        owes="owes_members" in marks,
        lent="lent_protection" in marks,
    )


def typed(properties: Mapping[str, str]) -> Json:
    """Return properties as Glance wants them: some as numbers."""
    return {name: int(value) if name in CORE_NUMBERS else value for name, value in properties.items()}


def tags(of: Entry) -> list[str]:
    """Return the tags that an image shall have: people's, and our marks."""
    if not of.made:
        return sorted(of.tags)
    marks = marked(
        run=of.run,
        target=of.target,
        replaces=of.replaces,
        turn=str(of.turn or ""),
        archives=of.archives,
        successor=of.successor,
        visibility=of.intended,
        recalled="yes" if of.recalled else "",
        owes_members="yes" if of.owes else "",
        lent_protection="yes" if of.lent else "",
    )
    return sorted({*of.tags, *marks})


def marked(**marks: str) -> list[str]:
    """Return marks as tags; those without a value are left out."""
    return [OURS, *(f"{OURS}:{name}={value}" for name, value in marks.items() if value)]


def _said(answer: Any) -> str:
    """Return what an error's body says, without its markup."""
    text = re.sub(r"<[^>]*>|\s+", " ", answer.text or "").strip()
    return re.sub(r"\s+", " ", text)[:300] or answer.reason
