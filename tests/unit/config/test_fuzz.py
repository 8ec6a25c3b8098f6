"""Odd catalogues: whatever stands in the files, they load or are refused in words, in bounded time and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cc_images.builders.dib.builder import DIB
from cc_images.builders.dib.elements import Elements
from cc_images.builders.dib.recipes import Recipes
from cc_images.config.loader import load
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Arch
from tests.conftest import samples

SECONDS = 3.0
"""CPU seconds that one input may take."""

MEMORY = 4 << 30
"""Bytes of address space that the process may have."""

KEYS = (
    "abstract", "allow", "arch", "artifacts", "base", "baremetal-only", "boot", "checks", "depends", "disk", "elements",
    "environment", "eol", "firmware", "formats", "layer", "packages", "properties", "provenance", "scratch", "secrets",
    "timeout", "variants", "without",
)  # fmt: skip
WORDS = (
    "", "~", "yes", "no", "0", "-1", "1e999", "2030-06-30", "../../..", "/", "file:///", "a b", "\x1b[0m", "é", "A",
    "B", "os", "amd64", "{DIB_X}/y", "[" * 60, "x" * 300, "9" * 40, "!!int ''", "*a", "&a x", "<<",
)  # fmt: skip

SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.booleans(),
    st.none(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from((*KEYS, *WORDS)), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=12,
)
ENTRIES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
CATALOGUES = st.dictionaries(
    st.one_of(st.sampled_from(("A", "B", "C", "x-y")), st.text(max_size=6)), ENTRIES, max_size=4
)
SITE_KEYS = ("cloud", "directory", "formats", "keep", "visibility", "arch", "stores", "properties")
SITES = st.dictionaries(
    st.text(max_size=5), st.dictionaries(st.sampled_from(SITE_KEYS), VALUES, max_size=4), max_size=3
)
TEXTS = st.text(alphabet="AB:{}[]-!&*<>|'\"#\n\t ,abc0~%@`\x00", max_size=80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a project whose element `os` is a system; the process has a bounded memory meanwhile."""
    root = tmp_path_factory.mktemp("fuzz")
    for name in ("os", "vm", "block-device-efi"):
        (root / "elements" / name).mkdir(parents=True)
    (root / "elements/os/element-provides").write_text("operating-system\n")
    (root / "third-party.yaml").touch()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, before[1]))
    yield root
    resource.setrlimit(resource.RLIMIT_AS, before)


def survives(folder: Path, images: str, sites: str = "local: {directory: site}") -> None:
    (folder / "images.yaml").write_text(images, errors="surrogatepass")
    (folder / "sites.yaml").write_text(sites, errors="surrogatepass")
    began = time.process_time()
    with suppress(CCImagesError):  # anything else is a bug
        config = load({"HOME": str(folder), "CC_IMAGES_SETTINGS": ""}, folder)
        recipes = Recipes(config, Elements((folder / "elements",)), DIB.host_facts([Arch.AMD64]))
        for image in config.images.values():
            recipes.build(image, Arch.AMD64)
    assert time.process_time() - began < SECONDS


OURS = settings(
    deadline=None, max_examples=samples(15, 60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@OURS
@given(CATALOGUES)
@example({"A": {"depends": ["A"], "without": ["os"]}})
@example({"A": {"elements": ["os"], "variants": {"b": {"depends": ["A-b"]}}}, "B": {"depends": "A", "variants": "b"}})
@example(
    {"A": {"elements": ["os"], "environment": {"DIB_X": "/"}, "checks": {"commands": {"x": {"output": "(" * 500}}}}}
)
def test_odd_values_are_refused_in_words(folder: Path, catalogue: dict[str, Any]) -> None:
    survives(folder, yaml.safe_dump(catalogue, allow_unicode=True))


@OURS
@given(TEXTS)
@example("A: {eol: !!timestamp never}")
@example("A: &a {x: *a}")
@example("A: &a {x: *a, variants: {b: *a}}")
@example("A: {boot: &b {c: *b}, variants: {v: {boot: &d {c: *d}}}}")
@example("A: {<<: &m {variants: {v: {<<: *m}}}}")
@example("? [A]\n: {}")
def test_odd_texts_are_refused_in_words(folder: Path, text: str) -> None:
    survives(folder, text)


@OURS
@given(SITES)
def test_odd_sites_are_refused_in_words(folder: Path, sites: dict[str, Any]) -> None:
    survives(folder, "A: {elements: [os]}", yaml.safe_dump(sites, allow_unicode=True))
