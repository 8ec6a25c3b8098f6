"""Unit tests of what doctor says of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.api.doctor import containers
from cc_images.api.finding import State
from cc_images.builders.dib import disk_layout
from cc_images.config.loader import load
from tests.conftest import clean_environment, write_files


def said(folder: Path, images: str, sites: str = "") -> list[tuple[str, str]]:
    write_files(folder, images=images, sites=sites)
    return [(each.state.value, each.text) for each in containers(load(clean_environment(folder), folder))]


def test_programs_of_containers_are_named_with_who_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = "X: {builder: containerfile}\nY: {elements: []}\n"
    monkeypatch.setattr(disk_layout, "lacking", lambda wanted: [each for each in wanted if each == "skopeo"])
    assert said(tmp_path, "Y: {elements: []}\n") == []
    assert said(tmp_path, images) == [(State.FINE.value, "by buildah")]
    found = said(tmp_path, images, "lab: {registry: registry.example.org/x}\n")
    assert found == [(State.LACK.value, "skopeo is missing, for site lab")]


def test_gpg_is_looked_for_where_spack_signs_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_layout, "lacking", lambda wanted: ["gpg (package gnupg)"] if "gpg" in wanted else [])
    images = "B: {builder: containerfile}\nR: {builder: containerfile}\n"
    assert said(tmp_path, images) == [(State.FINE.value, "by buildah")]
    write_files(tmp_path, images=f"{images}Zip: {{builder: spack, depends: [B, R]}}\n")
    (found,) = containers(load(clean_environment(tmp_path), tmp_path))
    assert (found.text, found.remedy) == ("gpg is missing, for zip", "install the package gnupg")
