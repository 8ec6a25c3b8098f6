"""The verb `builder-node`: its mistakes, without any cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.cli.main import run
from tests.conftest import write_files

ENTRY = "{architectures: [amd64], provider: {cloud: none, flavor: f, image: i}}"


@pytest.mark.parametrize(
    ("builders", "words", "said"),
    [
        ("{}", ["create"], "create needs the names of nodes"),
        ("{}", ["sweep", "n1"], "sweep takes no nodes"),
        ("{}", ["create", "n1"], "which builder makes the machines?"),
        (f"{{a: {ENTRY}, b: {ENTRY}}}", ["destroy", "n1"], "--builder NAME"),
        (f"{{a: {ENTRY}}}", ["destroy", "n1", "--builder", "c"], "no builder c with a provider"),
        (f"{{a: {ENTRY}}}", ["create", "n[1-"], "no list of nodes"),
        (f"{{a: {ENTRY}}}", ["create", "n1"], "clouds.yaml has no usable entry none"),
    ],
)
def test_mistakes(
    builders: str, words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_files(tmp_path)
    (tmp_path / "builders.yaml").write_text(builders)
    monkeypatch.chdir(tmp_path)
    for name in ("CC_IMAGES_CONFIG", "CC_SITES_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / {"CC_IMAGES_CONFIG": "images.yaml"}.get(name, "sites.yaml")))
    monkeypatch.setenv("CC_IMAGES_STORE", str(tmp_path / "store"))
    assert run(["builder-node", *words]) != 0
    assert said in capsys.readouterr().err


def test_a_sweep_without_providers_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    monkeypatch.setenv("CC_IMAGES_CONFIG", str(tmp_path / "images.yaml"))
    monkeypatch.setenv("CC_SITES_CONFIG", str(tmp_path / "sites.yaml"))
    monkeypatch.setenv("CC_IMAGES_STORE", str(tmp_path / "store"))
    assert run(["builder-node", "sweep"]) == 0
    assert "nothing to do" in capsys.readouterr().out
