"""The configuration: defaults, Chameleon's files, and a message for every mistake."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cc_images.builders.dib.element_checks import own_checks
from cc_images.config.loader import Config, load, packaged
from cc_images.errors import ConfigError
from cc_images.model.catalog import Arch, Format
from tests.conftest import write_files

CHAMELEON_IMAGES = """\
---
CC-Ubuntu22.04:
  arch:
    - amd64
    - arm64
  provenance:
    distro: ubuntu
    release: 22.10
    variant: base
CC-Ubuntu22.04-CUDA:
  depends:
    - CC-Ubuntu22.04
  baremetal-only: true
  provenance:
    variant: gpu
CC-CentOS7:
  provenance: {distro: centos, release: 7, variant: base}
CC-CentOS7-Nallatech:
  depends:
    - CC-CentOS7
  baremetal-only: true
  artifacts:
    DIB_OPENCL_RUNFILE_URL:
      object: FPGA/runtime.rpm
      site: tacc
"""

CHAMELEON_SITES = """\
---
CHI@TACC:
  is_baremetal: True
  cloud: tacc
  image_container: supported-images
KVM@TACC:
  is_baremetal: False
  cloud: kvm
"""


def loaded(folder: Path, **texts: str) -> Config:
    write_files(folder, **texts)
    return load({"HOME": str(folder)}, folder)


def problems(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, **texts)
    return caught.value.problems


def test_published_files_load_unchanged(tmp_path: Path) -> None:
    config = loaded(tmp_path, images=CHAMELEON_IMAGES, sites=CHAMELEON_SITES)
    cuda = config.images["cc-ubuntu22.04-cuda"]
    assert cuda.baremetal_only
    assert cuda.depends == ("cc-ubuntu22.04",)
    assert cuda.provenance == {"distro": "ubuntu", "release": "22.10", "variant": "gpu"}, "inherited, as written"
    assert cuda.arches == (Arch.AMD64,)
    assert config.images["cc-centos7-nallatech"].artifacts["DIB_OPENCL_RUNFILE_URL"].object == "FPGA/runtime.rpm"
    assert [(site.name, site.cloud, site.is_baremetal) for site in config.sites] == [
        ("CHI@TACC", "tacc", True),
        ("KVM@TACC", "kvm", False),
    ]
    assert "image_container is not used" in config.notes[0]


def test_defaults(tmp_path: Path) -> None:
    image = loaded(tmp_path, images="CC-Thing: {}").images["cc-thing"]
    assert image.elements == ("cc-thing",)
    assert image.disk == ("vm", "block-device-efi")
    assert image.formats == (Format.QCOW2,)
    assert image.layer


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
    A:
      arch: amd64
      elements: one
      disk: [vm, block-device-mbr]
      environment: {DIB_X: 010, DIB_Y: yes}
      packages: [vim, less]
      baremetal_only: true
      formats: [qcow2, raw]
      properties: {os_type: linux}
      checks: {files: [/etc/passwd]}
      timeout: 30
      eol: 2030-06-30
      layer: false
    """
    image = loaded(tmp_path, images=text).images["a"]
    assert image.environment == {"DIB_X": "010", "DIB_Y": "yes"}, "values are the user's text"
    assert (image.elements, image.packages, image.timeout) == (("one",), ("vim", "less"), 30)
    assert image.eol == date(2030, 6, 30)
    assert image.baremetal_only
    assert not image.layer


def test_an_empty_list_is_not_the_default(tmp_path: Path) -> None:
    image = loaded(tmp_path, images="A: {elements: [], disk: []}").images["a"]
    assert (image.elements, image.disk) == ((), ())


def test_anchors_and_aliases_are_read(tmp_path: Path) -> None:
    config = loaded(tmp_path, images="A: &a {timeout: 5}\nB: &b {<<: *a, packages: [vim]}\nC: *b")
    assert [image.timeout for image in config.images.values()] == [5, 5, 5]


