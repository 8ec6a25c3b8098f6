"""Spack images in the catalogue: found without an entry, resolved, and what moves the keys of images and locks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.api.plan import plan
from cc_images.builders.containerfile.spec import Numbered
from cc_images.builders.resolved import Resolved, Resolver
from cc_images.builders.resolver import image_builder
from cc_images.builders.spack.spec import SpackSpec
from cc_images.config.loader import Config, load
from cc_images.errors import ConfigError, UserError
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch, Format
from cc_images.model.container import Configuration
from cc_images.model.plan import Request
from cc_images.model.target import Target
from cc_images.store.records import Store
from tests.conftest import GOLDEN, Cli, clean_environment, write_files
from tests.support.containers import Entry, archive

IMAGES = """\
CC-Spack-Builder: {builder: containerfile, version: "1", arch: [amd64, arm64]}
CC-Spack-Runtime: {builder: containerfile, version: "2", arch: [amd64, arm64], checks: {packages: [libgomp1]}}
Zip: {builder: spack}
"""

YAML = "spack:\n  specs: [zip]\n"


def project(folder: Path, images: str = IMAGES, **files: str) -> Path:
    write_files(folder, images=images)
    for name in ("cc-spack-builder", "cc-spack-runtime"):
        (folder / "containers" / name).mkdir(parents=True, exist_ok=True)
        (folder / "containers" / name / "Containerfile").write_text("FROM scratch\n")
    for name, text in {"spack/zip/spack.yaml": YAML, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def config(folder: Path, relock: bool = False) -> Config:
    return replace(load(clean_environment(folder), folder), relock=relock)


def resolver(found: Config) -> Resolver:
    images = image_builder()
    return images.resolver(found, Store(found.store), images.host_facts([*Arch]), fetch=False)


def resolved(found: Config, tag: str = "zip", arch: Arch = Arch.AMD64) -> tuple[Resolved, dict[str, Resolved]]:
    made = resolver(found)
    image = made.resolve(found.images[tag], arch)
    return image, {each.spec.tag: each for each in made.layers(image)}


def keys(found: Config, tag: str = "zip") -> tuple[str, str]:
    image, layers = resolved(found, tag)
    return image.spec.recipe_key, layers[f"{tag}-lock"].spec.recipe_key


def test_an_image_relies_on_its_lock_and_on_two_images(tmp_path: Path) -> None:
    image, layers = resolved(config(project(tmp_path)))
    assert [*layers] == ["zip", "cc-spack-builder", "cc-spack-runtime", "zip-lock"]
    spec, lock = layers["zip"].spec, layers["zip-lock"].spec
    assert isinstance(spec, SpackSpec)
    assert isinstance(lock, SpackSpec)
    assert image.spec.relies_on == (spec.recipe_key,)
    assert (spec.tool, spec.runtime) == ("cc-spack-builder", "cc-spack-runtime")
    assert spec.relies_on[-1] == lock.recipe_key
    assert lock.relies_on == (layers["cc-spack-builder"].spec.recipe_key,)
    assert spec.said["labels"]["name"] == "zip"
    assert "version" not in spec.said["labels"], "it is the lock's"


def test_gpg_is_needed_where_packages_are_signed(tmp_path: Path) -> None:
    image, layers = resolved(config(project(tmp_path)))
    assert layers["zip"].spec.host_programs == ("buildah", "gpg")
    assert layers["zip-lock"].spec.host_programs == ("buildah",), "it reads no cache"
    assert image.spec.host_programs == (), "it takes its own layer"


def test_it_is_like_the_image_that_it_starts_from_but_for_the_version(tmp_path: Path) -> None:
    found = config(project(tmp_path))
    assert found.images["zip"].version == ""
    assert found.images["zip"].formats == (Format.OCI,)
    (target,), _ = resolver(found).with_claims([Target(found.images["zip"], Arch.AMD64)])
    assert target.image.checks == {"packages": {"libgomp1": {}}}


def test_what_moves_the_keys_of_a_lock_and_of_an_image(tmp_path: Path) -> None:
    before = keys(config(project(tmp_path)))
    assert keys(config(project(tmp_path))) == before

    def moved(**files: str) -> tuple[bool, bool]:
        now = keys(config(project(tmp_path, **files)))
        for name in files:
            (tmp_path / name).unlink()
        return now[0] != before[0], now[1] != before[1]

    assert moved(**{"spack/zip/Containerfile.epilogue": "RUN true\n"}) == (True, False)
    assert moved(**{"spack/zip/notes.txt": "copied by nobody yet\n"}) == (True, False)
    assert moved(**{"spack/zip/spack.yaml": "spack: {specs: [bzip2]}\n"}) == (True, True)
    assert moved(**{"spack/zip/spack.lock": "{}"}) == (True, True)
    project(tmp_path)
    assert keys(config(tmp_path)) == before
    (tmp_path / "spack/zip/spack.yaml").write_text("# a comment\nspack: {specs: ['zip']}\n")
    assert keys(config(tmp_path))[1] == before[1], "the same words in another form"
    including = {"spack/zip/spack.yaml": "spack: {specs: [zip], include: [more.yaml]}\n", "spack/zip/more.yaml": "{}\n"}
    with_more = keys(config(project(tmp_path, **including)))
    (tmp_path / "spack/zip/more.yaml").write_text("packages: {}\n")
    assert keys(config(tmp_path))[1] != with_more[1], "a file that it may read"
    (tmp_path / "containers/cc-spack-builder/Containerfile").write_text("FROM scratch\nENV A=1\n")
    assert keys(config(tmp_path))[1] != with_more[1]


def test_no_image_may_have_the_name_of_a_lock(tmp_path: Path) -> None:
    images = IMAGES + "Zip-Lock: {builder: containerfile, context: containers/cc-spack-runtime}\n"
    with pytest.raises(UserError, match="its lock would be called as the image Zip-Lock"):
        resolved(config(project(tmp_path, images)))


def test_a_new_lock_passes_over_one_in_the_folder(tmp_path: Path) -> None:
    lock = (GOLDEN / "spack" / "zip.lock").read_text()
    project(tmp_path, **{"spack/zip/spack.lock": lock})
    _, layers = resolved(config(tmp_path))
    _, new = resolved(config(tmp_path, relock=True))
    old_lock, new_lock = layers["zip-lock"].spec, new["zip-lock"].spec
    assert isinstance(old_lock, SpackSpec)
    assert isinstance(new_lock, SpackSpec)
    assert (old_lock.fresh, old_lock.without_lock) == (False, False)
    assert (new_lock.fresh, new_lock.without_lock) == (True, True)
    assert old_lock.recipe_key != new_lock.recipe_key


def test_a_machine_is_part_of_both_keys(tmp_path: Path) -> None:
    found = config(project(tmp_path))
    machine = {"machine": {"target": "x86_64_v2", "mpi": "mpich"}}
    image = replace(found.images["zip"], containerfile=machine)
    other = replace(found, images={**found.images, "zip": image})
    _, layers = resolved(other)
    spec = layers["zip-lock"].spec
    assert isinstance(spec, SpackSpec)
    assert (spec.target, spec.mpi) == ("x86_64_v2", "mpich")
    assert all(one != two for one, two in zip(keys(found), keys(other), strict=True))


def test_folders_are_found_without_entries(tmp_path: Path) -> None:
    files = {
        "container_definitions/x86_64/bzip2/spack.yaml": YAML,
        "container_definitions/arm64/bzip2/spack.yaml": YAML,
        "container_definitions/amd64/flat.yaml": YAML,
        "container_definitions/amd64/lolcow.def": "Bootstrap: docker\nFrom: registry.example.org/a/lolcow:1.2\n",
        "container_definitions/amd64/kid.def": "bootstrap: localimage\nfrom: CC-Spack-Runtime\n%post\n    true\n",
        "container_definitions/amd64/README.md": "no definition\n",
    }
    found = config(project(tmp_path, **files))
    assert {*found.images} == {"cc-spack-builder", "cc-spack-runtime", "zip", "bzip2", "flat", "lolcow", "kid"}
    bzip2, lolcow, kid = (found.images[name] for name in ("bzip2", "lolcow", "kid"))
    assert bzip2.builder == "spack"
    assert {*bzip2.arches} == {Arch.AMD64, Arch.ARM64}
    assert bzip2.bump
    assert isinstance(spec := resolved(found, "bzip2")[0].spec, SpackSpec)
    assert spec.before == Numbered()
    for arch in Arch:
        assert resolved(found, "bzip2", arch)[0].spec.arch is arch
    assert resolved(found, "flat")[0].spec.tag == "flat"
    assert (lolcow.version, lolcow.formats, lolcow.builder) == ("1.2", (Format.SIF,), "containerfile")
    assert (kid.version, kid.depends) == ("2", ("cc-spack-runtime",))
    assert resolved(found, "kid")[1].keys() == {"kid", "cc-spack-runtime"}


def test_the_only_files_to_edit_are_those_of_the_folder(cli: Cli, tmp_path: Path) -> None:
    """A folder or a definition file that is dropped in is in the plan, for the architecture that it is in."""
    folder = project(tmp_path)
    catalogue = (folder / "images.yaml").read_bytes()
    assert "bzip2" in cli("plan", "-b", "bzip2").stderr, "there is no such image"
    for name, text in {
        "amd64/bzip2/spack.yaml": YAML,
        "arm64/bzip2/spack.yaml": YAML,
        "aarch64/lz4/spack.yaml": YAML,
        "x86_64/kid.def": "Bootstrap: localimage\nFrom: cc-spack-runtime\n",
    }.items():
        (folder / "container_definitions" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "container_definitions" / name).write_text(text)
    done = cli("plan", "-b", "bzip2", "lz4", "kid")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = {line for line in done.stdout.splitlines() if line.endswith("64") and not line.startswith(" ")}
    assert {"bzip2 amd64", "bzip2 arm64", "lz4 arm64", "kid amd64", "cc-spack-builder arm64"} <= planned
    assert not {"lz4 amd64", "kid arm64"} & planned
    assert (folder / "images.yaml").read_bytes() == catalogue


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"container_definitions/amd64/zip.yaml": YAML}, "amd64/zip.yaml: images.yaml has an image zip, too"),
        ({"container_definitions/vax/a.yaml": YAML}, "container_definitions: 'vax' is none of"),
        ({"container_definitions/amd64/Big.yaml": YAML}, "amd64/Big.yaml: is no name of a container"),
        ({"container_definitions/amd64/a b/spack.yaml": YAML}, "amd64/a b: is no name of a container"),
        (
            {"container_definitions/amd64/a.yaml": YAML, "container_definitions/amd64/a/spack.yaml": YAML},
            "is another definition of a",
        ),
        (
            {"container_definitions/amd64/a.def": "Bootstrap: localimage\nFrom: nothing\n"},
            "amd64/a.def:1: a.depends: 'nothing' is not in the catalogue",
        ),
    ],
)
def test_a_wrong_definition_is_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as failed:
        config(project(tmp_path, **files))
    assert message in str(failed.value)


LAUGHS = "".join(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 10))
"""A few lines that are a thousand million values."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spack/zip/spack.yaml: is empty"),
        ("spack:\n  spec: [zip]\n", "spack/zip/spack.yaml:2: spack.spec: unknown key; 'spec' is none of"),
        ("spack: {}\n", "spack/zip/spack.yaml:1: spack.specs: is missing"),
        ("spack:\n  specs:\n  - zip\n  packages: [zip]\n", "spack.yaml:4: spack.packages: must be a mapping"),
        ("spack:\n  specs: [zip]\n  packages:\n    zip: 3\n", "spack.yaml:4: spack.packages.zip: must be a mapping"),
        ("spack:\n  specs: [3]\n", "spack.yaml:2: spack.specs: '3' is no spec"),
        ("spack:\n  specs: [zip]\n  config: [a]\n", "spack.yaml:3: spack.config: must be a mapping"),
        ("spack: {specs: [zip], packages: {a: {require: 5}}}", "spack.packages.a: require must be a spec"),
        ("spack: {specs: [zip], packages: {all: {providers: [a]}}}", "spack.packages.all: providers must be a mapping"),
        ("spack: {specs: [zip], include: [/etc/passwd]}", "spack.include: '/etc/passwd' is not below the folder"),
        ("spack: {specs: [zip], repos: {a: ../../x}}", "spack.repos: '../../x' is not below the folder"),
        ("spack: {specs: [zip], view: {default: {root: /}}}", "spack.view: has settings"),
        ("env: {specs: [zip]}", "has no section spack"),
        ("spack: {specs: [zip]}\nmore: 1\n", "spack.yaml:2: more: unknown key"),
        ("spack: [\n", "spack.yaml:2: is not YAML"),
        ("spack:\n  specs: [zip target=zen2\n", "is not YAML"),
        ("spack: {specs: [zip], config: {a: 2030-13-45}}", "spack.yaml:1: spack: month must be in 1..12"),
        ("spack: {specs: [zip], config: {a: !!timestamp never}}", "spack.yaml:1: spack: "),
        (
            "spack: {specs: [zip], config: !mine a}",
            "spack.yaml:1: spack: could not determine a constructor for the tag",
        ),
        ("spack: {specs: [zip], config: &a {b: *a}}", "spack.yaml:1: spack: has more than 1,000,000 values"),
        (f"a0: &a0 [x]\n{LAUGHS}spack: {{specs: [zip], config: {{x: *a9}}}}\n", "has more than 1,000,000 values"),
    ],
)
def test_a_wrong_environment_is_named_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    found = config(project(tmp_path, **{"spack/zip/spack.yaml": text}))
    with pytest.raises(UserError) as failed:
        resolved(found)
    assert message in failed.value.message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("Zip: {builder: spack, elements: [a]}", "is for images that dib makes; the spack.yaml says what is in it"),
        ("Zip: {builder: spack, target: a}", "Zip.target: is for builder: containerfile"),
        ("Zip: {builder: spack, formats: [qcow2]}", "Spack makes oci, sif, tar"),
        ("Zip: {builder: spack, depends: [CC-Spack-Builder]}", "Zip.depends: needs two images"),
        ("Zip: {builder: spak}", "dib, containerfile or spack"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(ConfigError) as failed:
        config(project(tmp_path, IMAGES.replace("Zip: {builder: spack}", entry)))
    assert message in str(failed.value)


def test_a_catalogue_without_the_images_for_spack_says_what_to_copy(tmp_path: Path) -> None:
    images = "Zip: {builder: spack}\nBzip2: {builder: spack, depends: [My-Builder, CC-Spack-Runtime]}\n"
    with pytest.raises(ConfigError) as failed:
        config(project(tmp_path, images))
    assert failed.value.problems == [
        "images.yaml:1: Zip: builder: spack needs cc-spack-builder and cc-spack-runtime, which are not in the "
        "catalogue: copy their entries, those of their parents, and containers/cc-spack-builder and "
        "containers/cc-spack-runtime from cc-images, or name other images in depends",
        "images.yaml:2: Bzip2.depends: 'my-builder' is not in the catalogue",
        "images.yaml:2: Bzip2: builder: spack needs cc-spack-runtime, which is not in the catalogue: copy its entry, "
        "those of its parents, and containers/cc-spack-runtime from cc-images, or name other images in depends",
    ]


def test_an_image_for_spack_without_its_folder_is_the_one_that_is_named(tmp_path: Path) -> None:
    found = config(project(tmp_path))
    shutil.rmtree(tmp_path / "containers" / "cc-spack-builder")
    with pytest.raises(UserError) as failed:
        resolved(found)
    assert failed.value.message == (
        f"its parent CC-Spack-Builder: its context {tmp_path}/containers/cc-spack-builder is not there"
    )
    assert failed.value.hint == (
        "write it there, copy it from where the entry is from, or say `context:` with the folder that has it"
    )


def test_an_epilogue_has_no_instructions_for_children(tmp_path: Path) -> None:
    found = config(project(tmp_path, **{"spack/zip/Containerfile.epilogue": "RUN true\nONBUILD RUN false\n"}))
    with pytest.raises(UserError, match="ONBUILD: images are of OCI's format, which does not keep it"):
        resolved(found)


def keep(found: Config, lock: Resolved, run: str, text: str) -> None:
    """Record a lock as the engine does: a layer, an image of one file."""
    store = Store(found.store)
    store.root.mkdir(parents=True, exist_ok=True)
    file = archive(found.store / "staged", Configuration(), {"spack.lock": Entry(text=text)})
    blob = store.blobs.add(file)
    key = lock.spec.recipe_key
    layer = Layer(
        tag=lock.spec.tag, arch=lock.spec.arch, run=run, recipe_key=key, key=key, digest=blob.digest, size=blob.size
    )
    store.record_layer(layer, {"recipe": lock.recipe.as_json()})


def test_a_stored_lock_says_the_version_and_which_packages_are_compiled(tmp_path: Path) -> None:
    found = config(project(tmp_path))
    made = resolver(found)
    image = made.resolve(found.images["zip"], Arch.AMD64)
    chosen = [(found.images["zip"], Arch.AMD64, image)]
    assert "zip amd64: its lock is made first" in "\n".join(made.remarks(chosen, Nothing()))
    lock = next(each for each in made.layers(image) if each.spec.tag == "zip-lock")
    keep(found, lock, "20261130T120000Z", (GOLDEN / "spack" / "zip.lock").read_text())
    (target,), _ = made.with_claims([Target(found.images["zip"], Arch.AMD64)])
    assert target.image.version == "3.0"
    said = "\n".join(made.remarks(chosen, Nothing()))
    assert "zip amd64: 0 of 4 packages are in the build cache, compiled: compiler-wrapper@1.1.0, gcc-runtime" in said
    own = replace(found.images["zip"], version="7")
    (target,), _ = made.with_claims([Target(own, Arch.AMD64)])
    assert target.image.version == "7", "what the entry says"


OF_GIT = IMAGES.replace(
    'CC-Spack-Builder: {builder: containerfile, version: "1", arch: [amd64, arm64]}',
    """CC-Spack-Builder:
  builder: containerfile
  version: "1"
  arch: [amd64, arm64]
  contexts:
    spack: {variable: CC_IMAGES_SPACK, git: https://git.example.org/spack.git, commit: COMMIT}
    packages: {variable: CC_IMAGES_SPACK_PACKAGES, git: https://git.example.org/packages.git, commit: COMMIT}
""".replace("COMMIT", "a" * 40),
)


def notes(folder: Path, *tags: str) -> list[str]:
    """Return what the plan of a build says of where Spack is from."""
    settings = folder / "settings.yaml"
    environment = {"CC_IMAGES_SETTINGS": str(settings)} if settings.exists() else {}
    found = load(clean_environment(folder) | environment, folder)
    request = Request(tags=tags, arches=(Arch.AMD64,), build=True, push=False, force=False, jobs=0)
    return [each for each in plan(request, found, offline=True).plan.notes if "checkout" in each]


def test_a_plan_says_that_spack_is_fetched_for_want_of_a_checkout(tmp_path: Path) -> None:
    project(tmp_path, OF_GIT + "Bzip2: {builder: spack, context: spack/zip}\n")
    file = tmp_path / "containers/cc-spack-builder/Containerfile"
    file.write_text("FROM scratch\nCOPY --from=spack / /opt/spack/\nCOPY --from=packages / /opt/spack-packages/\n")
    assert notes(tmp_path, "cc-spack-runtime") == []
    assert notes(tmp_path, "zip", "bzip2") == [
        "cc-spack-builder: Spack is fetched from https://git.example.org/spack.git and "
        "https://git.example.org/packages.git, since no checkout is named: say "
        "`spack: {root: FOLDER, packages: FOLDER}` in settings.yaml, or set CC_IMAGES_SPACK and "
        "CC_IMAGES_SPACK_PACKAGES"
    ]
    (tmp_path / "checkout").mkdir()
    settings = tmp_path / "settings.yaml"
    settings.write_text("spack: {root: ~/checkout}\n")
    (said,) = notes(tmp_path, "zip")
    assert "git.example.org/spack.git" not in said
    assert "say `spack: {packages: FOLDER}` in settings.yaml, or set CC_IMAGES_SPACK_PACKAGES" in said
    settings.write_text("spack: {root: ~/checkout, packages: ~/checkout}\n")
    assert notes(tmp_path, "zip") == []


def test_no_checkout_is_needed_where_the_image_with_spack_is_stored(tmp_path: Path) -> None:
    project(tmp_path, OF_GIT)
    file = tmp_path / "containers/cc-spack-builder/Containerfile"
    file.write_text("FROM scratch\nCOPY --from=spack / /opt/spack/\nCOPY --from=packages / /opt/spack-packages/\n")
    found = config(tmp_path)
    keep(found, resolved(found)[1]["cc-spack-builder"], "20261130T120000Z", "{}")
    assert notes(tmp_path, "zip") == []


def test_a_new_lock_stays_until_the_next_is_asked_for(tmp_path: Path) -> None:
    project(tmp_path)
    old = keys(config(tmp_path))
    found = config(tmp_path, relock=True)
    image, layers = resolved(found)
    lock = layers["zip-lock"]
    keep(found, lock, "20261130T120000Z", (GOLDEN / "spack" / "zip.lock").read_text())
    assert keys(config(tmp_path)) == (image.spec.recipe_key, lock.spec.recipe_key) != old
    spec = resolved(config(tmp_path))[1]["zip-lock"].spec
    assert isinstance(spec, SpackSpec)
    assert not spec.fresh


class Nothing:
    """No knowledge of earlier builds."""

    def newest(self, recipe_key: str) -> None:
        return None

    def offered(self, recipe_key: str) -> None:
        return None


def test_the_epilogue_of_a_spec_is_that_of_its_key(tmp_path: Path) -> None:
    """It may lead out of the folder, or be left out of it by an ignore file: the copy that is built has none then."""
    found = project(tmp_path, **{"shared": "LABEL a=b\n", "spack/zip/.containerignore": "Containerfile.epilogue\n"})
    (tmp_path / "spack" / "zip" / "Containerfile.epilogue").symlink_to("../../shared")
    image, _ = resolved(config(found))
    assert isinstance(image.spec, SpackSpec)
    assert image.spec.epilogue == "LABEL a=b\n"
    before = keys(config(found))
    (tmp_path / "shared").write_text("LABEL a=c\n")
    after = keys(config(found))
    assert before[0] != after[0]
    assert before[1] == after[1]
