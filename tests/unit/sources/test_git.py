"""Third-party elements from real git repositories."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cc_images.api import removal
from cc_images.api.inventory import inventory
from cc_images.errors import CCImagesError
from cc_images.model.element_source import ElementSource
from cc_images.sources import git
from cc_images.store.records import Store


def run_git(repository: Path, *words: str) -> str:
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
    run_git(repository, "add", ".")
    run_git(repository, "commit", "-qm", text)
    return run_git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    run_git(path, "init", "-q", "-b", "main")
    commit(path, "one")
    return path


def source(repository: Path, **more: Any) -> ElementSource:
    return ElementSource(name="third", repo=f"file://{repository}", elements_directory="elements", **more)


def text(folder: Path) -> str:
    hook = folder / "x" / "install.d" / "10-x"
    assert hook.stat().st_mode & 0o111
    return hook.read_text()


def test_a_branch_is_followed_also_when_it_was_rewritten(repository: Path, store: Store) -> None:
    first, commit_of_first, _ = git.update(source(repository), store)
    assert (text(first), commit_of_first) == ("one", run_git(repository, "rev-parse", "HEAD"))
    run_git(repository, "commit", "-q", "--amend", "-m", "rewritten")
    rewritten = commit(repository, "two")
    folder, seen, _ = git.update(source(repository), store)
    assert (text(folder), seen) == ("two", rewritten)
    assert text(first) == "one", "a checkout that a build may be using is never touched"


def test_files_are_as_committed_whatever_the_users_settings_and_attributes_say(
    repository: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".gitattributes").write_text("elements/x/secret export-ignore\n* text eol=crlf\n")
    (repository / "elements/x/secret").write_text("one\ntwo\n")
    (repository / "elements/x/link").symlink_to("secret")
    run_git(repository, "add", ".")
    run_git(repository, "commit", "-qm", "attributes")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n")
    monkeypatch.setenv("HOME", str(home))
    old = os.umask(0o077)
    try:
        folder = git.update(source(repository), store).folder
    finally:
        os.umask(old)
    assert (folder / "x/secret").read_bytes() == b"one\ntwo\n"
    assert (folder / "x/link").readlink() == Path("secret")
    paths = (folder / "x/secret", folder / "x/install.d/10-x", folder / "x")
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o644, 0o755, 0o755]


@pytest.mark.parametrize("damage", ["torn", "other bytes", "mode", "missing", "more", "a link"])
def test_a_checkout_that_is_not_its_commit_is_made_anew(repository: Path, store: Store, damage: str) -> None:
    folder = git.update(source(repository), store).folder
    hook = folder / "x/install.d/10-x"
    match damage:
        case "torn":
            hook.write_text("")
        case "other bytes":
            times = hook.stat()
            hook.write_text("eno")
            os.utime(hook, ns=(times.st_atime_ns, times.st_mtime_ns))
        case "mode":
            hook.chmod(0o644)
        case "missing":
            hook.unlink()
        case "more":
            (folder / "x/more").write_text("")
        case "a link":
            hook.unlink()
            hook.symlink_to("/etc/hostname")
    assert text(git.update(source(repository), store, offline=True).folder) == "one"
    hook.write_text("again")
    assert git.damaged(store) == [folder.parent]
    assert git.damaged(store) == []
    assert text(git.update(source(repository), store).folder) == "one"


def test_a_copy_of_the_repository_that_is_torn_is_fetched_anew(repository: Path, store: Store) -> None:
    folder = git.update(source(repository), store).folder
    shutil.rmtree(folder.parent)
    for pack in store.root.glob("sources/*.git/objects/pack/*.pack"):
        pack.chmod(0o644)
        content = bytearray(pack.read_bytes())
        content[20:60] = bytes(40)
        pack.write_bytes(content)
    with pytest.raises(CCImagesError, match=r"the copy of the repository is damaged|does not exist"):
        git.update(source(repository), store, offline=True)
    assert text(git.update(source(repository), store).folder) == "one"


def test_a_tag_is_followed_as_a_branch_is(repository: Path, store: Store) -> None:
    run_git(repository, "tag", "-a", "v1.0", "-m", "one")
    commit(repository, "two")
    assert text(git.update(source(repository, branch="v1.0"), store).folder) == "one"
    run_git(repository, "branch", "v1.0")
    assert text(git.update(source(repository, branch="v1.0"), store).folder) == "two", "a branch comes first"


def test_a_pin_stays(repository: Path, store: Store) -> None:
    pin = run_git(repository, "rev-parse", "HEAD")
    commit(repository, "two")
    folder, seen, _ = git.update(source(repository, commit=pin), store)
    assert (text(folder), seen) == ("one", pin)


@pytest.mark.parametrize("kind", ["tag", "branch"])
def test_a_short_pin_is_a_commit_whatever_else_is_called_so(repository: Path, store: Store, kind: str) -> None:
    pin = run_git(repository, "rev-parse", "HEAD")
    commit(repository, "two")
    run_git(repository, kind, pin[:7], "HEAD")
    run_git(repository, kind, "0badc0de", "HEAD")
    folder, seen, _ = git.update(source(repository, commit=pin[:7]), store)
    assert (text(folder), seen) == ("one", pin)
    assert git.update(source(repository, commit=pin[:7]), store, offline=True).commit == pin
    with pytest.raises(CCImagesError, match="commit 0badc0de does not exist"):
        git.update(source(repository, commit="0badc0de"), store)


def test_a_pin_names_no_object_but_a_commit(repository: Path, store: Store) -> None:
    run_git(repository, "tag", "-a", "v1.0", "-m", "one")
    for name in ("v1.0^{tag}", "HEAD^{tree}"):
        found = run_git(repository, "rev-parse", name)
        for digits in (found, found[:10]):
            with pytest.raises(CCImagesError, match=f"commit {digits} does not exist"):
                git.update(source(repository, commit=digits), store)


def test_a_pin_that_several_commits_begin_with_wants_more_digits(repository: Path, store: Store) -> None:
    tree = run_git(repository, "rev-parse", "HEAD^{tree}")
    seen: dict[str, bytes] = {}
    for number in itertools.count():
        body = f"tree {tree}\nauthor a <a> {number} +0000\ncommitter a <a> {number} +0000\n\nx\n".encode()
        digits = hashlib.sha1(b"commit %d\0" % len(body) + body).hexdigest()[:7]
        if (other := seen.setdefault(digits, body)) is not body:
            break
    for name, content in (("a", body), ("b", other)):
        (repository / name).write_bytes(content)
        run_git(repository, "branch", name, run_git(repository, "hash-object", "-t", "commit", "-w", name))
    with pytest.raises(CCImagesError, match=f"commit {digits} may be any of 2") as caught:
        git.update(source(repository, commit=digits), store)
    assert caught.value.hint == "write more of its digits"


def test_offline_uses_what_was_fetched_last(repository: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(CCImagesError, match="were never fetched"):
        git.update(source(repository), store, offline=True)
    git.update(source(repository), store)
    repository.rename(tmp_path / "away")
    assert text(git.update(source(repository), store, offline=True)[0]) == "one"
    with pytest.raises(CCImagesError, match="cannot be fetched") as caught:
        git.update(source(repository), store)
    assert caught.value.temporary
    assert "--offline uses the copy of 2" in caught.value.hint


def test_a_pinned_commit_that_is_here_needs_no_network(repository: Path, store: Store, tmp_path: Path) -> None:
    pinned = source(repository, commit=run_git(repository, "rev-parse", "HEAD"))
    git.update(pinned, store)
    repository.rename(tmp_path / "away")
    assert text(git.update(pinned, store).folder) == "one"


def test_another_address_is_another_repository(repository: Path, store: Store, tmp_path: Path) -> None:
    pin = run_git(repository, "rev-parse", "HEAD")
    git.update(source(repository, commit=pin), store)
    other = tmp_path / "other"
    other.mkdir()
    run_git(other, "init", "-q", "-b", "main")
    commit(other, "another")
    assert git.last(source(other), store) is None
    with pytest.raises(CCImagesError, match="were never fetched from there"):
        git.update(source(other), store, offline=True)
    with pytest.raises(CCImagesError, match=f"commit {pin} does not exist"):
        git.update(source(other, commit=pin), store)
    assert text(git.update(source(other), store).folder) == "another"


def test_what_was_fetched_last_is_found_without_asking(repository: Path, store: Store) -> None:
    assert git.last(source(repository), store) is None
    folder = git.update(source(repository), store).folder
    commit(repository, "two")
    assert git.last(source(repository), store) == folder


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"branch": "nope"}, "cannot be fetched"),
        ({"commit": "0123456789"}, "commit 0123456789 does not exist"),
    ],
)
def test_what_does_not_exist_is_named(repository: Path, store: Store, more: dict[str, str], message: str) -> None:
    with pytest.raises(CCImagesError, match=message):
        git.update(source(repository, **more), store)


def test_a_folder_that_does_not_exist_is_named(repository: Path, store: Store) -> None:
    wrong = ElementSource(name="third", repo=f"file://{repository}", elements_directory="elemnts")
    with pytest.raises(CCImagesError, match="no folder elemnts"):
        git.update(wrong, store)


def test_a_password_is_on_no_command_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(argv: list[str], env: dict[str, str], **more: object) -> str:
        seen.append((argv, env))
        return "0" * 40

    monkeypatch.setattr("cc_images.host.process.run", run)
    third = ElementSource(name="third", repo="https://user:geheim@x.invalid/x.git")
    with pytest.raises(CCImagesError, match="damaged"):
        git.update(third, store)
    assert not any("geheim" in word for argv, _ in seen for word in argv)
    values = [value for _, env in seen for name, value in env.items() if name.startswith("GIT_CONFIG_VALUE")]
    assert "https://x.invalid/x.git" in values, "git shows this address in the arguments of its helper"
    assert any(value.startswith("Authorization: Basic ") for value in values)


def test_a_killed_git_does_not_lock_the_mirror_for_ever(repository: Path, store: Store) -> None:
    git.update(source(repository), store)
    commit(repository, "two")
    ref = next((store.root / "sources").glob("third.*.git/refs/cc-images/*"))
    ref.with_name(f"{ref.name}.lock").touch()
    assert text(git.update(source(repository), store)[0]) == "two"


def test_a_fetch_is_put_in_place_whole(repository: Path, store: Store) -> None:
    """Loose objects of a killed fetch would be a commit without its files, and a pinned one is not asked for again."""
    git.update(source(repository), store)
    objects = next((store.root / "sources").glob("third.*.git/objects"))
    assert list(objects.glob("pack/*.pack"))
    assert not list(objects.glob("??/*"))


def hours_ago(folder: Path, hours: float) -> None:
    """Let a checkout or a mirror have been used some hours ago."""
    for path in (folder, *folder.glob("FETCH_HEAD")):
        os.utime(path, (time.time() - 3600 * hours,) * 2)


def test_checkouts_of_older_commits_are_pruned(repository: Path, store: Store) -> None:
    old = git.update(source(repository), store)
    commit(repository, "two")
    new = git.update(source(repository), store)
    assert removal.pruned(store, keep=1, cap=None, dry_run=False) == [], "a plan may just be reading it"
    hours_ago(old.folder.parent, 2)
    ((gone, why, freed),) = removal.pruned(store, keep=1, cap=None, dry_run=True)
    assert (gone.kind, gone.name, gone.version, gone.size) == ("elements", "third", old.commit, freed)
    assert freed == len("one")
    assert why == "another commit was used since"
    assert old.folder.is_dir()
    assert removal.pruned(store, keep=1, cap=None, dry_run=False) == [(gone, why, freed)]
    assert not old.folder.exists()
    assert new.folder.is_dir()


def test_a_checkout_that_is_used_again_stays(repository: Path, store: Store) -> None:
    first = git.update(source(repository), store)
    commit(repository, "two")
    second = git.update(source(repository), store)
    for each in (first, second):
        hours_ago(each.folder.parent, 2)
    assert git.update(source(repository, commit=first.commit), store).folder == first.folder
    assert [gone.version for gone, _, _ in removal.pruned(store, keep=1, cap=None, dry_run=False)] == [second.commit]


def test_a_run_at_work_keeps_all_checkouts(repository: Path, store: Store) -> None:
    old = git.update(source(repository), store)
    commit(repository, "two")
    git.update(source(repository), store)
    hours_ago(old.folder.parent, 2)
    work = store.root / "work" / "20261121T000000Z"
    work.mkdir(parents=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert removal.pruned(store, keep=1, cap=0, dry_run=False) == []
    assert [gone.version for gone, _, _ in removal.pruned(store, keep=1, cap=None, dry_run=False)] == [old.commit]


def test_a_cap_takes_repositories_that_nobody_uses_and_they_come_back(repository: Path, store: Store) -> None:
    checkout = git.update(source(repository), store)
    (mirror,) = (store.root / "sources").glob("*.git")
    for folder in (checkout.folder.parent, mirror):
        hours_ago(folder, 2)
    assert removal.pruned(store, keep=1, cap=1 << 30, dry_run=False) == []
    gone = removal.pruned(store, keep=1, cap=0, dry_run=False)
    assert {held.version for held, _, _ in gone} == {checkout.commit, "repository"}
    assert not mirror.exists()
    assert sum(item.holding.size for item in inventory(store)) == 0
    assert text(git.update(source(repository), store).folder) == "one"


def test_what_a_killed_run_left_half_done_goes(repository: Path, store: Store) -> None:
    git.update(source(repository), store)
    names = ("third/.0123.new", "third/.0123.89abcdef.gone", ".third.0123456789ab.git.new", "third/.0123.tar")
    *folders, archive = halves = [store.root / "sources" / name for name in names]
    for half in folders:
        half.mkdir()
        (half / "file").touch()
    archive.write_bytes(bytes(1000))
    assert removal.pruned(store, keep=1, cap=None, dry_run=False) == [], "it may be somebody's"
    for half in halves:
        hours_ago(half, 2)
    gone = removal.pruned(store, keep=1, cap=None, dry_run=False)
    assert {(held.kind, held.name) for held, _, _ in gone} == {("stray", "third")}
    assert sum(freed for _, _, freed in gone) == 1000
    assert not any(half.exists() for half in halves)


def test_what_is_used_after_the_inventory_stays(repository: Path, store: Store) -> None:
    checkout = git.update(source(repository), store).folder.parent
    hours_ago(checkout, 2)
    (item,) = [item for item in inventory(store) if item.holding.version == checkout.name]
    assert not item.holding.in_use
    assert git.last(source(repository), store) is not None, "a push reads what its elements claim"
    assert item.remove() == 0
    assert checkout.is_dir()


def test_a_checkout_that_was_pruned_comes_back_from_the_copy(repository: Path, store: Store) -> None:
    first = git.update(source(repository), store)
    commit(repository, "two")
    git.update(source(repository), store)
    hours_ago(first.folder.parent, 2)
    assert len(removal.pruned(store, keep=1, cap=None, dry_run=False)) == 1
    shutil.rmtree(repository)
    assert git.last(source(repository, commit=first.commit), store) == first.folder
    assert text(first.folder) == "one"


def test_a_removal_that_was_killed_is_finished_by_the_next(repository: Path, store: Store) -> None:
    for attempt in range(2):
        checkout = git.update(source(repository), store).folder.parent
        hours_ago(checkout, 2)
        (each,) = [each for each in git.kept(store) if each.what == checkout.name]
        if attempt == 0:
            with pytest.raises(KeyboardInterrupt):
                git.drop(each, store, interrupted)
        else:
            assert git.drop(each, store, shutil.rmtree)
        assert not checkout.exists()


def interrupted(folder: Path) -> None:
    raise KeyboardInterrupt


def test_a_removal_waits_for_whoever_is_at_the_source(repository: Path, store: Store) -> None:
    git.update(source(repository), store)
    checkout, _ = git.kept(store)
    removal = threading.Thread(target=git.drop, args=(checkout, store, shutil.rmtree))
    with store.lock("source third"):
        removal.start()
        removal.join(0.3)
        assert checkout.path.is_dir()
    removal.join(10)
    assert not checkout.path.exists()


def test_a_checkout_before_its_repository(repository: Path, store: Store) -> None:
    git.update(source(repository), store)
    assert [each.what == git.REPOSITORY for each in git.kept(store)] == [False, True]


def test_links_and_what_is_not_ours_is_left_alone(repository: Path, store: Store, tmp_path: Path) -> None:
    checkout = git.update(source(repository), store)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    place = store.root / "sources"
    for name in ("third/dev", f"third/{'a' * 40}", "third/.x.new", "fourth", "fourth.0123456789ab.git"):
        (place / name).symlink_to(precious)
    (place / "third" / "README").write_text("notes")
    (place / "third.0123456789ab.git").mkdir()
    (store.root / "work").mkdir()
    (store.root / "work" / "note").touch()
    assert len(git.kept(store)) == 2
    hours_ago(checkout.folder.parent, 2)
    assert len(removal.pruned(store, keep=1, cap=0, dry_run=False)) == 1
    assert (precious / "file").exists()
