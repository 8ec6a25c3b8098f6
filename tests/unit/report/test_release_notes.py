"""Release notes: what a user of the image reads."""

from __future__ import annotations

from cc_images.boottest.contents import contents
from cc_images.model.catalog import Json
from cc_images.report.release_notes import Edition, compare, markdown, text

FACTS: Json = {
    "os": {"PRETTY_NAME": "Debian 12", "VERSION_ID": "12"}, "kernels": ["6.1.0-1-amd64"], "cmdline": "ro", "users": [],
    "units": ["cron.service"], "setuid": [], "sizes": {"/usr/lib": 100 << 20}, "packages": {"vim": "1", "nano": "1"},
    "manifest": None, "host_keys": [],
}  # fmt: skip
LATER: Json = FACTS | {
    "kernels": ["6.1.0-2-amd64"], "units": ["cron.service", "new.service"], "packages": {"vim": "2", "joe": "1"},
    "users": [{"name": "ops", "uid": "1001", "shell": "/bin/sh", "password": "locked"}],
    "setuid": [{"path": "/usr/bin/new", "mode": "4755", "owner": "0:0", "capable": ""}],
    "sizes": {"/usr/lib": 110 << 20},
}  # fmt: skip


def edition(version: str, facts: Json) -> Edition:
    return Edition(name="CC-X", arch="amd64", version=version, size=300 << 20, contents=facts)


def test_what_a_record_keeps_is_enough_for_the_notes() -> None:
    kept = [edition(version, contents(facts)) for version, facts in (("v1", FACTS), ("v2", LATER))]
    whole = [edition(version, facts) for version, facts in (("v1", FACTS), ("v2", LATER))]
    assert compare(*kept).differences == compare(*whole).differences


def test_notes_as_text() -> None:
    assert text(compare(edition("v1", FACTS), edition("v2", LATER))).splitlines() == [
        "CC-X amd64: v1 → v2",
        "  file       300.0 MiB",
        "  kernel     6.1.0-1-amd64 → 6.1.0-2-amd64",
        "  packages   2",
        "  compared   system, packages, accounts, enabled units, files with special rights, sizes of folders",
        "Packages added: 1",
        "  joe 1",
        "Packages removed: 1",
        "  nano 1",
        "Packages changed: 1",
        "  vim 1 → 2",
        "Accounts: 1",
        "  +ops 1001 /bin/sh locked",
        "Units that are enabled: 1",
        "  +new.service",
        "Files with special rights: 1",
        "  +/usr/bin/new 4755",
        "Size by folder: 1",
        "  /usr/lib +10 MiB",
    ]


def test_notes_as_markdown() -> None:
    said = markdown(compare(edition("v1", FACTS), edition("v2", LATER)))
    assert said.startswith("# CC-X v2 (amd64)\n\nChanges since version v1.\n\n- **file**: 300.0 MiB\n")
    assert "## Packages changed (1)\n\n- `vim 1 → 2`\n" in said
    assert "Nothing of what is compared differs" in markdown(compare(edition("v1", FACTS), edition("v2", FACTS)))


def test_notes_of_a_version_that_nobody_looked_into_say_so() -> None:
    said = text(compare(edition("v1", {"packages": {"vim": "1"}}), edition("v2", LATER)))
    assert "compared   packages only: one of the versions was never looked into" in said
    assert "Units" not in said


def test_files_that_no_package_owns_are_compared_where_both_versions_say_them() -> None:
    old, new = FACTS | {"files": {"/etc/a": "1", "/opt/b": "1"}}, FACTS | {"files": {"/etc/a": "2", "/opt/c": "1"}}
    said = text(compare(edition("v1", contents(old)), edition("v2", contents(new))))
    assert "Files of /etc, /opt and /usr/local: 3\n  +/opt/c\n  -/opt/b\n  /etc/a changed" in said
    assert "files of /etc, /opt and /usr/local that are no package's" in said
    assert "/etc" not in text(compare(edition("v1", contents(FACTS)), edition("v2", contents(new))))
