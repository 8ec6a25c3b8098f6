"""Contracts: each rule by what is known of a container, and sections of a README as labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cc_images.model.contracts import (
    CONTRACTS,
    FOLDERS,
    Account,
    Passwords,
    Subject,
    advice,
    broken,
    judged,
    readme_labels,
)

OWN: dict[str, tuple[int, int] | None] = dict.fromkeys(FOLDERS, (1000, 1000))
GOOD = Subject(
    user="user",
    folder="/home/user",
    entrypoint=("/entry",),
    labels={"name": "x", "version": "1", "description": "a", "usage": "b", "license": "MIT"},
    script='#!/bin/sh\nexec "$@"\n',
    account=Account(uid=1000, gid=1000, home="/home/user"),
    folders=OWN,
    mounted=OWN,
    passwords={},
    stops="",
)
USER = "the user's password"
VNC = "the VNC password in /home/user/.vnc/passwd"


def said(what: str = USER, **wrong: bool) -> Subject:
    return replace(GOOD, passwords={USER: Passwords(), what: Passwords(**wrong)})


ACCOUNT = Account(uid=1000, gid=1000, home="/home/user")
LABELS = dict(GOOD.labels or {})


def without(*names: str) -> dict[str, str]:
    return {name: text for name, text in LABELS.items() if name not in names}


def test_what_keeps_all_rules_is_good() -> None:
    assert broken(["workstation"], GOOD) == {"workstation": []}


def test_nothing_is_known_of_what_nothing_is_known_of() -> None:
    assert set(judged("workstation", Subject()).values()) == {None}
    assert broken(["workstation"], Subject()) == {"workstation": []}


VIOLATIONS = {
    "user": (replace(GOOD, user=""), "USER is not set"),
    "uid": (replace(GOOD, account=replace(ACCOUNT, uid=0)), "uid 0, not 1000"),
    "gid": (replace(GOOD, account=replace(ACCOUNT, gid=100)), "gid 100, not 1000"),
    "sudo": (replace(GOOD, account=replace(ACCOUNT, sudo=("the group sudo",))), "become root by the group sudo"),
    "home": (replace(GOOD, folder="/work"), "working folder is /work, not its home /home/user"),
    "folders": (replace(GOOD, folders={**OWN, "datasets": None}), "datasets is not there"),
    "name": (replace(GOOD, labels=without("name")), "no label name"),
    "version": (replace(GOOD, labels=LABELS | {"version": " "}), "no label version"),
    "authorization": (replace(GOOD, labels=without("license")), "no label `authorization`"),
    "readme": (replace(GOOD, labels=without("usage")), "section Usage (usage)"),
    "password": (replace(GOOD, passwords={USER: Passwords(is_name=True)}), "is still the user's name"),
    "words": (replace(GOOD, entrypoint=()), "no ENTRYPOINT"),
    "stops": (replace(GOOD, stops="it does not handle SIGTERM, and was killed"), "does not handle SIGTERM"),
}


@pytest.mark.parametrize("rule", VIOLATIONS)
def test_each_violation_has_the_name_of_its_rule(rule: str) -> None:
    image, words = VIOLATIONS[rule]
    found = judged("workstation", image)
    assert words in (found[rule] or "")
    if rule != "uid":  # folders of another uid are not its own either
        assert {name for name, wrong in found.items() if wrong} - {"readme"} == {rule} - {"readme"}


def test_every_rule_has_a_violation_here() -> None:
    assert VIOLATIONS.keys() == CONTRACTS["workstation"].keys()


@pytest.mark.parametrize(
    ("image", "rule", "words"),
    [
        (replace(GOOD, user="0:0"), "user", "root"),
        (
            replace(GOOD, mounted={**OWN, "datasets": (0, 0)}),
            "folders",
            "datasets is of uid 0, not its own once its vol",
        ),
        (said(built_in=True), "password", "after its start the user's password is still that of a layer"),
        (said(same=True), "password", "the user's password is the same after two starts"),
        (said(printed=True), "password", "it prints the user's password"),
        (said(VNC, built_in=True), "password", f"after its start {VNC} is still that of a layer"),
        (said("the VNC server on port 5900", missing=True), "password", "the VNC server on port 5900 asks for no pass"),
        (said(VNC, is_name=True), "password", f"after its start {VNC} is still the user's name"),
        (replace(GOOD, entrypoint=("/bin/sh", "-c", "serve")), "words", "one command of a shell"),
        (replace(GOOD, script="#!/bin/sh\nexec serve $*\n"), "words", "breaks words with spaces"),
        (replace(GOOD, script='#!/bin/sh\nexec serve # "$@"\n'), "words", "never looks at its words"),
    ],
)
def test_other_violations(image: Subject, rule: str, words: str) -> None:
    assert words in (judged("workstation", image)[rule] or "")


@pytest.mark.parametrize("script", ['exec serve "$@"', 'exec serve "${@}"', 'case "$1" in', "x=${1:-y}", ""])
def test_scripts_that_heed_their_words(script: str) -> None:
    assert judged("workstation", replace(GOOD, script=script))["words"] == ""


def test_an_authorization_stands_for_a_licence() -> None:
    labels = without("license") | {"authorization": "by letter"}
    assert judged("workstation", replace(GOOD, labels=labels))["authorization"] == ""
    assert "License (license)" in (judged("workstation", replace(GOOD, labels=labels))["readme"] or "")


def test_a_sif_file_runs_as_whoever_starts_it() -> None:
    image = Subject(sif=True, user="", folder="/", entrypoint=("/bin/sh",), labels=LABELS, account=ACCOUNT, folders=OWN)
    assert broken(["workstation"], image) == {"workstation": []}


def test_sections_of_a_readme_become_labels() -> None:
    text = (
        "# X\nintro\n## description ##\n\nwhat\nit is\n### more\nx\n# Usage\nrun it\n## Licence\nMIT\n## License\nGPL\n"
    )
    assert readme_labels(text) == {"description": "what\nit is", "usage": "run it", "license": "MIT"}
    assert readme_labels("Description: none\n## Usage\n\n") == {}


def test_advice_begins_at_a_mebibyte() -> None:
    assert advice([{}, {"pip cache": 5 << 20, "apt lists": 1000}]) == ["layer 2 has 5 MiB of pip cache"]