def test_parents_come_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, images="C: {depends: B}\nB: {depends: A}\nA: {}")
    assert list(config.images) == ["a", "b", "c"]
    assert [image.tag for image in config.lineage(config.images["c"])] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A: {depends: B}\nB: {depends: C}\nC: {depends: A}", ["images depend on each other: A → B → C → A"]),
        ("A: {depends: A}", ["images depend on each other: A → A"]),
        ("CC-Base: {}\nA: {depends: CC-Bsae}", ["images.yaml:2: A.depends: 'cc-bsae'", "did you mean CC-Base?"]),
        ("A: {arch: [amd64]}\nB: {depends: A, arch: [arm64]}", ["B.arch: arm64 is not among those of its parent A"]),
        ("A: {arch: [amd46]}", ["images.yaml:1: A.arch: 'amd46'", "did you mean amd64?"]),
        ("A:\n  enviroment: {X: 1}", ["images.yaml:2: A.enviroment: unknown key; did you mean environment?"]),
        ("A: {eol: soon}", ["A.eol: 'soon' is not a date such as 2030-06-30"]),
        ("A: {eol: 2030-02-31}", ["A.eol: '2030-02-31' is not a date"]),
        ("A: {timeout: 0}", ["A.timeout: 0 is less than 1"]),
        ("A: {timeout: long}", ["A.timeout: 'long' is not a whole number"]),
        ("A: {baremetal-only: maybe}", ["A.baremetal-only: 'maybe' is not true or false"]),
        ("A: {baremetal-only: true, baremetal_only: true}", ["given twice"]),
        ("A: {arch: []}", ["A.arch: names none of amd64, arm64; without the key it is the default"]),
        ("A: {formats: []}", ["A.formats: names none of"]),
        ("A: {container: {ports: [0]}}", ["A.container.ports: '0' is no port, such as 8888 or 53/udp"]),
        ("A: {container: {volumes: [data]}}", ["A.container.volumes: 'data' is no absolute path"]),
        ("A: {container: {folder: home}}", ["A.container.folder: 'home' is not an absolute path"]),
        ("A: {container: {user: 'a b'}}", ["A.container.user: 'a b' is not a user, or user:group"]),
        ("A: {try-timeout: 0}", ["A.try-timeout: 0 is less than 1"]),
        ("A: {try-network: maybe}", ["A.try-network: 'maybe' is not true or false"]),
        ("A: {trys: [a]}", ["A.trys: unknown key; did you mean try?"]),
        ("A: {container: {cmd: [a]}}", ["A.container.cmd: unknown key; did you mean command?"]),
        (
            "A: {formats: [vdi]}",
            ["'vdi' is none of qcow2, qcow2-zlib, raw, vmdk, vhd, tar, tar-gzip, squashfs, oci, sif, ramdisk"],
        ),
        ("A: {artifacts: {X: {}}}", ["A.artifacts.X: needs either url, or object and site"]),
        ("A: {artifacts: {X: {object: o}}}", ["A.artifacts.X.site: is missing"]),
        (
            "A: {artifacts: {X: {url: 'file:///u', sha256: abc}}}",
            ["A.artifacts.X.sha256: 'abc' is not 64 hexadecimal digits"],
        ),
        ("A: {artifacts: {'bad name': {url: 'file:///u'}}}", ["is not a variable's name"]),
        ("A: [1]", ["A: must be a mapping"]),
        ("- A", ["must be a mapping"]),
        ("A: {}\na: {}", ["its tag a is also that of A"]),
        ("A: {}\nA: {}", ["images.yaml:2: A: stands twice"]),
        ("Plan: {}", ["plan is a word of the command line"]),
        ("'a b': {}", ["is not a name"]),
        ("A: {", ["is not YAML"]),
        ("[a]: {}", ["a key must be one text"]),
        ("A: {[a, b]: 1}", ["a key must be one text"]),
        ("A: {<<: 3}", ["expected a mapping"]),
        ("A: {checks: {[1, 2]: 3}}", ["A.checks: a key must be one text"]),
        ("A: {checks: [files]}", ["A.checks: must be a mapping"]),
        ("A: {checks: {file: {/x: }}}", ["A.checks.file: unknown key; did you mean files?"]),
        ("A: {checks: {files: {x: }}}", ["A.checks.files.x: is not an absolute path"]),
        (
            "A: {checks: {files: {/x: rwx}}}",
            ["A.checks.files./x: mode: 'rwx' is not an octal mode"],
        ),
        ("A: {checks: {files: {/x: {modus: 1}}}}", ["A.checks.files./x: 'modus': unknown; known are mode, owner"]),
        (
            "A: {checks: {units: {a.service: {b: c}}}}",
            ["A.checks.units.a.service: 'b': unknown; units take only"],
        ),
        ("A: {checks: {units: {a.service: off}}}", ["A.checks.units.a.service: 'off': unknown; units take only"]),
        ("A: {checks: {units: [a]}}", ["A.checks.units.a: is not a unit's name with its type"]),
        ("A: {checks: {executables: [/bin/x]}}", ["A.checks.executables./bin/x: is not a program's name"]),
        ("A: {checks: {files: {/x: {absent: yes, mode: 0644}}}}", ["absent: contradicts the other expectations"]),
        (
            "A:\n  checks:\n    files:\n      /x: rwx\n      /y: {mode: z, owner: a b}",
            [
                "images.yaml:4: A.checks.files./x: mode",
                "images.yaml:5: A.checks.files./y: mode",
                "images.yaml:5: A.checks.files./y: owner",
            ],
        ),
        (
            "A: {checks: {packages: {a: 12}}}",
            ["A.checks.packages.a: version: '12' is not a range"],
        ),
        ("A: {checks: {commands: {a: '('}}}", ["A.checks.commands.a: output: is not a regular expression"]),
        ("A: {checks: {free: [/]}}", ["A.checks.free./: needs a size such as 500M or 2G"]),
        ("A: {checks: {ports: {22: '('}}}", ["A.checks.ports.22: banner: is not a regular expression"]),
        ("A: {checks: {ports: {53/udp: x}}}", ["A.checks.ports.53/udp: banner: only TCP has one"]),
        ("A: {checks: {ports: [ssh]}}", ["A.checks.ports.ssh: is not a port such as 22"]),
        ("A: {checks: {files: {/x: {mode: [1]}}}}", ["A.checks.files./x.mode: must be one text"]),
        ("A: {firmware: [uefy]}", ["A.firmware: 'uefy' is none of bios, uefi (did you mean uefi?)"]),
        ("A: " + "[" * 3000, ["images.yaml"]),
        ("A: {arch: [amd64, arm64]}\nA-ARM64: {}", ["would be published as A-ARM64, and so would A"]),
        ("A: {environment: {PATH: /x}}", ["A.environment.PATH: is neither DIB_* nor one of"]),
        ("A: {environment: {DIB_QUIET: 1}}", ["A.environment.DIB_QUIET: is a variable that the sandbox decides"]),
        ("A: {properties: {hw_disk_bus: bogus}}", ["A.properties.hw_disk_bus: 'bogus' is none of fdc, ide"]),
        ("A: {properties: {min_ram: much}}", ["A.properties.min_ram: 'much' is not a whole number"]),
        ("A: {properties: {visibility: public}}", ["A.properties.visibility: is set by cc-images"]),
        ("A: {properties: {build-key: x}}", ["A.properties.build-key: is set by cc-images"]),
        ("A: {artifacts: {PATH: {url: https://x.invalid/x}}}", ["A.artifacts.PATH: is a variable that the sandbox"]),
        ("A: {artifacts: {X: {url: server/x?sig=1}}}", ["is not an address that begins with https://"]),
        ("A: {version: 1.0+cu12}", ["images.yaml:1: A.version: '1.0+cu12' is not a version", "write - for +"]),
        (
            "A: {boot: {level: starts}}",
            ["images.yaml:1: A.boot.level: starts is never reached: its formats are qcow2; say one of inside, firm"],
        ),
        (
            "A: {formats: [oci], boot: {level: kernel}}",
            ["A.boot.level: kernel is never reached: its formats are oci; say one of inside, starts, checks"],
        ),
        (
            "A: {formats: [ramdisk], boot: {level: ssh}}",
            ["ssh is never reached: its formats are ramdisk; say one of inside, firmware, kernel, login"],
        ),
        (
            "A: {formats: [tar], boot: {level: checks}}",
            ["checks is never reached: its formats are tar; say one"],
        ),
        (
            "A: {formats: [ramdisk], boot: {console: none}}",
            ["A.boot.console: none: of a ramdisk the test sees its console alone; name a serial port"],
        ),
    ],
)
def test_a_mistake_in_the_catalogue_has_a_message(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = problems(tmp_path, images=text)
    for part in expected:
        assert part in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "A: {try: [x], try-network: true}",
            ["A.try is not used: it is no container: its formats are qcow2", "A.try-"],
        ),
        ("A: {formats: [oci], boot: {user: me}}", ["A.boot.user is not used: only disks are logged in to, and its fo"]),
        ("A: {formats: [ramdisk], boot: {source: none}}", ["A.boot.source is not used: only disks get metadata, and"]),
        ("A: {formats: [sif], boot: {console: none}}", ["A.boot.console is not used: only disks and ramdisks have a"]),
        ("A: {formats: [oci], boot: {level: starts}, try: [x]}", []),
        ("A: {formats: [oci], boot: {level: starts, user: me}}\nB: {depends: [A], formats: [qcow2, oci]}", []),
        ("A: {boot: {level: starts}}\nB: {depends: [A]}\nC: {depends: [B], formats: [oci]}", []),
        ("A: {formats: [ramdisk], boot: {level: kernel, console: ttyS1}}", []),
        ("A: {formats: [ramdisk], boot: {level: inside, console: none}}", []),
        ("A: {formats: [tar], boot: {level: inside}}", []),
    ],
)
def test_what_no_test_of_an_image_heeds_is_noted(tmp_path: Path, text: str, expected: list[str]) -> None:
    notes = loaded(tmp_path, images=text).notes
    assert len(notes) == len(expected)
    for note, part in zip(notes, expected, strict=True):
        assert f"images.yaml: {part}" in note


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("S: {}", "S: needs either cloud (an entry of clouds.yaml) or directory"),
        ("S: {cloud: a, directory: b}", "needs either"),
        (
            "S: {cloud: a, properties: {hw_firmware_type: efi}}",
            "S.properties.hw_firmware_type: 'efi' is none of bios, uefi",
        ),
        ("S: {cloud: a, visibility: everyone}", "S.visibility: 'everyone' is none of private, shared"),
        ("S: {cloud: a, formats: [raw, qcow2]}", "a cloud takes each image in one format"),
        ("S: {cloud: a, formats: [tar]}", "a cloud takes disks and ramdisks; trees of files go to folders"),
        ("S: {catalogue: a, formats: [ramdisk]}", "a catalogue takes no ramdisks, which are two files of one name"),
        ("S: {cloud: a, ramdisk: aki}", "S.ramdisk: 'aki' is none of raw, aki-ari (did you mean aki-ari?)"),
        ("S: {directory: a, formats: [qcow2, qcow2-zlib]}", "two of them have the same file ending"),
        ("S: {directory: a, keep: -2}", "S.keep: -2 is less than 0"),
        (
            "S: {catalogue: s3://a/b}",
            "S.catalogue: s3://a/b is no address such as swift://CLOUD/CONTAINER, nor a folder",
        ),
        ("S: {catalogue: 'swift://metal'}", "S.catalogue: swift://metal is no address such as swift://CLOUD/CONTAINER"),
        ("S: {directory: s, takes: {use: ''}}", "S.takes.use: needs a value"),
        ("S: {directory: s, contract: workstaton}", "S.contract: 'workstaton' is none of workstation (did you mean"),
        ("S: {catalogue: swift://a/b/c}", "S.catalogue: has a path below the container; scope: c says the same"),
        ("S: {catalogue: swift://a/b, cloud: a}", "S: needs either cloud"),
        ("S: {catalogue: swift://a/b, formats: [raw, qcow2]}", "a catalogue takes each image in one format"),
        ("S: {registry: registry.example.org}", "S.registry: 'registry.example.org' is not HOST/PREFIX"),
        ("S: {registry: 'https://registry.example.org/x'}", "is not HOST/PREFIX"),
        ("S: {registry: 'me:secret@registry.example.org/x'}", "is not HOST/PREFIX"),
        ("S: {registry: registry.example.org/Big}", "is not HOST/PREFIX"),
        ("S: {registry: registry.example.org/x, cloud: a}", "S: needs either cloud"),
        ("S: {registry: registry.example.org/x, formats: [qcow2]}", "S.formats: a registry takes oci and sif"),
        ("S: {registry: h/x}\nT: {registry: h/x}", "T.registry: h/x is also that of S"),
        ("S: {catalogue: swift://a/b, scope: x/y}", "S.scope: 'x/y' is not a folder's name"),
        (
            "S: {catalogue: swift://a/b}\nT: {catalogue: swift://a/b/}",
            "T.catalogue: swift://a/b/images is also",
        ),
        ("S: {cluod: a}", "S.cluod: unknown key; did you mean cloud?"),
    ],
)
def test_a_mistake_in_the_sites_has_a_message(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, sites=text))


