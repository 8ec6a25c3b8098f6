"""Variants: a second image from the same entry, and children that follow their parent's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.config.loader import Config, load
from cc_images.errors import ConfigError
from cc_images.model.catalog import Arch
from tests.conftest import clean_environment, write_files

FAMILY = """\
CC-Debian12-Container: {elements: [debian-minimal, cc-container], formats: [oci, sif]}
CC-Cuda: {depends: [CC-Debian12-Container], elements: [cuda], formats: [oci]}

WS-Base:
  depends: [CC-Debian12-Container]
  elements: [ws-base]
  formats: [oci, sif]
  container: {user: "1000", labels: {name: base, maintainer: hpc}}
  environment: {DIB_WS_PYTHON: "3", DIB_WS_GPU: "no"}
  variants:
    cuda12:
      depends: [CC-Cuda]
      environment: {DIB_WS_GPU: "yes"}
      container: {labels: {gpu: cuda12}}
      formats: [oci]
      scratch: 20

WS-Torch: &child
  depends: [WS-Base]
  elements: [ws-torch]
  formats: [oci, sif]
  variants: [cuda12]
WS-Flow:
  <<: *child
  elements: [ws-flow]
WS-Torch-Desktop:
  <<: *child
  depends: [WS-Torch]
  elements: [ws-desktop]
WS-Flow-Desktop:
  <<: *child
  depends: [WS-Flow]
  elements: [ws-desktop]
WS-Torch-Notebook:
  <<: *child
  depends: [WS-Torch]
  elements: [ws-notebook]
WS-Flow-Notebook:
  <<: *child
  depends: [WS-Flow]
  elements: [ws-notebook]
"""

CHILDREN = ("torch", "flow", "torch-desktop", "flow-desktop", "torch-notebook", "flow-notebook")


def loaded(folder: Path, text: str) -> Config:
    write_files(folder, images=text)
    return load({"HOME": str(folder)}, folder)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return caught.value.problems


def test_a_family_of_seven_with_and_without_cuda_is_about_forty_lines(tmp_path: Path) -> None:
    images = loaded(tmp_path, FAMILY).images
    family = {tag for tag in images if tag.startswith("ws-")}
    members = {f"ws-{each}" for each in ("base", *CHILDREN)}
    assert family == members | {f"{each}-cuda12" for each in members}
    assert len([line for line in FAMILY.splitlines() if line]) <= 42
    for plain in members:
        cuda = images[f"{plain}-cuda12"]
        assert (cuda.variant, cuda.family) == ("cuda12", images[plain].name)
        assert cuda.name == f"{images[plain].name}-cuda12"
        assert cuda.elements == images[plain].elements
        if plain != "ws-base":
            assert cuda.depends == (f"{images[plain].depends[0]}-cuda12",)


def test_mappings_are_merged_key_by_key_and_the_rest_is_replaced(tmp_path: Path) -> None:
    images = loaded(tmp_path, FAMILY).images
    plain, cuda = images["ws-base"], images["ws-base-cuda12"]
    assert (plain.variant, plain.family, plain.entry_name) == ("", "", "WS-Base")
    assert cuda.entry_name == "WS-Base"
    assert plain.environment == {"DIB_WS_PYTHON": "3", "DIB_WS_GPU": "no"}
    assert cuda.environment == {"DIB_WS_PYTHON": "3", "DIB_WS_GPU": "yes"}
    assert cuda.container["labels"] == {"name": "base", "maintainer": "hpc", "gpu": "cuda12"}
    assert cuda.container["user"] == "1000"
    assert cuda.depends == ("cc-cuda",)
    assert [str(each) for each in cuda.formats] == ["oci"]
    assert (plain.scratch, cuda.scratch) == (6, 20)


def test_the_elements_of_a_variant_are_by_default_those_of_its_entry(tmp_path: Path) -> None:
    assert loaded(tmp_path, "A: {variants: {b: {}}}").images["a-b"].elements == ("a",)
    assert loaded(tmp_path, "A: {variants: {b: }}").images["a-b"].elements == ("a",)


def test_an_empty_value_takes_the_entrys_away(tmp_path: Path) -> None:
    images = loaded(tmp_path, "A: {scratch: 20, packages: [x], variants: {b: {scratch: , packages: }}}").images
    assert (images["a-b"].scratch, images["a-b"].packages) == (6, ())


def test_a_mapping_in_a_child_follows_unless_it_says_depends(tmp_path: Path) -> None:
    text = """\
