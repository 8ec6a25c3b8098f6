"""Unit tests of keys of images from Containerfiles: what changes them, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from cc_images.builders.containerfile.builder import CONTAINERFILE
from cc_images.builders.containerfile.recipes import Recipes, pinned
from cc_images.builders.containerfile.sections import OWN
from cc_images.builders.containerfile.spec import ContainerfileSpec, Numbered
from cc_images.builders.resolved import Resolved
from cc_images.config.loader import Config, load
from cc_images.errors import UserError
from cc_images.model.catalog import Arch, Material
from cc_images.model.recipe import Recipe
from tests.conftest import clean_environment, write_files

IMAGES = """\
Base: {builder: containerfile, version: "1"}
Kid: {builder: containerfile, depends: [Base], build-args: {WHO: me}}
Other: {builder: containerfile, context: containers/kid, depends: [Base], labels: {a: b}}
"""


PLAIN: dict[str, Any] = {
    "makes": Material.TREE, "name": "Base", "tag": "base", "arch": Arch.AMD64, "recipe_key": "b", "folder": "",
    "context": "", "arguments": {},
}  # fmt: skip


def made_recipe() -> Recipe:
    return Recipe(
        name="Base", arch=Arch.AMD64, content=(), disk=(), elements={}, environment={}, packages=(), artifacts={},
        files={}, tools={},
    )  # fmt: skip


def config(folder: Path, images: str = IMAGES, **files: str) -> Config:
    write_files(folder, images=images)
    for name, text in {"base": "FROM debian:12\n", "kid": "FROM base\nARG WHO\nRUN echo $WHO\n", **files}.items():
        (folder / "containers" / name).mkdir(parents=True, exist_ok=True)
        (folder / "containers" / name / "Containerfile").write_text(text)
    return load(clean_environment(folder), folder)


def recipes(found: Config, digest: str = "sha256:1", builder: str = "1.28") -> Recipes:
    def layer(image: object, arch: object) -> Resolved:
        return made.layer(image, arch)  # type: ignore[arg-type]

    made = Recipes(config=found, builder=builder, parent_layer=layer, digest_of=lambda name, arch: digest)
    return made


def keys(found: Config, **more: str) -> dict[str, str]:
    made = recipes(found, **more)
    return {tag: made.build(image, Arch.AMD64).spec.recipe_key for tag, image in found.images.items()}


@pytest.mark.parametrize("word", ["ONBUILD", "onbuild"])
def test_onbuild_is_refused_where_the_image_would_lose_it(tmp_path: Path, word: str) -> None:
    made = recipes(config(tmp_path, base=f"FROM debian:12\nRUN true\n{word} COPY a /a\n"))
    with pytest.raises(UserError) as caught:
        made.build(made.config.images["base"], Arch.AMD64)
    assert caught.value.message == "line 3: ONBUILD: images are of OCI's format, which does not keep it"
    assert caught.value.hint == "write COPY into the Containerfiles of the images that start from this one"
    unused = "FROM debian:12 AS unused\nONBUILD COPY a /a\nFROM debian:12\nRUN true\n"
    made = recipes(config(tmp_path, base=unused))
    assert made.build(made.config.images["base"], Arch.AMD64), "a stage that the target does not need"


SUM = f"--checksum=sha256:{'a' * 64}"
COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ADD https://x.invalid/f /f", "line 2: ADD https://x.invalid/f has no checksum"),
        ("ADD --chown=1 a https://me:word@x.invalid/f?key=1 /f/", "line 2: ADD https://x.invalid/f has no checksum"),
        ('ADD ["https://x.invalid/f", "/f"]', "has no checksum"),
        (f"ADD https://x.invalid/f {'[' * 50_000}", "has no checksum"),
        (f"ADD {'[' * 50_000} /f\nADD https://x.invalid/f /f", "line 3: ADD https://x.invalid/f has no checksum"),
        ("ARG V=1\nENV FROM=https://x.invalid\nADD $FROM/$V /f", "line 4: ADD https://x.invalid/1 has no checksum"),
        ("ENV FROM https://x.invalid\nADD ${FROM} /f", "line 3: ADD https://x.invalid has no checksum"),
        ("ADD --checksum=sha256:12 https://x.invalid/f /f", "has no checksum"),
        ("ADD https://x.invalid/f.git /f", "line 2: ADD https://x.invalid/f.git has no commit"),
        (f"ADD {SUM} https://x.invalid/f.git#main /f", "has no commit"),
        ("ADD git@x.invalid:f /f", "has no commit"),
    ],
)
def test_what_is_fetched_from_an_address_needs_a_digest(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as failed:
        keys(config(tmp_path, base=f"FROM debian:12\n{text}\n"), builder="1.39.3")
    assert expected in failed.value.message
    assert "word" not in failed.value.message
    assert failed.value.hint.startswith(("write ADD --checksum=sha256:", "write the commit behind it"))


@pytest.mark.parametrize(
    "text",
    [
        f"ADD {SUM} https://x.invalid/f /f",
        f"ARG S\nENV S=sha256:{'a' * 64}\nADD --checksum=$S https://x.invalid/f /f",
        f"ADD https://x.invalid/f.git#{COMMIT} /f",
        f"ADD git@x.invalid:f.git#{COMMIT}:folder /f",
        "ADD files.tar /opt/",
        "ADD <<text /f\nhttps://x.invalid/f\ntext",
        "COPY https /f",
        "RUN echo ADD https://x.invalid/f /f",
        "FROM debian:12 AS unused\nADD https://x.invalid/f /f\nFROM debian:12",
    ],
)
def test_what_has_a_digest_or_is_no_address_is_built(tmp_path: Path, text: str) -> None:
    assert keys(config(tmp_path, base=f"FROM debian:12\n{text}\n"), builder="1.39.3")


def test_a_checksum_that_this_buildah_does_not_know_is_said_at_once(tmp_path: Path) -> None:
    found = config(tmp_path, base=f"FROM debian:12\nADD {SUM} https://x.invalid/f /f\n")
    with pytest.raises(UserError, match=r"line 2: ADD --checksum needs buildah 1\.33; this host has 1\.28\.2"):
        keys(found, builder="1.28.2")


def test_a_key_follows_files_arguments_labels_parents_digests_and_the_program(tmp_path: Path) -> None:
    before = keys(config(tmp_path))
    assert keys(config(tmp_path)) == before

    def moved(images: str = IMAGES, digest: str = "sha256:1", builder: str = "1.28", **files: str) -> set[str]:
        now = keys(config(tmp_path, images, **files), digest=digest, builder=builder)
        return {tag for tag in before if now[tag] != before[tag]}

    assert moved(base="FROM debian:12\nRUN true\n") == {"base", "kid", "other"}
    assert moved(kid="FROM base\nARG WHO=you\n") == {"kid", "other"}
    assert moved(IMAGES.replace("WHO: me", "WHO: you")) == {"kid"}
    assert moved(IMAGES.replace("a: b", "a: c")) == {"other"}
    assert moved(digest="sha256:2") == {"base", "kid", "other"}
    assert moved(builder="1.29") == {"base", "kid", "other"}
    assert moved(IMAGES.replace('"1"', '"2"')) == {"base", "kid", "other"}, "children have their parent's version"


def test_what_an_image_was_is_in_its_spec_and_in_no_key(tmp_path: Path) -> None:
    found = config(tmp_path, IMAGES.replace('version: "1"', 'version: "1", bump: yes'))
    before = Numbered(version="1.3", content="c")
    made = recipes(found)
    made.newest = lambda tag, arch: before if tag == "kid" else Numbered()
    specs = {tag: made.build(image, Arch.AMD64).spec for tag, image in found.images.items()}
    said = {tag: spec.before for tag, spec in specs.items() if isinstance(spec, ContainerfileSpec)}
    assert said == {"base": Numbered(), "kid": before, "other": Numbered()}, "children raise theirs as well"
    assert {tag: spec.recipe_key for tag, spec in specs.items()} == keys(found)
    assert CONTAINERFILE.decode(to_builtins(specs["kid"])) == specs["kid"], "it travels"
    unraised = recipes(config(tmp_path)).build(config(tmp_path).images["kid"], Arch.AMD64).spec
    assert isinstance(unraised, ContainerfileSpec)
    assert unraised.before is None


def test_downloads_are_shared_with_images_of_the_same_context(tmp_path: Path) -> None:
    more = "".join(
        f"More-{number}: {{builder: containerfile, context: containers/kid, depends: [Base]}}\n" for number in range(4)
    )
    made = recipes(found := config(tmp_path, IMAGES.replace("WHO: me}}", "WHO: me}, variants: {x: {}}}") + more))
    families = {tag: made.build(image, Arch.AMD64).spec.families for tag, image in found.images.items()}
    assert families["base"] == ("base-amd64",)
    assert families["kid"] == ("kid-amd64", "kid-x-amd64", "other-amd64", "more-0-amd64")
    assert families["more-3"] == ("more-3-amd64", "kid-amd64", "kid-x-amd64", "other-amd64"), "its own comes first"


def test_a_readme_tells_of_one_image_alone(tmp_path: Path) -> None:
    def labels(tag: str) -> dict[str, str]:
        made = recipes(found := config(tmp_path, **texts)).build(found.images[tag], Arch.AMD64).spec
        assert isinstance(made, ContainerfileSpec)
        said: dict[str, str] = made.said["labels"]
        return {name: text for name, text in said.items() if name in OWN}

    texts = {"base": 'FROM scratch\nLABEL "licenses"=MIT\n', "kid": "FROM base\n"}
    config(tmp_path, **texts)
    key = keys(config(tmp_path, **texts))["kid"]
    assert labels("base") == {}
    assert labels("kid") == {"licenses": ""}
    (tmp_path / "containers/base/README.md").write_text("## License\nMIT\n")
    assert labels("base") == {"license": "MIT"}
    assert labels("kid") == {"license": "", "licenses": ""}, "it has none"
    assert keys(config(tmp_path, **texts))["kid"] != key
    texts["kid"] = "FROM base\nLABEL license Apache-2.0\n"
    assert labels("kid") == {"licenses": ""}, "the file says one"
    (tmp_path / "containers/kid/README.md").write_text("## Licence\nGPL-3.0\n")
    assert labels("kid") == {"license": "GPL-3.0", "licenses": ""}
    texts["base"] = "FROM registry.example.org/debian:12\n"
    (tmp_path / "containers/base/README.md").unlink()
    assert labels("base") == {"description": "", "usage": "", "license": ""}, "nobody knows what that one says"


def test_a_file_that_is_no_part_of_its_context_is_in_the_key(tmp_path: Path) -> None:
    def key(text: str) -> str:
        found = config(tmp_path, base=text)
        (tmp_path / "containers/base/.containerignore").write_text("*\n")
        return recipes(found).build(found.images["base"], Arch.AMD64).spec.recipe_key

    assert key("FROM debian:12\nRUN echo 1\n") != key("FROM debian:12\nRUN echo 2\n")


def test_how_a_parent_is_run_and_an_argument_named_base_are_in_the_key(tmp_path: Path) -> None:
    parent = "Base: {{elements: [], formats: [oci], container: {{environment: {{X: {}}}}}}}\n"
    child = "Kid: {{builder: containerfile, depends: [Base], build-args: {{BASE: {}}}}}\n"

    def key(x: str, base: str) -> str:
        found = config(tmp_path, parent.format(x) + child.format(base), kid="FROM base\nARG BASE\nRUN echo $X\n")
        made = recipes(found)
        fixed = Resolved(spec=ContainerfileSpec(**PLAIN), recipe=made_recipe())
        made.parent_layer = lambda image, arch: fixed
        return made.build(found.images["kid"], Arch.AMD64).spec.recipe_key

    assert len({key("one", "base"), key("two", "base"), key("one", "other")}) == 3


def test_a_tag_of_the_catalogue_has_none_itself(tmp_path: Path) -> None:
    found = config(tmp_path, kid="FROM base:latest\n")
    with pytest.raises(UserError, match="base is an image of the catalogue, which has no tags"):
        recipes(found).build(found.images["kid"], Arch.AMD64)


def test_sections_of_a_readme_are_labels(tmp_path: Path) -> None:
    found = config(tmp_path)
    (tmp_path / "containers/kid/README.md").write_text("# Kid\n\n## Usage\n\nRun it.\n\n## License\n\nMIT\n")
    spec = recipes(found).build(found.images["other"], Arch.AMD64).spec
    assert isinstance(spec, ContainerfileSpec)
    labels = spec.said["labels"]
    assert (labels["usage"], labels["license"], labels["a"]) == ("Run it.", "MIT", "b")
    assert (labels["name"], labels["version"]) == ("other", "1")


def test_an_image_takes_its_own_layer_and_a_child_its_parents(tmp_path: Path) -> None:
    found = config(tmp_path)
    made = recipes(found)
    base = made.build(found.images["base"], Arch.AMD64).spec
    layer, kid = (made.layer(found.images[tag], Arch.AMD64).spec for tag in ("base", "kid"))
    assert base.relies_on == (layer.recipe_key,), "what children start from is what is published, to the byte"
    assert kid.relies_on == (layer.recipe_key,)
    assert base.recipe_key != layer.recipe_key
    assert [each.url for each in layer.artifacts.values()] == ["docker://debian@sha256:1"]


def test_an_image_of_the_catalogue_that_is_no_parent_is_never_asked_at_a_registry(tmp_path: Path) -> None:
    found = config(tmp_path, kid="FROM base\nCOPY --from=other /a /a\n")
    with pytest.raises(UserError, match="no parent of Kid") as caught:
        recipes(found).build(found.images["kid"], Arch.AMD64)
    assert caught.value.hint == "add other to its depends"


def test_references_are_pinned_by_their_digest_alone() -> None:
    assert pinned("debian", "sha256:1") == "debian@sha256:1"
    assert pinned("host:5000/a/b:1.2", "sha256:1") == "host:5000/a/b@sha256:1"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{builder: containerfile, elements: [x]}", "elements: is for images that dib makes"),
        ("{builder: containerfile, formats: [qcow2]}", "a Containerfile makes oci"),
        ("{builder: docker}", "dib, containerfile or spack"),
        ("{elements: [], build-args: {A: b}}", "build-args: is for builder: containerfile"),
        ("{builder: containerfile, base: true}", "base: is for images that dib makes"),
        ("{builder: containerfile, version: 'a b'}", "a version of letters"),
        ("{builder: containerfile, version: latest}", "and not latest"),
        ("{elements: [], depends: [Base], disk: []}", "Base is made by a Containerfile"),
    ],
)
def test_mistakes_in_an_entry_are_named(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(tmp_path, IMAGES + f"Wrong: {entry}\n")