def test_a_container_is_no_folder_and_has_objects(tmp_path: Path) -> None:
    artifact = "A: {elements: [x], artifacts: {X: {site: S, object: c/x}}}"
    sites = "S: {catalogue: swift://a/b/}\nT: {catalogue: swift://a/b, scope: c}"
    config = loaded(tmp_path, images=artifact, sites=sites)
    assert [site.catalogue for site in config.sites] == ["swift://a/b", "swift://a/b"]
    assert [site.folder for site in config.sites] == ["", ""]


def test_a_site_that_takes_no_image_is_noted(tmp_path: Path) -> None:
    sites = "S: {directory: d, takes: {use: bach}}\nT: {directory: e, takes: {use: batch}}"
    write_files(tmp_path, images="A: {properties: {use: batch}}", sites=sites)
    notes = load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": ""}, tmp_path).notes
    assert [note for note in notes if "sites.yaml" in note] == ["sites.yaml: S.takes: no image has use: bach"]


def test_what_a_folder_does_not_have_is_noted(tmp_path: Path) -> None:
    write_files(tmp_path, images="A: {}", sites="S: {directory: d, visibility: public, stores: [a], owners: [p]}")
    notes = load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": ""}, tmp_path).notes
    assert [note for note in notes if "sites.yaml" in note] == [
        "sites.yaml: S.visibility is not used: only clouds have it",
        "sites.yaml: S.stores is not used: only clouds have it",
        "sites.yaml: S.owners is not used: only clouds have it",
    ]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path, images="A: {arch: mips}\nB: {depends: X}", sites="S: {}", third_party="T: {branch: x}\nU: {rep: y}"
    )
    assert len(found) == 6
    assert {line.split(":")[0] for line in found} == {"images.yaml", "sites.yaml", "third-party.yaml"}


