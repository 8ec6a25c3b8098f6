"""Settings: where they come from, what they decide, what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.cli.parser import parser
from cc_images.config import settings
from cc_images.config.loader import load
from cc_images.errors import ConfigError, UserError
from cc_images.model.plan import Request
from cc_images.planner.selection import select
from tests.conftest import NOW, Cli, write_files

MIRROR = "DIB_DEBIAN_DISTRIBUTION_MIRROR"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home without settings, on a host whose own may be in `etc.yaml`."""
    monkeypatch.setattr(settings, "OF_THE_HOST", tmp_path / "etc.yaml")
    write_files(tmp_path, images="A: {}\nB: {}\n", sites="local: {directory: d, is_baremetal: true}")
    return tmp_path


def write(home: Path, text: str) -> Path:
    file = home / ".config/cc-images/settings.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_users_file_wins_over_the_hosts_and_the_environment_over_both(home: Path) -> None:
    file = write(home, f"environment: {{{MIRROR}: mine}}\n")
    (home / "etc.yaml").write_text(f"store: /srv/s\nenvironment: {{{MIRROR}: theirs, DIB_X: x, https_proxy: p}}\n")
    config = load({"HOME": str(home)}, home)
    assert config.environment == {MIRROR: "mine", "DIB_X": "x"}
    assert (config.store, dict(config.network)) == (Path("/srv/s"), {"https_proxy": "p"})
    assert f"{file} sets {MIRROR}" in config.notes
    assert f"{home / 'etc.yaml'} sets DIB_X, https_proxy, store" in config.notes
    config = load({"HOME": str(home), MIRROR: "now", "CC_IMAGES_STORE": "/now"}, home)
    assert (config.environment[MIRROR], config.store) == ("now", Path("/now"))
    assert not any(MIRROR in note or "store" in note for note in config.notes), "they decide nothing of it"
    assert load({"HOME": str(home), "CC_IMAGES_SETTINGS": ""}, home).environment == {}


def test_defaults_of_options_are_set_and_words_win(home: Path) -> None:
    write(home, "options: {tasks: 3, architecture: [amd64], site: [a, b], quiet: yes, max-size: 5G}\n")
    made = parser("")
    settings.apply(settings.read({"HOME": str(home)}), made, {})
    options = made.parse_args(["-b", "x"])
    assert (options.tasks, options.architecture, options.site, options.quiet) == (3, ("amd64",), ["a", "b"], True)
    assert options.max_size == 5 << 30
    assert made.parse_args(["-b", "-t", "1", "-s", "c", "-s", "d", "x"]).site == ["c", "d"]
    plain = parser("explain")
    settings.apply(settings.read({"HOME": str(home)}), plain, {})
    assert plain.parse_args(["x"]).architecture == ("amd64",), "a verb takes those that it has"


def test_variables_of_the_environment_win_over_options(home: Path) -> None:
    write(home, "options: {architecture: amd64, metrics: ~/m.prom, keep: 1}\n")
    for verb in ("", "inspect", "prune"):
        made = parser(verb)
        settings.apply(settings.read({"HOME": str(home)}), made, {"ARCH": "arm64", "HOME": "/h"})
        words = {"": ["-b", "x"], "inspect": ["x"], "prune": []}[verb]
        options = made.parse_args(words)
        assert getattr(options, "architecture", ()) == ()
        assert getattr(options, "metrics", "/h/m.prom") == "/h/m.prom"
        assert getattr(options, "keep", 1) == 1


def test_an_option_of_the_same_name_and_another_meaning_is_not_set(home: Path) -> None:
    write(home, "options: {keep: 3}\n")
    found = settings.read({"HOME": str(home)})
    kept = []
    for verb, words in (("boot", ["x.qcow2"]), ("prune", [])):
        made = parser(verb)
        settings.apply(found, made, {})
        kept.append(made.parse_args(words).keep)
    assert kept == [False, 3]


def test_checkouts_of_spack_are_folders_of_contexts(home: Path) -> None:
    write(home, "spack: {root: /srv/spack, wheels: ~/wheels}\ncontexts: {CC_IMAGES_TOOL: /srv/tool}\n")
    assert settings.read({"HOME": str(home)}).contexts == {
        "CC_IMAGES_SPACK": "/srv/spack", "CC_IMAGES_SPACK_WHEELS": "~/wheels", "CC_IMAGES_TOOL": "/srv/tool",
    }  # fmt: skip


def test_a_settings_file_that_is_none_is_refused(home: Path) -> None:
    file = write(home, "")
    file.unlink()
    file.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="leads nowhere"):
        settings.read({"HOME": str(home)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stroe: /x", "stroe: unknown key; did you mean store?"),
        ("store: here", "store: here must begin with / or ~/"),
        ("environment: {PATH: x}", "environment.PATH: is not DIB_* or a proxy's variable"),
        ("spack: {rot: /x}", "spack.rot: unknown key; did you mean root?"),
        ("spack: {root: here}", "spack.root: here must begin with / or ~/"),
        ("spack: {root: /a}\ncontexts: {CC_IMAGES_SPACK: /b}", "spack.root: CC_IMAGES_SPACK is among contexts, too"),
        ("options: {task: 3}", "options.task: 'task' is none of"),
        ("options: {tasks: many}", "options.tasks: 'many' is not a whole number"),
        ("options: {quiet: maybe}", "options.quiet: maybe is not true or false"),
        ("options: {if-busy: run}", "options.if-busy: run is none of share, wait, leave"),
    ],
)
def test_what_cannot_be_is_said_with_file_and_key(home: Path, text: str, words: str) -> None:
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        settings.apply(settings.read({"HOME": str(home)}), parser(""), {})
    assert words in str(caught.value)
    assert "settings.yaml" in str(caught.value)


def test_scheduled_means_the_listed_images(home: Path) -> None:
    config = load({"HOME": str(home)}, home)
    with pytest.raises(UserError, match="no images are scheduled"):
        select(Request(tags=("scheduled",)), config, NOW.date())
    write(home, "scheduled: [b]\n")
    config = load({"HOME": str(home)}, home)
    assert [image.tag for image, _ in select(Request(tags=("scheduled",)), config, NOW.date())[0]] == ["b"]


def test_a_wrong_file_ends_a_run_with_code_2(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="A: {}\n")
    (tmp_path / "s.yaml").write_text("options: {tasks: 0}\n")
    said = cli("plan", "a", CC_IMAGES_SETTINGS=str(tmp_path / "s.yaml"))
    assert (said.returncode, "options.tasks" in said.stderr) == (2, True)
    said = cli("plan", "a", CC_IMAGES_SETTINGS=str(tmp_path / "gone.yaml"))
    assert (said.returncode, "gone.yaml is not a file" in said.stderr) == (2, True)
