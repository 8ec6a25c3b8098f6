"""Native twins: the list of programs, how they are moved, what the interpreter starts, and what is planned for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cc_images.api import doctor
from cc_images.builders.dib import command, twins
from cc_images.builders.dib.builder import DIB
from cc_images.builders.dib.elements import Elements
from cc_images.builders.dib.spec import TwinsSpec
from cc_images.config.loader import Config, load
from cc_images.host import user_emulation
from cc_images.host.user_emulation import USER_EMULATORS
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch
from cc_images.model.plan import LayerJob, Plan, Request, Task
from cc_images.planner import snapshot
from cc_images.store.records import Store
from cc_images.toolbox import interpreters
from cc_images.toolbox.twins import make
from tests.conftest import REPOSITORY, write_files

SAME, LATER = 1_600_000_000, 1_600_000_000 + 3600


# -- the list --------------------------------------------------------------------------------------------------------


def listed() -> tuple[list[str], list[make.Program]]:
    return make.listed((twins.FILES / "programs").read_text())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("/usr/bin/sed\n", "line 1: a program is a path below a group"),
        ("[sed] text in, text out\nusr/bin/sed\n", "line 2: a program is a path below a group"),
        ("[sed]\n/usr/bin/sed\n", "line 1: a group needs packages and a reason"),
        ("[] text in, text out\n/usr/bin/sed\n", "line 1: a group needs packages and a reason"),
    ],
)
def test_every_program_has_a_package_and_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make.listed(text)


def test_the_list_is_whole_and_names_nothing_that_tells_the_architecture() -> None:
    packages, programs = listed()
    assert len(packages) == len(set(packages))
    names = {program["pattern"].rpartition("/")[2] for program in programs if not program["arguments"]}
    assert {"bash", "sed", "dpkg", "apt-get"} <= names
    telling = {"uname", "arch", "ldconfig", "ldd", "gcc", "systemctl", "grub-install", "useradd", "stdbuf", "lscpu"}
    assert not names & telling
    assert not [name for name in names if name.startswith(("python", "perl"))], "those run for known scripts only"
    assert all(program["pattern"].startswith("/usr/") for program in programs), "paths with all links resolved"
    assert all(len(program["arguments"]) <= 5 for program in programs)


@pytest.mark.parametrize("merged", [True, False])
def test_programs_are_found_below_usr_and_outside(tmp_path: Path, merged: bool) -> None:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    if merged:
        (tmp_path / "bin").symlink_to("usr/bin")
    else:
        (tmp_path / "bin").mkdir()
    (tmp_path / "usr/bin/awk").symlink_to("mawk")
    for name in ("usr/bin/mawk", "bin/sed"):
        (tmp_path / name).write_text("")
    assert [name for name, _ in make.found(tmp_path, "/usr/bin/sed")] == ["/usr/bin/sed"]
    assert [name for name, _ in make.found(tmp_path, "/usr/bin/*awk")] == ["/usr/bin/mawk"], "no links"


# -- how they are moved ----------------------------------------------------------------------------------------------


def program(path: Path, text: str, time: int = SAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    os.utime(path, (time, time))
    return path


def test_paths_and_architecture_are_replaced_and_nothing_moves(tmp_path: Path) -> None:
    libraries = b"\x7fELF \0/usr/lib/x86_64-linux-gnu/perl\0/lib64/ld-linux-x86-64.so.2\0amd64\0amd64v2\0"
    for name in ("native/usr/bin/dpkg", "native/usr/bin/sed", "lib/libapt-pkg.so.6.0", "native/usr/bin/egrep"):
        program(tmp_path / name, "")
        (tmp_path / name).write_bytes(libraries if "egrep" not in name else b"#!/bin/sh /usr/lib/x86_64-linux-gnu")
        os.utime(tmp_path / name, (SAME, SAME))
    assert make.relocate(tmp_path, "arm64") == 3, "scripts stay as they are"
    moved = b"\x7fELF \0/.cc/lib/x86_64-linux-gnu/perl\0/.cc/ld-linux-x86-64.so.2\0\0\0amd64\0amd64v2\0"
    assert (tmp_path / "native/usr/bin/sed").read_bytes() == moved
    for name in ("native/usr/bin/dpkg", "lib/libapt-pkg.so.6.0"):
        assert (tmp_path / name).read_bytes() == moved.replace(b"amd64\0", b"arm64\0"), "as long as before"
        assert (tmp_path / name).stat().st_mtime == SAME, "by which its version is told"


def test_programs_whose_architecture_cannot_be_replaced_stay_emulated(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "twins"
    for name in ("usr/bin/dpkg", "usr/bin/sed", "usr/lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libz.so"):
        program(tree / name, name)
    wanted = [make.Program(pattern=f"/usr/bin/{name}", arguments=[]) for name in ("dpkg", "sed")]
    (out / "lib").mkdir(parents=True)
    make.collect(tree, wanted, out, "ppc64el")
    assert sorted(path.name for path in (out / "native/usr/bin").iterdir()) == ["sed"]
    assert sorted(path.name for path in (out / "lib/x86_64-linux-gnu").iterdir()) == ["libc.so.6", "libz.so"]


def deb(folder: Path, name: str, version: str, arch: str, time: int) -> Path:
    """Make a package with one program, of a time."""
    root = folder / f"{name}-{arch}"
    program(root / "usr/bin" / name, arch, time)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: x\nDescription: x\n"
    )
    archive = folder / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(archive)], check=True, capture_output=True)
    return archive


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_rebuilt_programs_get_the_times_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {"same": ("1-1", "1-1"), "rebuilt": ("1:2-1", "1:2-1+b2"), "both": ("1-1+b1", "1-1+b1")}
    pairs |= {"newer": ("1-1", "1-2"), "alone": ("1-1", "")}
    tree, pool = tmp_path / "tree", tmp_path / "pool"
    archives = tree / "var/cache/apt/archives"
    archives.mkdir(parents=True)
    pool.mkdir()
    for name, (mine, theirs) in pairs.items():
        shutil.copy(deb(pool, name, mine, "amd64", SAME), archives)
        program(tree / "usr/bin" / name, "", SAME)
        if theirs:
            deb(pool, name, theirs, "arm64", LATER)
    apt = program(
        tmp_path / "apt-get",
        f"#!/bin/sh\ncase $* in *--print-uris*) for each in {pool}/*_arm64.deb; do\n"
        f"echo \"'http://m/x' $(basename $each) 1 SHA256:0\"; done ;;\n"
        f"*) for each; do case $each in *:arm64=*) cp {pool}/${{each%%:*}}_*_arm64.deb . ;; esac; done; esac\n",
    )
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    (tmp_path / "work").mkdir()
    order: Any = {"arch": "arm64", "work": str(tmp_path / "work")}
    make.agree(order, tree, list(pairs))
    left = {path.name: path.stat().st_mtime for path in (tree / "usr/bin").iterdir()}
    assert left == {"same": SAME, "rebuilt": LATER, "both": LATER}, "other source versions have none"


# -- what the interpreter starts -------------------------------------------------------------------------------------

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or os.uname().machine != "x86_64", reason="the interpreter is compiled, for x86-64 hosts"
)


EMULATED = "-0 prog "
"""What stands for the emulator is echo, so this is how emulated programs begin."""


class Root:
    """A folder that stands for an image's root and the twins in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.twins = folder / "twins"
        emulator = shutil.copy("/bin/echo", folder / "emulator")
        words = ["cc", "-O2", "-Wall", "-Werror", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
        words += ["-fno-tree-loop-distribute-patterns", "-Wl,-z,noexecstack", f'-DROOT="{self.twins}"']
        words += [f'-DQEMU="{emulator}"', '-DMACHINE="aarch64"', "-o", str(folder / "interpreter")]
        subprocess.run([*words, str(twins.FILES / "interpreter.c")], check=True)

    def guest(self, name: str, time: int = SAME) -> Path:
        """Make a program of the image; nobody reads what is in it."""
        return program(self.folder / "root" / name, "of another architecture", time)

    def twin(self, path: Path, time: int = SAME, place: str = "native/usr") -> None:
        """Make a program's twin, which says what it is given."""
        script = (
            '#!/bin/sh\necho "native $*"\n[ -z "$SHOW" ] || env | grep -E "^(APT_CONFIG|HOSTTYPE|MACHTYPE)=" | sort\n'
        )
        program(self.twins / f"{place}{path}", script, time)

    def run(self, path: Path | str, *arguments: str, cwd: Path | None = None, **more: Any) -> str:
        """Start a program as binfmt_misc does with the flag P."""
        command = [str(self.folder / "interpreter"), str(path), "prog", *arguments]
        environment = {"PATH": os.environ["PATH"], **more}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root(tmp_path_factory.mktemp("twins"))


@pytest.fixture
def root(compiled: Root) -> Root:
    """Return the folder with nothing in it but the interpreter, in which its path is, and the emulator."""
    for each in compiled.folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name not in ("emulator", "interpreter"):
            each.unlink()
    return compiled


@needs_compiler
def test_a_twin_of_the_same_version_runs_and_any_other_program_is_emulated(root: Root) -> None:
    sed, other = root.guest("bin/sed"), root.guest("bin/other")
    assert root.run(sed, "-n", "p") == f"-0 prog {sed} -n p", "without twins"
    root.twin(sed)
    assert root.run(sed, "-n", "a b") == "native -n a b"
    assert root.run(other, "-n") == f"-0 prog {other} -n"
    assert root.run(root.folder / "missing") == f"-0 prog {root.folder}/missing", "who says what is wrong"


@needs_compiler
@pytest.mark.parametrize(("apart", "native"), [(0, True), (1, False), (-3600, False)])
def test_the_version_is_told_by_the_time_of_the_file(root: Root, apart: int, native: bool) -> None:
    sed = root.guest("bin/sed", SAME + apart)
    root.twin(sed)
    assert root.run(sed).startswith("native" if native else EMULATED)


@needs_compiler
def test_links_and_relative_paths_lead_to_the_twin(root: Root) -> None:
    mawk = root.guest("usr/bin/mawk")
    root.twin(mawk)
    (mawk.parent / "awk").symlink_to("../share/../bin/mawk")
    (mawk.parents[1] / "share").mkdir()
    (root.folder / "root/bin").symlink_to("usr/bin")
    (mawk.parent / "loop").symlink_to("loop")
    for path in ("bin/awk", "./usr//bin/./awk", "usr/bin/../bin/awk"):
        assert root.run(root.folder / "root" / path) == "native"
        assert root.run(path, cwd=root.folder / "root") == "native"
    assert root.run(mawk.parent / "loop").startswith(EMULATED)
    assert root.run("/" + "x/" * 3000).startswith(EMULATED), "longer than a path may be"


@needs_compiler
@pytest.mark.parametrize(
    "variable", ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_TRACE_LOADED_OBJECTS", "LD_AUDIT", "PERL5LIB", "PYTHONPATH"]
)
def test_what_the_loader_is_told_concerns_the_images_libraries(root: Root, variable: str) -> None:
    sed = root.guest("bin/sed")
    root.twin(sed)
    (root.twins / "log").touch()
    root.run(sed, cwd=None, **{variable: ""})
    assert (root.twins / "log").read_text() == "", "no twin was thought of"


@needs_compiler
def test_scripts_are_known_by_their_first_arguments(root: Root) -> None:
    perl = root.guest("usr/bin/perl")
    program(root.twins / "bin/perl", '#!/bin/sh\necho "native $*"\n')
    link = root.twins / "scripts/perl/-w+!usr!share!frontend"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../bin/perl")
    (root.twins / "native").mkdir()
    assert root.run(perl, "-w", "/usr/share/frontend", "configure") == "native -w /usr/share/frontend configure"
    for arguments in (
        ["-w", "/usr/share/other"],
        ["."],
        [".."],
        [""],
        ["/usr/share/frontend"],
        ["-w"],
        [],
        ["x" * 5000],
        ["-w", "../perl"],
    ):
        assert root.run(perl, *arguments).startswith(EMULATED)
    os.utime(perl, (LATER, LATER))
    assert root.run(perl, "-w", "/usr/share/frontend").startswith(EMULATED), "another version"


@needs_compiler
def test_apt_and_bash_are_told_the_architecture(root: Root) -> None:
    apt, bash = root.guest("usr/bin/apt-get"), root.guest("bin/bash")
    root.twin(apt)
    root.twin(bash)
    mine = f"{root.twins}/apt.conf"
    assert root.run(apt, SHOW="1") == f"native \nAPT_CONFIG={mine}"
    assert root.run(apt, SHOW="1", APT_CONFIG=mine) == f"native \nAPT_CONFIG={mine}"
    assert root.run(apt, APT_CONFIG="/tmp/apt.conf.x1y2z3") == "native", "what apt itself has written"
    assert root.run(apt, APT_CONFIG="/etc/own").startswith(EMULATED), "a configuration of the image's own"
    assert root.run(bash, SHOW="1") == "native \nHOSTTYPE=aarch64\nMACHTYPE=aarch64-unknown-linux-gnu"
    assert "HOSTTYPE=mine" in root.run(bash, SHOW="1", HOSTTYPE="mine")


@needs_compiler
def test_the_log_has_a_line_for_each_start(root: Root) -> None:
    sed, old = root.guest("bin/sed"), root.guest("bin/old", LATER)
    root.twin(sed)
    root.twin(old)
    (root.twins / "log").touch()
    root.run(sed, "s/a/b/\ns/b/c/", "file", "more")
    root.run(old)
    root.run(root.guest("bin/other"), "x")
    root.run(root.guest("bin/python3"), "-c", "import os\nimport re", "http://user:password@mirror/")
    root.run(root.guest("bin/perl"), "http://user:password@mirror/")
    lines = (root.twins / "log").read_text().splitlines()
    assert lines == [
        f"native {sed}",
        f"version {old}",
        f"emulated {sed.parent}/other",
        f"emulated {sed.parent}/python3 -c import os import re",
        f"emulated {sed.parent}/perl http://user:password@mirror/",
    ], "arguments, which may be secrets, only of those that run scripts"
    said = twins.started(root.twins)
    assert said.startswith("programs started: 3 emulated, 1 native, 1 version\n")
    assert f"     1 emulated {sed.parent}/other\n" in said
    assert "password" not in said


@needs_compiler
def test_the_emulator_is_in_the_interpreter_too(root: Root) -> None:
    (root.folder / "emulator").unlink()
    assert root.run(root.guest("bin/sed"), "x").startswith(EMULATED), "where no root has it"


# -- what binfmt_misc is told ----------------------------------------------------------------------------------------


def test_an_entry_names_the_header_of_the_programs(tmp_path: Path) -> None:
    interpreter = tmp_path / "interpreter"
    interpreter.write_bytes(b"interpreter")
    told: dict[str, Any] = {**user_emulation.registration(Arch.ARM64, interpreter)}
    what = interpreters.entry(*(told[each] for each in ("name", "magic", "mask", "path")))
    name, kind, offset, magic, mask, path, flags = what.decode().split(":")[1:]
    assert (kind, offset, path, flags) == ("M", "", str(interpreter), "PF")
    assert name.startswith("cc-images-aarch64-")
    assert len(what) < 1920, "MAX_REGISTER_LENGTH of the kernel's fs/binfmt_misc.c"
    header = bytes(int(byte, 16) for byte in magic.split("\\x")[1:])
    bits = bytes(int(byte, 16) for byte in mask.split("\\x")[1:])
    assert len(header) == len(bits) == 20
    assert header[:4] == b"\x7fELF"
    mine = Path("/proc/self/exe").read_bytes()[:20]
    matches = bytes(a & b for a, b in zip(mine, bits, strict=True)) == bytes(
        a & b for a, b in zip(header, bits, strict=True)
    )
    assert matches == (os.uname().machine == "aarch64"), "not this host's own programs"


def test_a_colon_in_the_path_does_not_part_it() -> None:
    assert interpreters.entry("name", "7f", "ff", "/a:b") == rb"|name|M||\x7f|\xff|/a:b|PF"


def test_every_architecture_has_its_emulator() -> None:
    assert set(USER_EMULATORS) == set(Arch)
    assert {len(each.magic) for each in USER_EMULATORS.values()} == {40}
    assert {len(each.mask) for each in USER_EMULATORS.values()} == {40}


def test_entries_that_nobody_uses_are_told_from_those_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, users = tmp_path / "registry", tmp_path / "users"
    monkeypatch.setattr(interpreters, "USERS", tmp_path)
    left, used = interpreters.own("cc-images-aarch64-left"), interpreters.own("cc-images-aarch64-used")
    for folder in (registry, users):
        folder.mkdir()
        for name in (left, used, "cc-images-aarch64-of-a-container", "qemu-aarch64"):
            (folder / name).touch()
    held = subprocess.Popen(
        ["flock", "--shared", str(users / used), "sh", "-c", "echo; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    held.stdout.readline()
    try:
        assert interpreters.left(registry, users) == [left]
    finally:
        held.communicate()
    assert interpreters.left(registry, users) == [left, used]


# -- what is planned -------------------------------------------------------------------------------------------------

VARIABLES = {
    "DISTRO_NAME": "debian",
    "DIB_RELEASE": "bookworm",
    "DIB_DISTRIBUTION_MIRROR": "http://mirror.example/debian",
    "DIB_DEBIAN_COMPONENTS": "main",
    "DIB_APT_SOURCES_CONF": "default:deb http://mirror.example/debian bookworm main\nno line of a source\n"
    "security:deb [arch=arm64 signed-by=/x] http://mirror.example/security bookworm-security main",
    "DIB_UBUNTU_MIRROR_DISTS": "",
    "DIB_MMDEBSTRAP_EXTRA_ARGS": "--aptopt=x",
    "DIB_APT_KEYRING": "",
    "DIB_DEBIAN_KEYRING": "",
    "DIB_DEBOOTSTRAP_EXTRA_ARGS": "",
}


def test_twins_are_made_from_the_sources_of_the_image() -> None:
    debian = twins.release(VARIABLES)
    assert debian is not None
    assert debian.sources == (
        "deb http://mirror.example/debian bookworm main",
        "deb [arch=amd64 signed-by=/x] http://mirror.example/security bookworm-security main",
    )
    assert debian.tag == "debian-bookworm"
    assert debian.as_environment()["DIB_MMDEBSTRAP_EXTRA_ARGS"] == "--aptopt=x"
    checked = twins.release(
        VARIABLES | {"DIB_DEBIAN_KEYRING": "/own.gpg", "DIB_DEBOOTSTRAP_EXTRA_ARGS": "--no-check-gpg"}
    )
    assert checked is not None
    assert checked.options == "--keyring=/own.gpg --skip=check/signed-by --aptopt=x"
    ubuntu = twins.release(
        VARIABLES
        | {"DISTRO_NAME": "ubuntu", "DIB_RELEASE": "noble", "DIB_DEBIAN_COMPONENTS": "main,universe"}
        | {"DIB_UBUNTU_MIRROR_DISTS": "updates,security"}
    )
    assert ubuntu is not None
    mirror = VARIABLES["DIB_DISTRIBUTION_MIRROR"]
    assert ubuntu.sources == tuple(
        f"deb {mirror} {suite} main universe" for suite in ("noble", "noble-updates", "noble-security")
    )
    assert twins.release(VARIABLES | {"DISTRO_NAME": "centos"}) is None
    assert twins.release(VARIABLES | {"DIB_RELEASE": ""}) is None


NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be an amd64 host that can make twins."""
    monkeypatch.setattr(user_emulation, "HERE", "x86_64")
    monkeypatch.setattr(user_emulation, "why_no_twins", lambda arch: "")
    monkeypatch.setattr(user_emulation, "emulator_digest", lambda arch: "digest")
    monkeypatch.delenv(twins.SWITCH, raising=False)


KEYRING = """
CC-A: {arch: [arm64], elements: [cc-debian12]}
CC-B:
  depends: [CC-A]
  arch: [arm64]
  elements: []
  artifacts: {CUDA_KEYRING: {url: "http://x.example/cuda-keyring_1.1-1_all.deb", sha256: "%s"}}
CC-C: {arch: [arm64], elements: [cc-debian12], environment: {DIB_MMDEBSTRAP_EXTRA_ARGS: "--aptopt=x"}}
""" % ("0" * 64)


def test_a_release_may_have_several_twins(tmp_path: Path, amd64: None) -> None:
    write_files(tmp_path, images=KEYRING, sites="local: {directory: site}")
    (tmp_path / "elements").symlink_to(REPOSITORY / "elements")
    found = tasks(look(tmp_path, "cc-b"))
    several = [name for name in found if name.startswith("twins debian-bookworm")]
    assert len(several) == 2, "the parent's layer is made with keys of its own"
    assert len([need for need in found["build cc-b arm64"].needs if need in several]) == 1
    assert found["layer cc-a arm64"].needs[0] in several
    both = tasks(look(tmp_path, "cc-a", "cc-c"))
    first, second = (both[name].needs for name in ("layer cc-a arm64", "build cc-c arm64"))
    assert not set(first) & set(second), "each with its own"
    tags = {
        task.job.tag
        for task in both.values()
        if isinstance(task.job, LayerJob) and isinstance(task.job.spec, TwinsSpec)
    }
    assert len(tags) == 2, "and a place of its own in the store"


def look(tmp_path: Path, *tags: str, arches: tuple[Arch, ...] = (Arch.ARM64,)) -> snapshot.Snapshot:
    request = Request(tags=tags, build=True, arches=arches)
    return snapshot.look(request, configured(tmp_path), Store(tmp_path / "store"), now=NOW, offline=True)


def configured(tmp_path: Path) -> Config:
    return load({"HOME": str(tmp_path)}, tmp_path)


def tasks(seen: snapshot.Snapshot) -> dict[str, Task]:
    plan: Plan = seen.plan("20261121T000000Z")
    return {task.id: task for task in plan.tasks}


def test_twins_come_before_what_needs_them_and_once_a_release(tmp_path: Path, amd64: None) -> None:
    found = tasks(look(tmp_path, "cc-debian12", "cc-debian12-cuda", "cc-debian13"))
    mine, theirs = "twins debian-bookworm arm64", "twins debian-trixie arm64"
    assert [name for name in found if name.startswith("twins")] == [mine, theirs]
    assert found["layer cc-debian12 arm64"].needs == (mine,)
    disk = "tools disk-tools amd64"
    assert set(found["build cc-debian12 arm64"].needs) == {mine, disk, "layer cc-debian12 arm64"}
    assert set(found["build cc-debian12-cuda arm64"].needs) == {mine, disk, "layer cc-debian12 arm64"}
    assert theirs in found["layer cc-debian13 arm64"].needs
    job = found[mine].job
    assert isinstance(job, LayerJob)
    assert isinstance(job.spec, TwinsSpec)
    assert "bookworm-security" in job.spec.environment["DIB_APT_SOURCES_CONF"]


def test_programs_of_this_host_need_no_twins(tmp_path: Path, amd64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [name for name in tasks(look(tmp_path, "cc-debian12", arches=(Arch.AMD64,))) if "twins" in name]
    monkeypatch.setattr(user_emulation, "HERE", "aarch64")
    seen = look(tmp_path, "cc-debian12")
    assert not [name for name in tasks(seen) if "twins" in name]
    assert not [note for note in seen.notes if "emulation" in note]


def test_stored_twins_serve_and_a_forced_build_keeps_them(tmp_path: Path, amd64: None) -> None:
    found = tasks(look(tmp_path, "cc-debian12"))
    store = Store(tmp_path / "store")
    staged = store.root / "staged"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"twins")
    blob = store.blobs.add(staged)
    job = found["twins debian-bookworm arm64"].job
    assert isinstance(job, LayerJob)
    store.record_layer(
        Layer(tag=job.tag, arch=job.arch, run="20261120T000000Z", recipe_key=job.spec.recipe_key, key="k",
              digest=blob.digest, size=blob.size, upstream={"http://mirror.example/InRelease": "today"}), {}
    )  # fmt: skip
    assert not [name for name in tasks(look(tmp_path, "cc-debian12")) if "twins" in name]
    forced = Request(tags=("cc-debian12",), build=True, force=True, arches=(Arch.ARM64,))
    seen = snapshot.look(forced, configured(tmp_path), store, now=NOW, offline=True)
    assert not [name for name in tasks(seen) if "twins" in name], "-f is for the named images only"


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("cc-debian12", "CC_IMAGES_TWINS=no"),
        ("cc-centos9-stream", "for Debian and Ubuntu, and cc-centos9-stream is"),
    ],
)
def test_the_plan_says_why_all_is_emulated(
    tmp_path: Path, amd64: None, monkeypatch: pytest.MonkeyPatch, tag: str, reason: str
) -> None:
    if tag == "cc-debian12":
        monkeypatch.setenv(twins.SWITCH, "no")
    seen = look(tmp_path, tag)
    assert not [name for name in tasks(seen) if "twins" in name]
    (note,) = [note for note in seen.notes if "emulation" in note]
    assert note.startswith("arm64 is built by plain emulation, many times slower: ")
    assert re.search(reason, note)


def test_a_host_without_a_compiler_emulates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_emulation.shutil, "which", lambda name, path=None: None)  # type: ignore[attr-defined]
    assert user_emulation.why_no_twins(Arch.ARM64, "x86_64") == "there is no C compiler (package gcc)"
    assert user_emulation.why_no_twins(Arch.ARM64, "ppc64le") == "twins are made on amd64 hosts only"


def test_only_keys_of_other_architectures_have_what_emulates_them(amd64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def tools(arch: Arch) -> dict[str, str]:
        return command.tools(DIB.host_facts([arch]), arch)

    native, other = tools(Arch.AMD64), tools(Arch.ARM64)
    assert not {"emulator", "twins"} & native.keys()
    assert other["emulator"] == "digest"
    monkeypatch.setattr(twins, "digest", lambda: "another list of programs")
    assert tools(Arch.AMD64) == native
    assert tools(Arch.ARM64) != other


def test_the_plan_says_what_is_missing(tmp_path: Path, amd64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_emulation, "runs_programs", lambda arch: arch is Arch.AMD64)
    (note,) = [note for note in look(tmp_path, "cc-debian12").notes if "arm64" in note]
    assert "cannot run programs for arm64, so a build will be refused: install qemu-user-static" in note


@pytest.mark.parametrize(
    ("host", "text", "remedy"),
    [
        ("no emulator", "do not run here: runs leave arm64 out, and refuse it with -a", "install qemu-user-static"),
        ("no binfmt_misc", "this kernel has no binfmt_misc", "modprobe binfmt_misc"),
        ("no compiler", "many times slower: there is no C compiler (package gcc)", "install gcc"),
        ("forbidden", "many times slower: CC_IMAGES_TWINS=no", "unset CC_IMAGES_TWINS"),
        ("all", "native twins", ""),
    ],
)
def test_doctor_says_what_builds_for_another_architecture_lack(
    amd64: None, monkeypatch: pytest.MonkeyPatch, host: str, text: str, remedy: str
) -> None:
    monkeypatch.setattr(user_emulation, "runs_programs", lambda arch: host != "no emulator")
    monkeypatch.setattr(doctor, "has_binfmt_misc", lambda: host != "no binfmt_misc")
    if host == "no compiler":
        monkeypatch.setattr(user_emulation, "why_no_twins", lambda arch: "there is no C compiler (package gcc)")
    if host == "forbidden":
        monkeypatch.setenv(twins.SWITCH, "no")
    (finding,) = doctor.emulation([Arch.AMD64, Arch.ARM64])
    assert text in finding.text
    assert remedy in finding.remedy


def test_builds_for_which_the_answer_is_the_same_ask_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "small" / "environment.d"
    folder.mkdir(parents=True)
    (folder / "10-small.bash").write_text("export DIB_TWO=${DIB_ONE:-}2\n")
    elements, started = Elements((tmp_path,)), []
    popen = subprocess.Popen

    def counted(*words: Any, **more: Any) -> Any:
        started.append(words)
        return popen(*words, **more)

    monkeypatch.setattr("subprocess.Popen", counted)

    def two(**environment: str) -> str:
        return elements.defaults(("small",), ("DIB_TWO", "DIB_MINE"), environment, "amd64")["DIB_TWO"]

    assert [two(DIB_X=str(number)) for number in range(20)] == ["2"] * 20
    assert len(started) == 1, "nothing reads DIB_X"
    assert two(DIB_ONE="1") == "12"
    assert elements.default(("small",), "DIB_MINE", {"DIB_MINE": "m"}, "amd64") == "m"
    (folder / "15-more.bash").write_text('eval "DIB_TWO=\\$DIB_KIND_$DIB_ONE"\n')
    assert [two(DIB_ONE="a", DIB_KIND_a="x"), two(DIB_ONE="a", DIB_KIND_a="y")] == ["x", "y"]
    (folder / "15-more.bash").unlink()
    (folder / "20-more.bash").write_text('for each in "${!DIB_@}"; do DIB_TWO+=$each; done\n')
    assert [two(DIB_X="1"), two(DIB_Y="1")] == ["2DIB_TWODIB_X", "2DIB_TWODIB_Y"], "what reads all is asked each time"


def test_one_shell_tells_all_that_twins_want_to_know(tmp_path: Path) -> None:
    text = (
        "export DIB_TWO=${DIB_ONE}2\nexport DIB_LINES=$'a\\nb'\n[ -z \"${DIB_END:-}\" ] || { printf '\\x1e'; exit; }\n"
    )
    folder = tmp_path / "small" / "environment.d"
    folder.mkdir(parents=True)
    (folder / "10-small.bash").write_text(text)
    elements, wanted = Elements((tmp_path,)), ("DIB_ONE", "DIB_TWO", "DIB_NONE", "DIB_LINES")
    found = elements.defaults(("small",), wanted, {"DIB_ONE": "1"}, "amd64")
    assert found == {"DIB_ONE": "1", "DIB_TWO": "12", "DIB_NONE": "", "DIB_LINES": "a\nb"}
    ended = elements.defaults(("small",), wanted, {"DIB_ONE": "1", "DIB_END": "1"}, "amd64")
    assert set(ended.values()) == {""}, "files that end the shell say nothing"
