"""Verification: which build is meant, whether its inputs are those of today, and what a rebuild says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.api.outcome import Outcome
from cc_images.api.verify import Verdict, verify
from cc_images.boottest import inspector
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch
from cc_images.model.plan import Plan, Request, Result, Status
from cc_images.store.records import Store
from tests.conftest import GOLDEN
from tests.support.kept import kept_project

TAG = "kept-parent"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(inspector, "require_host", lambda: None)
    return load(kept_project(GOLDEN / "kept", tmp_path, monkeypatch), tmp_path)


@pytest.fixture
def build(config: Config) -> Build:
    found = Store(config.store).in_force(TAG, Arch.AMD64)
    assert found is not None
    return found


def outcome(*results: Result) -> Outcome:
    plan = Plan(version="", tasks=())
    return Outcome(plan=plan, results={each.task: each for each in results}, journal=Path(), seconds=0.0, stopped=False)


def rebuilds(config: Config, content: bytes | None = None) -> Callable[[Request, Config], Outcome]:
    """Return a rebuild that comes to the bytes of then, or to others, with the package vim in a new version."""

    def rebuild(request: Request, scratch: Config) -> Outcome:
        assert (request.tags, request.build, request.push) == ((TAG,), True, False)
        store, there = Store(config.store), Store(scratch.store)
        assert list(there.builds(TAG, Arch.AMD64)) == [], "nothing is reused"
        build = store.in_force(TAG, Arch.AMD64)
        assert build is not None
        (output,) = build.outputs.values()
        staged = scratch.store / "staged"
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(store.blobs.path(output.digest).read_bytes() if content is None else content)
        blob = there.blobs.add(staged)
        made = replace(output, digest=blob.digest, sha512=blob.sha512, size=blob.size)
        packages = store.details(build).get("packages", {})
        details = store.details(build) | {"packages": packages if content is None else packages | {"vim": "99"}}
        there.record(replace(build, outputs={output.format: made}), details, build.name)
        return outcome()

    return rebuild


def test_the_same_bytes_are_identical(config: Config, build: Build) -> None:
    (output,) = build.outputs.values()
    found = verify(config, TAG, (), rebuilds(config))
    assert found == Verdict(title=f"{TAG} amd64 {build.version}", digest=output.digest, rebuilt=output.digest)
    assert found.identical


def test_a_file_is_found_by_its_bytes_wherever_it_is(config: Config, build: Build, tmp_path: Path) -> None:
    (output,) = build.outputs.values()
    elsewhere = tmp_path / "some.qcow2"
    shutil.copyfile(Store(config.store).blobs.path(output.digest), elsewhere)
    assert verify(config, str(elsewhere), (), rebuilds(config)).identical
    elsewhere.write_bytes(b"changed")
    with pytest.raises(UserError, match="no stored build has the bytes of") as caught:
        verify(config, str(elsewhere), (), rebuilds(config))
    assert caught.value.reason is Reason.NEVER_BUILT
    with pytest.raises(UserError, match="neither an image of the catalogue nor a file"):
        verify(config, "nothing", (), rebuilds(config))


def test_other_bytes_are_compared_file_by_file(
    config: Config, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (output,) = build.outputs.values()
    then = Store(config.store).blobs.path(output.digest).read_bytes()

    def listed(image: Path, workspace: Path, taken: tuple[str, ...] = (), **how: object) -> dict[str, object]:
        (workspace / "out").mkdir(parents=True)
        for number, path in enumerate(taken):
            (workspace / "out" / str(number)).write_text(f"{path} of {workspace.name}")
        same = image.read_bytes() == then
        return {
            "partitions": [{"name": "root", "digest": "1" if same else "2"}],
            "files": {"/etc/motd": {"content": "a" if same else "b"}},
        }

    monkeypatch.setattr(inspector, "listed", listed)
    found = verify(config, TAG, (), rebuilds(config, b"other"), extract=tmp_path / "differing")
    assert not found.identical
    assert found.comparison is not None
    assert found.comparison.regions == ("root",)
    assert found.comparison.files == {"/etc/motd": "content"}
    assert any(each.startswith("vim ") and each.endswith("→ 99") for each in found.packages)
    texts = {name: (tmp_path / "differing" / name / "etc/motd").read_text() for name in ("then", "now")}
    assert texts == {"then": "/etc/motd of take-then", "now": "/etc/motd of take-now"}
    with pytest.raises(UserError, match="differing exists"):
        verify(config, TAG, (), rebuilds(config), extract=tmp_path / "differing")


def test_other_inputs_are_named_and_nothing_is_built(config: Config, tmp_path: Path) -> None:
    (tmp_path / "elements/kept-os/extra-data.d").mkdir(exist_ok=True)
    hook = tmp_path / "elements/kept-os/extra-data.d/50-more"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)

    def rebuild(request: Request, scratch: Config) -> Outcome:
        raise AssertionError("nothing is built")

    with pytest.raises(UserError, match=r"built from other inputs than those of today: .*kept-os") as caught:
        verify(config, TAG, (), rebuild)
    assert caught.value.reason is Reason.OTHER_INPUTS


def test_a_rebuild_that_fails_says_why(config: Config) -> None:
    failed = Result(task="build", status=Status.FAILED, error="dib failed", hint="read the log")
    with pytest.raises(CCImagesError, match="kept-parent cannot be built again: dib failed") as caught:
        verify(config, TAG, (), lambda request, scratch: outcome(failed))
    assert caught.value.hint == "read the log"
    refused = CCImagesError("no root", reason=Reason.NO_ROOT)
    with pytest.raises(CCImagesError, match="no root"):
        verify(config, TAG, (), lambda request, scratch: replace(outcome(), refused=refused))
