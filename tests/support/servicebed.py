"""A service without a server: its application is called in the tests' own process, and runs are played."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from cc_images.api.launch import Launcher
from cc_images.config.loader import load
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format, Json
from cc_images.model.service_terms import Limits, SignUp
from cc_images.store.journal import Journal, events_path
from cc_images.store.records import Store
from cc_images.web import app, service
from cc_images.web.access import Gatekeeper
from cc_images.web.accounts import Accounts, Role
from cc_images.web.catalogue import Catalogue
from cc_images.web.database import Database, default
from cc_images.web.passwords import Cost, Passwords
from cc_images.web.sessions import Sessions
from cc_images.web.throttle import Throttle
from cc_images.web.tokens import Tokens
from tests.conftest import clean_environment, write_files

CHEAP = Cost(time=1, memory=8, lanes=1)
PASSWORDS = {"ada": "correct horse battery", "bob": "staple of the horses", "root": "the administrator's"}

IMAGES = """\
CC-One: {elements: [debian-minimal], disk: []}
CC-Two: {elements: [debian-minimal], disk: [], arch: [amd64, arm64]}
CC-Base: {elements: [debian-minimal], abstract: true}
"""


class PlayedRuns(Launcher):
    """Plays the runs of builds: each holds its lock until the test ends it."""

    def __init__(self) -> None:
        super().__init__(Path("/"), {})
        self.words: dict[str, Sequence[str]] = {}
        self.launches: list[str] = []
        self._locks: dict[str, int] = {}

    def launch(self, folder: Path, words: Sequence[str], files: Mapping[str, str] = MappingProxyType({})) -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._locks[folder.name], self.words[folder.name] = lock, words
        self.launches.append(folder.name)
        (folder / "run.json").unlink(missing_ok=True)
        return True

    def note(self, folder: Path, **said: Any) -> None:
        """Write into the run file of a build."""
        path = folder / "run.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | said))

    def die(self, folder: Path) -> None:
        """End a process without a word."""
        os.close(self._locks.pop(folder.name))

    def close(self) -> None:
        while self._locks:
            os.close(self._locks.popitem()[1])


def _basic(who: str) -> str:
    return base64.b64encode(f"{who}:{PASSWORDS[who]}".encode()).decode()


def add_everyone(known: Accounts) -> None:
    """Add the accounts of PASSWORDS."""
    for name, password in PASSWORDS.items():
        known.add(name, password, Role.ADMINISTRATOR if name == "root" else Role.USER)


@cache
def _new_database() -> bytes:
    """Return a database with accounts: to make one takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(default(Path(folder)))
        database.migrate()
        known = Accounts(database, Passwords(CHEAP))
        add_everyone(known)
        database.close()
        return (Path(folder) / "service.sqlite").read_bytes()


