"""Unit tests of reading OCI images with several layers, and of layers that other programs have made."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from cc_images.clock import EPOCH
from cc_images.errors import CCImagesError
from cc_images.host.containers import image as oci
from cc_images.host.containers.archive import flatten, read
from cc_images.host.containers.layer import MOST_PARTS, write_normal, write_parts
from cc_images.host.containers.members import members
from cc_images.model.catalog import Arch
from cc_images.model.container import Configuration

NEVER = threading.Event()
LONG = "opt/" + "ä" * 120
"""A name that needs a header of its own."""


def tar(path: Path, entries: Iterable[tuple[str, str | None] | tarfile.TarInfo]) -> Path:
    """Write a tar of files (name, text), folders (name/, None) and whole members."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as made:
        for each in entries:
            if isinstance(each, tarfile.TarInfo):
                made.addfile(each)
                continue
            name, text = each
            member = tarfile.TarInfo(name.rstrip("/"))
            member.mode = 0o755
            if text is None:
                member.type = tarfile.DIRTYPE
                made.addfile(member)
            else:
                member.size = len(text)
                made.addfile(member, io.BytesIO(text.encode()))
    return path


def link(name: str, origin: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.LNKTYPE, origin
    return member


def image(path: Path, *layers: Iterable[tuple[str, str | None] | tarfile.TarInfo], **said: object) -> Path:
    """Write an image of these layers."""
    files = [tar(path.with_suffix(f".{number}"), each) for number, each in enumerate(layers)]
    blobs = [oci.packed(each, each.with_suffix(f"{each.suffix}.gz"), NEVER) for each in files]
    oci.write_image(path, blobs, oci.config_of(Configuration(**said), Arch.AMD64), {}, NEVER)  # type: ignore[arg-type]
    return path


def tree(path: Path) -> dict[str, str | None]:
    """Return the tree of an image: contents of files by name, None for folders, `→ name` for links."""
    flat = path.with_suffix(".flat")
    flatten(path, flat, NEVER)
    return {
        name: content.read().decode() if content else f"→ {member.linkname}" if member.islnk() else None
        for name, member, content in members(flat, NEVER)
    }


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ([[("a/", None), ("a/x", "1")], [("a/x", "2"), ("b", "3")]], {"a": None, "a/x": "2", "b": "3"}),
        ([[("a/", None), ("a/x", "1"), ("c", "1")], [("a/.wh.x", ""), (".wh.c", "")]], {"a": None}),
        ([[("a/", None), ("a/x", "1")], [(".wh.a", "")], [("a/", None), ("a/y", "2")]], {"a": None, "a/y": "2"}),
        ([[("a/", None), ("a/x", "1")], [("a/", None), ("a/.wh..wh..opq", ""), ("a/z", "2")]], {"a": None, "a/z": "2"}),
        ([[("a/", None), ("a/x", "1")], [("a", "a file now")]], {"a": "a file now"}),
        ([[("a", "1")], [("a/", None), ("a/x", "2")]], {"a": None, "a/x": "2"}),
        ([[("f", "1"), link("g", "f")], [("f", "2")]], {"g": "1", "f": "2"}),
        ([[("f", "1"), link("g", "f"), link("h", "f")], [(".wh.f", "")]], {"g": "1", "h": "→ g"}),
        ([[("f", "1")], [("x.wh.y", "2")]], {"f": "1", "x.wh.y": "2"}),
        ([[("ab/", None), ("ab/x", "1")], [(".wh.a", "")]], {"ab": None, "ab/x": "1"}),
        ([[(LONG, "1"), link("b", LONG), link("c", LONG)], [(LONG, "2")]], {"b": "1", "c": "→ b", LONG: "2"}),
        (
            [[("d/", None), ("d/x", "old")], [("d", "a file")], [("d/", None), ("d/y", "new")]],
            {"d": None, "d/y": "new"},
        ),
    ],
)
def test_the_upmost_layer_has_the_last_word(tmp_path: Path, layers: list[list[object]], wanted: object) -> None:
    assert tree(image(tmp_path / "x.tar", *layers)) == wanted  # type: ignore[arg-type]


def test_an_image_says_how_it_is_run(tmp_path: Path) -> None:
    found = read(image(tmp_path / "x.tar", [("a", "1")], user="1000", entrypoint=("/a", "b c"), ports=("80/tcp",)))
    assert found.configuration.user == "1000"
    assert found.configuration.entrypoint == ("/a", "b c")
    assert found.configuration.ports == ("80/tcp",)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", [("index.json", "{}")])
    with pytest.raises(CCImagesError, match=r"x\.tar is no OCI image"):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "said",
    ['["a"]', '{"Env": [5]}', '{"Env": "A=b"}', '{"Labels": []}', '{"Entrypoint": "sh"}', '{"User": 0}', "[" * 50_000],
)
def test_an_image_that_says_nonsense_of_itself_is_none(tmp_path: Path, said: str) -> None:
    """Images of registries are others' files."""
    config = f'{{"config": {said}, "rootfs": {{"diff_ids": []}}}}'
    manifest = json.dumps({"config": {"digest": "sha256:c"}, "layers": []})
    index = json.dumps({"manifests": [{"digest": "sha256:m"}]})
    tar(tmp_path / "x.tar", [("index.json", index), ("blobs/sha256/m", manifest), ("blobs/sha256/c", config)])
    with pytest.raises(CCImagesError, match=r"x\.tar is no OCI image"):
        read(tmp_path / "x.tar")


