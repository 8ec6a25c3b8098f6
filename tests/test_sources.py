"""Third-party elements from real git repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from cc_images import sources
from cc_images.errors import CCImagesError
from cc_images.model import ElementSource
from cc_images.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def git(repository: Path, *words: str) -> str:
    env = os.environ | {
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@invalid", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@invalid", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    return subprocess.run(
        ["git", "-C", str(repository), *words], env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(repository: Path, text: str) -> str:
    hook = repository / "elements" / "x" / "install.d" / "10-x"
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(text)
    hook.chmod(0o755)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", text)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    commit(path, "one")
    return path


def source(repository: Path, **more: str) -> ElementSource:
    return ElementSource(name="third", repo=f"file://{repository}", elements_directory="elements", **more)


def text(folder: Path) -> str:
    hook = folder / "x" / "install.d" / "10-x"
    assert hook.stat().st_mode & 0o111
    return hook.read_text()


def test_a_branch_is_followed_also_when_it_was_rewritten(repository: Path, store: Store) -> None:
    first, commit_of_first, _ = sources.update(source(repository), store)
    assert (text(first), commit_of_first) == ("one", git(repository, "rev-parse", "HEAD"))
    git(repository, "commit", "-q", "--amend", "-m", "rewritten")
    rewritten = commit(repository, "two")
    folder, seen, _ = sources.update(source(repository), store)
    assert (text(folder), seen) == ("two", rewritten)
    assert text(first) == "one", "a checkout that a build may be using is never touched"


def test_a_python_without_tar_filters_will_do(repository: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12 has Python 3.11.2."""
    with monkeypatch.context() as patch:
        patch.delattr(tarfile, "tar_filter", raising=False)
        patch.setattr(shutil, "unpack_archive", lambda archive, folder, format: subprocess.run(
            ["tar", "-xf", archive, "-C", folder], check=True
        ))  # fmt: skip
        folder, _, _ = sources.update(source(repository), store, offline=False)
    assert text(folder) == "one"


def test_a_pin_stays(repository: Path, store: Store) -> None:
    pin = git(repository, "rev-parse", "HEAD")
    commit(repository, "two")
    folder, seen, _ = sources.update(source(repository, commit=pin), store)
    assert (text(folder), seen) == ("one", pin)


def test_offline_uses_what_was_fetched_last(repository: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(CCImagesError, match="were never fetched"):
        sources.update(source(repository), store, offline=True)
    sources.update(source(repository), store)
    repository.rename(tmp_path / "away")
    assert text(sources.update(source(repository), store, offline=True)[0]) == "one"
    with pytest.raises(CCImagesError, match="cannot be fetched") as caught:
        sources.update(source(repository), store)
    assert caught.value.temporary
    assert "--offline uses the copy of 2" in caught.value.hint


def test_a_pinned_commit_that_is_here_needs_no_network(repository: Path, store: Store, tmp_path: Path) -> None:
    pinned = source(repository, commit=git(repository, "rev-parse", "HEAD"))
    sources.update(pinned, store)
    repository.rename(tmp_path / "away")
    assert text(sources.update(pinned, store).folder) == "one"


def test_another_address_is_another_repository(repository: Path, store: Store, tmp_path: Path) -> None:
    pin = git(repository, "rev-parse", "HEAD")
    sources.update(source(repository, commit=pin), store)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    commit(other, "another")
    assert sources.last(source(other), store) is None
    with pytest.raises(CCImagesError, match="were never fetched from there"):
        sources.update(source(other), store, offline=True)
    with pytest.raises(CCImagesError, match=f"commit {pin} does not exist"):
        sources.update(source(other, commit=pin), store)
    assert text(sources.update(source(other), store).folder) == "another"


def test_what_was_fetched_last_is_found_without_asking(repository: Path, store: Store) -> None:
    assert sources.last(source(repository), store) is None
    folder = sources.update(source(repository), store).folder
    commit(repository, "two")
    assert sources.last(source(repository), store) == folder


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"branch": "nope"}, "cannot be fetched"),
        ({"commit": "0123456789"}, "commit 0123456789 does not exist"),
    ],
)
def test_what_does_not_exist_is_named(repository: Path, store: Store, more: dict[str, str], message: str) -> None:
    with pytest.raises(CCImagesError, match=message):
        sources.update(source(repository, **more), store)


def test_a_folder_that_does_not_exist_is_named(repository: Path, store: Store) -> None:
    wrong = ElementSource(name="third", repo=f"file://{repository}", elements_directory="elemnts")
    with pytest.raises(CCImagesError, match="no folder elemnts"):
        sources.update(wrong, store)


def test_a_password_is_on_no_command_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(argv: list[str], env: dict[str, str], **more: object) -> str:
        seen.append((argv, env))
        return "0" * 40

    monkeypatch.setattr("cc_images.process.run", run)
    third = ElementSource(name="third", repo="https://user:geheim@x.invalid/x.git")
    with pytest.raises(OSError, match="tar"):
        sources.update(third, store)
    assert not any("geheim" in word for argv, _ in seen for word in argv)
    values = [value for _, env in seen for name, value in env.items() if name.startswith("GIT_CONFIG_VALUE")]
    assert "https://x.invalid/x.git" in values, "git shows this address in the arguments of its helper"
    assert any(value.startswith("Authorization: Basic ") for value in values)


def test_a_killed_git_does_not_lock_the_mirror_for_ever(repository: Path, store: Store) -> None:
    sources.update(source(repository), store)
    commit(repository, "two")
    ref = next((store.root / "sources").glob("third.*.git/refs/cc-images/*"))
    ref.with_name(f"{ref.name}.lock").touch()
    assert text(sources.update(source(repository), store)[0]) == "two"


def test_a_fetch_is_put_in_place_whole(repository: Path, store: Store) -> None:
    """Loose objects of a killed fetch would be a commit without its files, and a pinned one is not asked for again."""
    sources.update(source(repository), store)
    objects = next((store.root / "sources").glob("third.*.git/objects"))
    assert list(objects.glob("pack/*.pack"))
    assert not list(objects.glob("??/*"))
