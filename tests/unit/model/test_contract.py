"""The contract between an image and its boot test: said, read from the image, or missing."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.boottest.guest import SEEDS
from cc_images.boottest.inside import system
from cc_images.boottest.policy import boot_test_key
from cc_images.config.loader import load
from cc_images.errors import ConfigError
from cc_images.model.catalog import USUAL, Arch, Contract, Json, Level, Source
from cc_images.model.contract import port, settled
from tests.conftest import write_files

CONFIG_DRIVE: Json = {"cloud": {"user": "debian", "sources": ["ConfigDrive", "OpenStack"]}, "cmdline": "ro"}


def test_an_image_that_says_nothing_is_met_as_ever() -> None:
    found = Contract(user="cc", console="", source=Source.NOCLOUD, level=Level.CHECKS)
    assert settled(USUAL, {}) == (found, [])
    assert port(found) == 0


def test_what_the_image_shows_is_used_and_what_the_catalogue_says_wins() -> None:
    facts = CONFIG_DRIVE | {"cmdline": "root=LABEL=x console=tty0 console=ttyS1,115200 ro"}
    found, problems = settled(USUAL, facts)
    assert problems == []
    assert (found.user, found.console, found.source, port(found)) == ("debian", "ttyS1", Source.CONFIG_DRIVE, 1)
    said = Contract(user="ops", console="ttyS0", source=Source.NOCLOUD, level=Level.SSH)
    assert settled(said, facts) == (said, [])


def test_sources_that_the_test_lacks_are_said_before_any_boot() -> None:
    facts = {"cloud": {"user": "", "sources": ["OpenStack", "Ec2"]}}
    assert "its cloud-init takes only OpenStack, Ec2" in settled(USUAL, facts)[1][0]
    found, problems = settled(Contract(source=Source.NONE), facts)
    assert (found.level, problems) == (Level.LOGIN, [])


def test_a_seed_is_what_its_source_reads(tmp_path: Path) -> None:
    assert SEEDS[Source.CONFIG_DRIVE](tmp_path, "host", "ssh-ed25519 A") == "config-2"
    told = json.loads((tmp_path / "openstack/latest/meta_data.json").read_text())
    assert (told["hostname"], told["public_keys"]) == ("host", {"boot-test": "ssh-ed25519 A"})
    assert SEEDS[Source.NOCLOUD](tmp_path, "host", "ssh-ed25519 A") == "cidata"
    assert SEEDS[Source.NONE](tmp_path, "host", "ssh-ed25519 A") == ""


def test_the_catalogue_says_it_and_children_have_it(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        images="X: {boot: {user: debian, console: ttyS1}}\nY: {depends: [X], boot: {console: none}}\nZ: {}\n",
        sites="local: {directory: d}",
    )
    found = load({"HOME": str(tmp_path)}, tmp_path).images
    assert found["y"].boot == Contract(user="debian", console="none")
    tested = {tag: boot_test_key(image, Arch.AMD64) for tag, image in found.items()}
    assert len(set(tested.values())) == 3, "a pass of one contract is none of another"
    assert tested["z"] == boot_test_key(replace(found["z"], boot=USUAL), Arch.AMD64)


def test_what_a_parent_and_a_child_say_together_must_hold(tmp_path: Path) -> None:
    images = "X: {boot: {level: checks}}\nY: {depends: [X], boot: {source: none}}\n"
    write_files(tmp_path, images=images, sites="local: {directory: d}")
    with pytest.raises(ConfigError, match=r"Y\.boot: level checks needs a login"):
        load({"HOME": str(tmp_path)}, tmp_path)


def test_a_name_that_is_none_is_not_what_ssh_is_told() -> None:
    for odd in ("-oProxyCommand=touch /x;#", "x; curl evil", "A", "x" * 60):
        assert settled(USUAL, {"cloud": {"user": odd, "sources": []}})[0].user == "cc"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("user: Big Boss", "boot.user: 'Big Boss' is not a user's name"),
        ("console: com1", "boot.console: 'com1' is not ttyS0 to ttyS3"),
        ("source: Ec2", "boot.source: 'Ec2' is none of NoCloud, ConfigDrive, none"),
        ("level: fine", "boot.level: 'fine' is none of"),
        ("source: none, level: ssh", "X.boot: level ssh needs a login"),
        ("source: none, console: none", "X.boot: without a console and without a key"),
        ("consol: ttyS0", "boot.consol: unknown key; did you mean console?"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, said: str, words: str) -> None:
    write_files(tmp_path, images=f"X: {{boot: {{{said}}}}}\n", sites="local: {directory: d}")
    with pytest.raises(ConfigError) as caught:
        load({"HOME": str(tmp_path)}, tmp_path)
    assert words in str(caught.value)


FORMS = {
    "inline": ("datasource_list: [ ConfigDrive, OpenStack, None ]  # x\n", "", ["ConfigDrive", "OpenStack"]),
    "listed": ("# datasource_list: [X]\ndatasource_list:\n  - NoCloud\n  - 'Ec2'\nother: 1\n", "", ["NoCloud", "Ec2"]),
    "commented": ("datasource_list:\n  - NoCloud  # seed\n", "", ["NoCloud"]),
    "two lines": ("datasource_list: [ OpenStack,\n  NoCloud ]\nx: y\n", "", ["OpenStack", "NoCloud"]),
    "user in a row": ("system_info:\n  default_user: {gecos: x, name: debian}\n", "debian", []),
    "user": ("system_info:\n  default_user:\n    # whom\n    gecos: x\n    name: 'debian'\n", "debian", []),
    "no user": ("system_info:\n  default_user:\n    gecos: x\n  paths:\n    name: y\nname: z\n", "", []),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_cloud_inits_settings_are_read(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, user, sources = FORMS[form]
    files = {
        "/etc/cloud/cloud.cfg": "datasource_list: [Azure]\n" if sources else "",
        "/etc/cloud/cloud.cfg.d/9.cfg": text,
    }
    monkeypatch.setattr(system, "names", lambda *patterns: ["etc/cloud/cloud.cfg.d/9.cfg"])
    monkeypatch.setattr(system, "text", lambda path: files[path])
    assert system.cloud_init() == {"user": user, "sources": sources}


@pytest.mark.parametrize("line", ["\n", "datasource_list: [\n", " default_user: {\n", " default_user:\n", "\n- -"])
def test_settings_that_never_end_are_read_once(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "names", lambda *patterns: [])
    took = []
    for count in (2_000, 32_000):
        monkeypatch.setattr(system, "text", lambda path, count=count: "datasource_list:\n" + line * count)
        began = time.process_time()
        system.cloud_init()
        took.append(time.process_time() - began)
    assert took[1] < 100 * max(took[0], 0.001), "sixteen times as much takes 16 times as long, not 256 times"
