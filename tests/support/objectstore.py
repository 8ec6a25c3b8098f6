"""One account of Swift in memory, as openstacksdk's client shows it, for faults that a real one shows seldom.

Like Swift it looks whether an object is there when a conditional call begins, and its lists may lag behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from cc_images.sites.cloud import Cloud, Patience
from cc_images.sites.objects import Objects

Rule = Callable[[str, str], None]


class Answer:
    """An answer as requests gives it."""

    def __init__(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.status_code, self.content, self.reason = status, content, str(status)
        self.headers = {"Content-Length": str(len(content)), **(headers or {})}

    def json(self) -> Any:
        """Return the content as JSON."""
        return json.loads(self.content)


class ObjectStore:
    """The account; rules are called before and after each call, with its method and path."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Answer]] = {}
        self.lag = 0
        """Changes that lists do not show yet."""
        self.before: Rule = lambda method, path: None
        self.after: Rule = lambda method, path: None
        self.calls: list[str] = []
        self._changed: list[str] = []

    def get_endpoint(self) -> str:
        """Return the account's address."""
        return "http://swift.example/v1/AUTH_demo"

    def container(self, name: str) -> Objects:
        """Return a client of a container."""
        return Objects(_Account(self), name)

    def request(self, where: str, method: str, **arguments: Any) -> Answer:
        """Answer a call."""
        container, _, path = unquote(where).lstrip("/").partition("/")
        self.calls.append(f"{method} {path}")
        there = path in self.containers.get(container, {})
        self.before(method, path)
        answer = self._answered(method, container, path, there, arguments)
        self.after(method, path)
        return answer

    def _answered(self, method: str, name: str, path: str, there: bool, arguments: Mapping[str, Any]) -> Answer:
        headers, query = arguments.get("headers", {}), arguments.get("params", {})
        if method == "PUT" and not path:
            self.containers.setdefault(name, {})
            return Answer(201)
        if (objects := self.containers.get(name)) is None:
            return Answer(404)
        if not path:
            return self._listed(objects, query)
        if method == "PUT":
            if headers.get("If-None-Match") == "*" and there:
                return Answer(412)
            return self.stored(objects, path, arguments, headers, query)
        if path not in objects:
            return Answer(404)
        if method == "DELETE":
            del objects[path]
            self._changed.append(path)
            return Answer(204)
        return objects[path]

    def stored(
        self,
        objects: dict[str, Answer],
        path: str,
        arguments: Mapping[str, Any],
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> Answer:
        data = arguments.get("data", b"")
        content = data if isinstance(data, bytes) else b"".join(data)
        if query.get("multipart-manifest") == "put":
            parts = [(each, self._part(each["path"])) for each in json.loads(content)]
            if any(part is None or part.headers["ETag"] != each["etag"] for each, part in parts):
                return Answer(400)
            content = b"".join(part.content for _, part in parts if part is not None)
        meta = {name: value for name, value in headers.items() if name.startswith("X-Object-Meta-")}
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        objects[path] = Answer(200, content, {"ETag": etag, **meta})
        self._changed.append(path)
        return Answer(201, b"", {"ETag": etag})

    def _part(self, path: str) -> Answer | None:
        name, _, rest = path.lstrip("/").partition("/")
        return self.containers.get(name, {}).get(rest)

    def _listed(self, objects: Mapping[str, Answer], query: Mapping[str, str]) -> Answer:
        hidden = self._changed[-self.lag :] if self.lag else []
        found = [
            {"name": path, "hash": each.headers["ETag"]}
            for path, each in sorted(objects.items())
            if path.startswith(query["prefix"]) and path > query["marker"] and path not in hidden
        ]
        return Answer(200, json.dumps(found[: int(query["limit"])]).encode())


class _Account(Cloud):
    """The cloud of an account in memory; nobody waits for it."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__("all", "metal", Patience(pause=0.0, tries=1, settle=0.0))
        self._store = store

    def connection(self) -> SimpleNamespace:
        """Return what has the client."""
        return SimpleNamespace(object_store=self._store)
