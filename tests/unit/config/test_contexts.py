"""Unit tests of the key `contexts`: where named contexts are, by the catalogue, the environment and the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.config.loader import Config, load
from cc_images.errors import ConfigError
from cc_images.model.catalog import Json
from tests.conftest import clean_environment, write_files

COMMIT = "0123456789" * 4


def loaded(folder: Path, contexts: str, settings: str = "", **environment: str) -> Config:
    write_files(folder, images=f"Kid:\n  builder: containerfile\n  contexts: {contexts}\n")
    (folder / "settings.yaml").write_text(settings)
    environ = clean_environment(folder) | {"CC_IMAGES_SETTINGS": str(folder / "settings.yaml"), **environment}
    return load(environ, folder)


def places(found: Config) -> Json:
    said: Json = found.images["kid"].containerfile["contexts"]
    return said


def test_folders_begin_at_the_catalogue_and_a_repository_stays_one(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        f"{{a: src, b: {{folder: /b, ignore: [opt]}}, c: {{git: 'https://x.invalid/c.git', commit: {COMMIT}}}}}",
    )
    assert places(found) == {
        "a": {"folder": str(tmp_path / "src")},
        "b": {"folder": "/b", "ignore": ["opt"]},
        "c": {"git": "https://x.invalid/c.git", "commit": COMMIT},
    }


def test_a_variable_wins_over_the_catalogue_and_over_settings(tmp_path: Path) -> None:
    said = f"{{a: {{variable: CC_IMAGES_A, git: 'https://x.invalid/c.git', commit: {COMMIT}, folder: b, ignore: opt}}}}"
    settings = "contexts: {CC_IMAGES_A: ~/mine}\n"
    assert places(loaded(tmp_path, said))["a"]["commit"] == COMMIT
    home = clean_environment(tmp_path)["HOME"]
    kept = {"variable": "CC_IMAGES_A", "ignore": ["opt"]}
    assert places(loaded(tmp_path, said, settings)) == {"a": {**kept, "folder": f"{home}/mine"}}
    assert places(loaded(tmp_path, said, settings, CC_IMAGES_A="here")) == {"a": {**kept, "folder": f"{tmp_path}/here"}}


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ("{A: src}", "images.yaml:3: Kid.contexts.A: is no name of a context"),
        ("{cc-images-texts: src}", "is no name of a context"),
        ("[a]", "Kid.contexts.a: names no folder"),
        ("{a: {ignore: [b]}}", "Kid.contexts.a: says neither folder, nor git, nor variable"),
        ("{a: {git: 'https://x.invalid/a.git'}}", "git and commit go together"),
        ("{a: {git: 'https://x.invalid/a.git', commit: abc}}", "'abc' is not 40 hexadecimal digits"),
        (f"{{a: {{git: 'https://me@x.invalid/a', commit: {COMMIT}}}}}", "Kid.contexts.a.git: has a login"),
        (f"{{a: {{git: 'http://[::1', commit: {COMMIT}}}}}", "Kid.contexts.a.git: is no address"),
        (f"{{a: {{git: 'x.invalid:a', commit: {COMMIT}, folder: ../b}}}}", "leads out of the repository"),
        ("{a: {variable: HOME}}", "'HOME' is not a variable CC_IMAGES_…"),
        ("{a: {path: b}}", "unknown key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, contexts: str, message: str) -> None:
    with pytest.raises(ConfigError) as failed:
        loaded(tmp_path, contexts)
    assert message in str(failed.value)


def test_a_folder_of_the_settings_is_the_same_wherever_a_command_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"contexts\.CC_IMAGES_A: here must begin with / or ~/"):
        loaded(tmp_path, "{a: b}", "contexts: {CC_IMAGES_A: here}\n")