Base: {variants: {cuda: {}}}
Other: {variants: {cuda: {}}}
Plain: {}
Follows: {depends: [Base, Other, Plain], variants: {cuda: {scratch: 9}}}
Says: {depends: [Base], variants: {cuda: {depends: [Plain]}}}
Own: {depends: [Plain], variants: {cuda: {scratch: 9}}}
Second: {depends: [Plain, Other], variants: cuda}
"""
    images = loaded(tmp_path, text).images
    assert images["follows-cuda"].depends == ("base-cuda", "other-cuda", "plain")
    assert images["says-cuda"].depends == ("plain",)
    assert images["own-cuda"].depends == ("plain",)
    assert images["second-cuda"].depends == ("plain", "other-cuda")


def test_a_variant_inherits_from_its_parents_variant(tmp_path: Path) -> None:
    text = "A: {provenance: {x: '1'}, variants: {b: {provenance: {x: '2'}}}}\nC: {depends: A, variants: [b]}\n"
    images = loaded(tmp_path, text).images
    assert (images["c"].provenance["x"], images["c-b"].provenance["x"]) == ("1", "2")
    assert list(images) == ["a", "a-b", "c", "c-b"], "parents first"


def test_what_begins_with_x_has_no_variants_of_its_own(tmp_path: Path) -> None:
    images = loaded(tmp_path, "x-c: &c {arch: [arm64], variants: {b: {arch: [arm64]}}}\nA: {<<: *c}").images
    assert list(images) == ["a", "a-b"]
    assert images["a-b"].arches == (Arch.ARM64,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A: {}\nB: {depends: A, variants: [c]}", ["images.yaml:2: B.variants.c: no parent of B has this variant"]),
        ("B: {variants: [c]}", ["B.variants.c: B has no parent whose variant it could follow; say what differs"]),
        ("A: {variants: {cuda: {}}}\nB: {depends: A, variants: [cuda1]}", ["did you mean cuda?"]),
        ("A: {variants: {b: {}}}\nA-B: {}", ["images.yaml:1: A.variants.b: would be the image A-b, and A-B is one"]),
        (
            "A:\n  variants:\n    b-c: {}\nA-b:\n  variants:\n    c: {}",
            ["images.yaml:6: A-b.variants.c: would be the image A-b-c, and so would A.variants.b-c"],
        ),
        (
            "A:\n  variants:\n    b:\n      variants: {c: {}}",
            ["images.yaml:4: A.variants.b.variants: a variant has no variants; write it beside b"],
        ),
        ("A: {variants: {'B c': {}}}", ["A.variants.B c: is not a variant's name: lower-case letters, digits, "]),
        ("A: {variants: [Cuda]}", ["A.variants.Cuda: is not a variant's name"]),
        ("A: {variants: {arm64: {}}}", ["A.variants.arm64: is an architecture's name"]),
        ("A: {variants: {b: [x]}}", ["A.variants.b: must be a mapping (key: value)"]),
        ("A: {variants: {b: {}, b: {}}}", ["A.variants.b: stands twice"]),
        ("A: {variants: [[b]]}", ["A.variants: must be one text"]),
        ("A: {variants: {b: {scrach: 1}}}", ["A.variants.b.scrach: unknown key; did you mean scratch?"]),
        ("A: {variants: {b: {scratch: no}}}", ["A.variants.b.scratch: 'no' is not a whole number"]),
        ("A: {scratch: no, variants: {b: {}, c: {}}}", ["images.yaml:1: A.scratch: 'no' is not a whole number"]),
        ("A: {scrach: 1, variants: {b: }}", ["A.scrach: unknown key; did you mean scratch?"]),
        ("A: {variant: {b: }}", ["A.variant: unknown key; did you mean variants?"]),
        ("A: {environment: {[x]: 1}, variants: {b: {environment: {DIB_X: 1}}}}", ["A.environment: a key must be"]),
        ("A: {variants: {b: {depends: nope}}}", ["A.variants.b.depends: 'nope' is not in the catalogue"]),
        ("A: {depends: nope, variants: {b: {}}}", ["images.yaml:1: A.depends: 'nope' is not in the catalogue"]),
        ("A: {variants: {b: {depends: A-b}}}", ["A.variants.b.depends: images depend on each other: A-b → A-b"]),
        (f"{'A' * 99}: {{variants: {{b: }}}}", ["would be a name of 101 characters, and 100 are the most"]),
        ("A: {variants: {'20261111': }}", ["A.variants.20261111: ends like the name of an archived version"]),
    ],
)
def test_each_mistake_has_one_message(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = problems(tmp_path, text)
    assert len(found) == len(expected), found
    for part, said in zip(expected, found, strict=True):
        assert part in said


def test_registries_know_the_family_of_a_variant(tmp_path: Path) -> None:
    """So that the tags of all variants stand in one repository."""
    write_files(
        tmp_path,
        images="WS-Base: {elements: [], arch: [amd64, arm64], formats: [oci], variants: {cuda12: {}}}\n",
        sites="lab: {registry: registry.example.org/ws}\nfolder: {directory: out}\n",
    )
    lab, folder = load(clean_environment(tmp_path), tmp_path).sites
    assert lab.families == {
        "WS-Base-cuda12": ("WS-Base", "cuda12"),
        "WS-Base-cuda12-ARM64": ("WS-Base-ARM64", "cuda12"),
    }
    assert folder.families == {}