@dataclass
class ServiceBed:
    """A service over the folder of a test."""

    folder: Path
    limits: Limits = field(default_factory=Limits)
    runs: PlayedRuns = field(default_factory=PlayedRuns)
    tries: int = 10
    """Wrong passwords of one name that count within a minute."""
    store_folder: Path | None = None
    address: str = ""
    """Of a database elsewhere, which is empty or has the accounts."""
    sign_up: SignUp = SignUp.OFF

    def __post_init__(self) -> None:
        environment = clean_environment(self.folder)
        if self.store_folder is not None:
            environment["CC_IMAGES_STORE"] = str(self.store_folder)
        if (self.folder / "settings.yaml").exists():
            environment["CC_IMAGES_SETTINGS"] = str(self.folder / "settings.yaml")
        write_files(self.folder, images=IMAGES, sites="local: {directory: site}")
        self.store = Store(Path(environment["CC_IMAGES_STORE"]))
        self.store.root.mkdir(parents=True, exist_ok=True)
        is_new = not self.address and not (self.store.root / "service.sqlite").exists()
        if is_new:
            (self.store.root / "service.sqlite").write_bytes(_new_database())
        self.database = Database(self.address or default(self.store.root))
        self.database.migrate()
        known = Accounts(self.database, Passwords(CHEAP), Throttle(self.tries, 60.0), Throttle(3 * self.tries, 60.0))
        if not is_new and not known.everyone():
            add_everyone(known)
        self.gatekeeper = Gatekeeper(accounts=known, tokens=Tokens(self.database), sessions=Sessions(self.database))
        catalogue = Catalogue(lambda: load(environment, self.folder))
        self.service = service.made(
            self.database, catalogue, self.gatekeeper, self.runs, self.limits, sign_up=self.sign_up
        )
        self.app = app.made(self.service)

    def ask(self, who: str, method: str, path: str, **what: Any) -> httpx.Response:
        """Send a request as an account, as nobody (empty), or with a token (`cci_…`)."""
        auth = (who, PASSWORDS[who]) if who in PASSWORDS else None
        headers = {"authorization": f"Bearer {who}"} if who.startswith("cci_") else {}

        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://service", auth=auth) as client:
                return await client.request(method, path, headers=headers | what.pop("headers", {}), **what)

        return asyncio.run(sent())

    def follow(self, who: str, path: str, headers: dict[str, str], then: Callable[[], None]) -> str:
        """Return a live answer; `then` is called when its first event has come."""
        if who:
            said = f"Bearer {who}" if who.startswith("cci_") else f"Basic {_basic(who)}"
            headers = headers | {"authorization": said}
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "client": ("127.0.0.1", 1),
                 "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}  # fmt: skip
        found: list[bytes] = []
        asked: list[bool] = []

        async def send(message: Any) -> None:
            found.append(message.get("body", b""))
            if b"data: " in found[-1] and sum(b"data: " in each for each in found) == 1:
                then()

        async def receive() -> Any:
            if not asked:
                asked.append(True)
                return {"type": "http.request"}
            await asyncio.sleep(60)  # the client stays
            return {"type": "http.disconnect"}

        asyncio.run(asyncio.wait_for(self.app(scope, receive, send), 30))
        return b"".join(found).decode()

    def again(self, limits: Limits | None = None, tries: int = 10, sign_up: SignUp = SignUp.OFF) -> ServiceBed:
        """Return another service over the same store, database and runs."""
        limits = limits or self.limits
        return ServiceBed(self.folder, limits, self.runs, tries, self.store_folder, self.address, sign_up)

    def request(self, who: str, *images: str, **more: Any) -> str:
        """Request images; return the id of the build."""
        answer = self.ask(who, "POST", "/build/", json={"images": list(images), **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def status(self, who: str, build: str) -> str:
        return str(self.ask(who, "GET", f"/build/{build}").json()["status"])

    def look(self) -> None:
        """Let the supervisor look once."""
        self.service.supervisor.look()

    def of(self, build: str) -> Path:
        """Return the folder of a build."""
        return self.store.root / service.FOLDER / build

    def plan(self, build: str, run: str, *events: dict[str, Any]) -> None:
        """Let the run of a build have a plan and a name, and go on by events."""
        self.runs.note(self.of(build), pid=0, run=run, remaining=60.0)
        self.emit(run, {"event": "planned", "run": run, "tasks": 4}, *events)

    def emit(self, run: str, *events: dict[str, Any]) -> None:
        path = events_path(self.store.root, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(json.dumps(each) + "\n" for each in events)

    def finish(self, build: str, run: str, tag: str = "cc-one", *, version: str = "", **told: Json) -> None:
        """Let a run end well, with a version of an image; `none`: it made none."""
        version = "" if version == "none" else version or run
        made: Json = {"image": tag, "arch": "amd64", "version": version, "before": "", "built": True, "ok": True}
        made["sites"] = []
        Journal(self.store.root, run).note(state="ok", began="2026-11-22T03:00:00+00:00", images=[made], **told)
        self.runs.note(self.of(build), state="ok", exit_code=0)
        self.runs.die(self.of(build))
        self.look()

    def stored(
        self, content: bytes, version: str, tag: str = "cc-one", name: str = "CC-One", *formats: Format
    ) -> Output:
        """Put a version of an image into the store, in these formats with the same bytes (default: qcow2)."""
        formats = formats or (Format.QCOW2,)
        staged = {each: self.store.root / f"staged-{each}" for each in formats}
        for path in staged.values():
            path.write_bytes(content)
        return kept(self.store, staged, version, tag, name)[formats[0]]

    def close(self) -> None:
        self.runs.close()
        self.database.close()


def kept(
    store: Store, staged: Mapping[Format, Path], version: str, tag: str = "cc-one", name: str = "CC-One"
) -> dict[Format, Output]:
    """Put files into a store as a version of an image; they move."""
    outputs: dict[Format, Output] = {}
    for each, path in staged.items():
        blob = store.blobs.add(path)
        outputs[each] = Output(format=each, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
    build = Build(tag=tag, name=name, arch=Arch.AMD64, version=version, recipe_key="a", key="k", outputs=outputs)
    store.record(build, {}, name)
    return outputs