def test_empty_files_are_empty(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert (config.images, config.sites, config.sources) == ({}, (), ())


def test_a_file_that_is_not_there_has_a_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        load({"CC_IMAGES_CONFIG": "gone.yaml"}, tmp_path)


def test_environment_wins_over_the_folder_and_the_folder_over_the_package(tmp_path: Path) -> None:
    assert load({}, tmp_path).files["images.yaml"] == packaged("images.yaml")
    write_files(tmp_path, images="A: {}")
    assert list(load({}, tmp_path).images) == ["a"]
    (tmp_path / "other.yaml").write_text("B: {}")
    assert list(load({"CC_IMAGES_CONFIG": "other.yaml"}, tmp_path).images) == ["b"]


def test_variables_of_the_environment(tmp_path: Path) -> None:
    environ = {
        "HOME": "/h",
        "DIB_RELEASE": "x",
        "DIB_IMAGE_CACHE": "/shared",
        "ARCH": "arm64",
        "http_proxy": "p",
        "A": "",
    }
    config = load(environ, tmp_path)
    assert config.environment == {"DIB_RELEASE": "x"}, "what the sandbox decides is not handed down"
    assert config.network == {"http_proxy": "p"}
    assert config.arches == (Arch.ARM64,)
    assert config.store == Path("/h/.cache/cc-images")
    assert load({"CC_IMAGES_STORE": "/s"}, tmp_path).store == Path("/s")
    with pytest.raises(ConfigError, match="environment: ARCH: 'mips'"):
        load({"ARCH": "mips"}, tmp_path)


def test_a_folder_site_may_be_relative_or_in_the_home(tmp_path: Path) -> None:
    config = loaded(tmp_path, sites="a: {directory: ~/x}\nb: {directory: y}\nc: {directory: /z}")
    assert [site.directory for site in config.sites] == [f"{tmp_path}/x", f"{tmp_path}/y", "/z"]


@pytest.mark.parametrize(
    ("entry", "firmware"),
    [
        ("{}", ["bios", "uefi"]),
        ("{disk: [vm]}", ["bios"]),
        ("{disk: [vm], properties: {hw_firmware_type: uefi}}", ["bios", "uefi"]),
        ("{firmware: [uefi]}", ["uefi"]),
        ("{firmware: [bios], properties: {hw_firmware_type: uefi}}", ["bios", "uefi"]),
    ],
)
def test_an_image_is_tested_with_what_its_disk_and_its_properties_claim(
    tmp_path: Path, entry: str, firmware: list[str]
) -> None:
    write_files(tmp_path, images=f"A: {entry}", sites="")
    assert [str(each) for each in load({}, tmp_path).images["a"].firmware] == firmware


def test_checks_keep_what_the_user_wrote_and_come_from_parents(tmp_path: Path) -> None:
    text = """
A: {checks: {files: {/a: 0644, /b: }, units: [x.service], ports: [22]}}
B: {depends: [A], checks: {files: {/a: 0600, /c: {owner: root}}, units: {x.service: no, y.service: yes}}}
"""
    write_files(tmp_path, images=text, sites="")
    config = load({}, tmp_path)
    images = config.images
    assert images["a"].checks == {
        "files": {"/a": {"mode": "0644"}, "/b": {}},
        "units": {"x.service": {}},
        "ports": {"22/tcp": {}},
    }
    assert own_checks(config.lineage(images["b"])) == {
        "files": {"/a": {"mode": "0600"}, "/b": {}, "/c": {"owner": "root"}},
        "units": {"y.service": {}},
        "ports": {"22/tcp": {}},
    }


def test_proxies_with_a_password_are_searched_for(tmp_path: Path) -> None:
    write_files(tmp_path, images="A: {environment: {DIB_X_TOKEN: abcdefgh}}", sites="")
    assert load({"http_proxy": "http://u:geheim-1@p/"}, tmp_path).secrets("a") == ("abcdefgh", "geheim-1")