def test_layers_of_other_programs_become_the_same_bytes(tmp_path: Path) -> None:
    """In whatever order they list files, whichever of two names has the content, and whenever they were made."""
    new = tarfile.TarInfo("d")
    new.type, new.mtime, new.mode, new.uname, new.devmajor = tarfile.DIRTYPE, EPOCH + 9, 0o755, "root", 3
    node = tarfile.TarInfo("null")
    node.type = tarfile.CHRTYPE
    again = tarfile.TarInfo("d")
    again.type, again.mtime, again.mode = tarfile.DIRTYPE, EPOCH, 0o755
    one = tar(tmp_path / "1", [new, ("b", "text"), link("a", "b"), node, ("d/z", ""), (".wh.q", "")])
    other = tar(tmp_path / "2", [(".wh.q", ""), ("a", "text"), link("b", "a"), ("d/z", ""), ("left", "out"), again])
    digests = {write_normal(each, tmp_path / "to", NEVER, {"left"}) for each in (one, other)}
    assert len(digests) == 1
    with tarfile.open(tmp_path / "to") as made:
        assert [(each.name, each.linkname) for each in made] == [
            (".wh.q", ""),
            ("a", ""),
            ("b", "a"),
            ("d", ""),
            ("d/z", ""),
        ]


def test_folders_that_match_a_pattern_are_layers_of_their_own(tmp_path: Path) -> None:
    """The same folder is the same layer, whatever else there is, and all parts together are the whole."""
    shared: list[tuple[str, str | None] | tarfile.TarInfo] = [
        ("opt/lib/a-1/", None),
        ("opt/lib/a-1/x", "1"),
        link("opt/lib/a-1/y", "opt/lib/a-1/x"),
    ]
    one = tar(tmp_path / "1", [("opt/", None), *shared, ("opt/lib/b-2/", None), link("opt/lib/b-2/z", "opt/lib/a-1/x")])
    other = tar(tmp_path / "2", [*shared, ("opt/lib/README", "text"), ("etc/", None)])
    found: dict[Path, list[dict[str, str]]] = {one: [], other: []}
    digests: dict[Path, list[str]] = {one: [], other: []}
    for file, parts in found.items():
        for _ in write_parts(file, tmp_path / "to", NEVER, apart="opt/lib/*-*"):
            with tarfile.open(tmp_path / "to") as made:
                parts.append({each.name: each.linkname for each in made})
            digests[file].append(sha256((tmp_path / "to").read_bytes()).hexdigest())
    a = {"opt/lib/a-1": "", "opt/lib/a-1/x": "", "opt/lib/a-1/y": "opt/lib/a-1/x"}
    assert found == {
        one: [{"opt": ""}, a, {"opt/lib/b-2": "", "opt/lib/b-2/z": ""}],
        other: [{"etc": "", "opt/lib/README": ""}, a],
    }
    assert digests[one][1] == digests[other][1]
    assert [*write_parts(tar(tmp_path / "3", []), tmp_path / "to", NEVER)] == []
    for _ in write_parts(one, tmp_path / "to", NEVER):
        assert write_normal(one, tmp_path / "whole", NEVER) == sha256((tmp_path / "to").read_bytes()).hexdigest()


def test_there_are_not_more_layers_than_engines_take(tmp_path: Path) -> None:
    files: list[tuple[str, str | None] | tarfile.TarInfo] = []
    for number in range(MOST_PARTS + 20):
        files += [(f"opt/{number:03}/", None), (f"opt/{number:03}/x", "x" * (number + 1))]
    parts: list[list[str]] = []
    for _ in write_parts(tar(tmp_path / "1", [("etc/", None), *files]), tmp_path / "to", NEVER, apart="opt/*"):
        with tarfile.open(tmp_path / "to") as made:
            parts.append(made.getnames())
    assert len(parts) == MOST_PARTS + 1
    assert parts[0] == ["etc", *(name for number in range(20) for name in (f"opt/{number:03}", f"opt/{number:03}/x"))]
    assert parts[1] == ["opt/020", "opt/020/x"]
    for most in (0, 5):
        numbers = write_parts(tmp_path / "1", tmp_path / "to", NEVER, apart="opt/*", most=most)
        assert len([*numbers]) == most + 1, "a base with many layers leaves fewer"
