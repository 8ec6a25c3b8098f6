"""Elements on disk: dib's own closure without dib, and fingerprints that see content, mode and links only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.config.loader import packaged
from cc_images.errors import UserError

FOLDERS = (packaged("elements"), own_elements())


def element(folder: Path, name: str, **files: str) -> Path:
    for file, text in files.items():
        path = folder / name / file.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / name


@pytest.mark.parametrize(
    "wanted",
    [
        ("cc-debian12", "vm", "block-device-efi"),
        ("cc-ubuntu24.04", "vm", "block-device-efi"),
        ("debian-minimal", "vm", "block-device-mbr", "cloud-init", "devuser"),
        ("ubuntu-minimal", "openssh-server", "growroot"),
        ("centos-minimal", "vm", "block-device-gpt", "base"),
    ],
)
def test_the_closure_is_the_one_that_dib_itself_finds(wanted: tuple[str, ...]) -> None:
    program = (
        "import sys; from diskimage_builder.element_dependencies import get_elements;"
        "print(*sorted(name for name, _ in get_elements(sys.argv[1:])))"
    )
    path = ":".join(map(str, FOLDERS))
    said = subprocess.run(
        [sys.executable, "-c", program, *wanted],
        env={**os.environ, "ELEMENTS_PATH": path, "PYTHONHASHSEED": "0"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Elements(FOLDERS).closure(wanted) == tuple(said.split())


def test_a_missing_element_names_who_wants_it_and_what_is_near(tmp_path: Path) -> None:
    element(tmp_path, "cc-thing", element_deps="debian-minmal\n")
    with pytest.raises(UserError, match=r"debian-minmal .* \(element cc-thing depends on it\)") as caught:
        Elements((tmp_path, own_elements())).closure(["cc-thing"])
    assert caught.value.hint.startswith("did you mean debian-minimal? Or make it")


def test_an_operating_system_that_parent_and_child_name_is_one(tmp_path: Path) -> None:
    element(tmp_path, "tiny", element_provides="operating-system\n")
    element(tmp_path, "more")
    assert Elements((tmp_path,)).closure(["tiny", "more", "tiny"]) == ("more", "tiny")


def test_without_an_operating_system_nothing_can_be_built() -> None:
    with pytest.raises(UserError, match="sysprep is an operating system"):
        Elements(FOLDERS).closure(["sysprep"])


def test_the_first_folder_wins(tmp_path: Path) -> None:
    element(tmp_path / "a", "x", element_deps="ours\n")
    element(tmp_path / "b", "x", element_deps="theirs\n")
    assert "element-deps" in Elements((tmp_path / "a", tmp_path / "b")).files("x")
    first = Elements((tmp_path / "a", tmp_path / "b")).files("x")
    assert first != Elements((tmp_path / "b", tmp_path / "a")).files("x")


def test_files_see_content_mode_and_links_but_not_times(tmp_path: Path) -> None:
    folder = element(tmp_path, "x", install_d__hook="echo 1\n", __pycache____m_pyc="x")
    hook = folder / "install-d" / "hook"
    (folder / "link").symlink_to("install-d/hook")

    def seen() -> dict[str, str]:
        return dict(Elements((tmp_path,)).files("x"))

    before = seen()
    assert set(before) == {"install-d/hook", "link", "link ->"}
    os.utime(hook, (1, 1))
    assert seen() == before
    hook.chmod(0o755)
    assert seen()["install-d/hook"] != before["install-d/hook"]
    hook.chmod(0o644)
    hook.write_text("echo 2\n")
    assert seen().keys() == before.keys()
    changed = {name for name in before if seen()[name] != before[name]}
    assert changed == {"install-d/hook", "link"}, "a link counts with what is behind it"


def test_links_to_folders_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "10-hook").write_text("one")
    folder = element(tmp_path / "elements", "x")
    (folder / "install.d").symlink_to(shared)
    (folder / "self").symlink_to(folder)
    files = Elements((tmp_path / "elements",)).files("x")
    assert "install.d/10-hook" in files
    (shared / "10-hook").write_text("two")
    assert Elements((tmp_path / "elements",)).files("x") != files


def test_of_modes_only_the_right_to_execute_counts(tmp_path: Path) -> None:
    static = element(tmp_path, "x", static__etc__key="k") / "static" / "etc" / "key"
    static.chmod(0o644)
    before = Elements((tmp_path,)).files("x")
    static.chmod(0o600)
    assert Elements((tmp_path,)).files("x") == before, "builds see 0644"
    static.chmod(0o700)
    assert Elements((tmp_path,)).files("x") != before


def test_where_a_build_will_fetch_from_is_read_from_the_elements() -> None:
    elements = Elements(FOLDERS)
    names = elements.closure(["cc-ubuntu22.04"])
    found = {arch: elements.default(names, "DIB_DISTRIBUTION_MIRROR", {}, arch) for arch in ("amd64", "arm64")}
    assert all(mirror.startswith("http") for mirror in found.values())
    assert found["amd64"] != found["arm64"]
    assert elements.default(names, "DIB_DISTRIBUTION_MIRROR", {"DIB_DISTRIBUTION_MIRROR": "x"}, "amd64") == "x"
    assert elements.default(names, "DIB_NOWHERE", {}, "amd64") == ""


def test_the_shell_that_reads_them_can_neither_write_nor_start_anything(tmp_path: Path) -> None:
    text = f"""
echo here > {tmp_path}/written
/bin/touch {tmp_path}/touched
PATH=/bin touch {tmp_path}/again
kill -9 $$
export DIB_MIRROR=${{DIB_MIRROR:-http://mirror.invalid}}
"""
    (element(tmp_path, "x") / "environment.d").mkdir()
    (tmp_path / "x" / "environment.d" / "10-x.bash").write_text(text)
    assert Elements((tmp_path,)).default(["x"], "DIB_MIRROR", {}, "amd64") == "http://mirror.invalid"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_an_element_stands_after_those_that_it_depends_on() -> None:
    ordered = Elements(FOLDERS).in_order(["cc-debian12", "vm", "block-device-efi"])
    assert sorted(ordered) == list(Elements(FOLDERS).closure(["cc-debian12", "vm", "block-device-efi"]))
    assert ordered.index("cc-ssh") < ordered.index("cc-common") < ordered.index("cc-debian")


def test_what_an_element_needs_is_in_order_though_another_stands_for_it(tmp_path: Path) -> None:
    element(tmp_path, "a", element_deps="x\nz\n")
    element(tmp_path, "x", element_deps="y\n")
    element(tmp_path, "y")
    element(tmp_path, "z", element_provides="x\noperating-system\n")
    elements = Elements((tmp_path,))
    assert sorted(elements.in_order(["a"])) == list(elements.closure(["a"]))


def test_what_a_settings_file_leaves_in_the_background_ends(tmp_path: Path) -> None:
    (element(tmp_path, "x") / "environment.d").mkdir()
    (tmp_path / "x" / "environment.d" / "10-x.bash").write_text(
        "( while :; do :; done ) > /dev/null &\nexport DIB_M=m\n"
    )
    mark = f"CC_MARK={tmp_path}"
    Elements((tmp_path,)).default(["x"], "DIB_M", {"CC_MARK": str(tmp_path)}, "amd64")
    time.sleep(0.1)
    left = [path for path in Path("/proc").glob("[0-9]*/environ") if mark.encode() in _read(path)]
    assert not left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
