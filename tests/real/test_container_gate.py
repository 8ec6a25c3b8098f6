"""The gate for containers: tiny images are looked into, started, asked and stopped, and nothing of them is left."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cc_images.boottest.container_test import ContainerTest
from cc_images.boottest.verdict import BootTestResult
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import network, root, user_emulation
from cc_images.host.containers.archive import read
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Checks, Format, Level
from cc_images.model.container import Configuration, Trial
from cc_images.model.contracts import FOLDERS
from cc_images.model.plan import BootJob
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, Cli, write_files
from tests.support import containers
from tests.support.containers import Entry, Layer, archive, base, sif_file

pytestmark = pytest.mark.skipif(bool(containers.lacking()), reason=f"missing: {', '.join(containers.lacking())}")

SH = ("/bin/sh", "-c")


class Gate:
    """The test of containers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self.report: Callable[[str], None] = lambda what: None
        self.count = 0

    def run(
        self,
        image: Path,
        trial: Trial | None = None,
        checks: Checks | None = None,
        form: Format = Format.OCI,
        arch: Arch = Arch.AMD64,
    ) -> BootTestResult:
        self.count += 1
        job = BootJob(
            name="CC-X", tag="cc-x", arch=arch, version="1", formats=(form,), firmware=(), checks=checks or {},
            test_key="k", trial=trial or Trial(limit=20), allow=("passwords",),
        )  # fmt: skip
        place = self.folder / f"test-{self.count}"
        with (self.folder / f"log-{self.count}").open("wb") as log:
            return ContainerTest(
                job=job, image=image, form=form, folder=place, guards=self.folder / "guards", log=log, stop=self.stop,
                report=self.report, secrets=("hunter2secret",),
            ).run()  # fmt: skip

    def tried(self, said: Configuration, *layers: Layer, trial: Trial | None = None, checks: Checks | None = None
              ) -> BootTestResult:  # fmt: skip
        image = archive(self.folder / f"image-{self.count}.oci.tar", said, *(layers or (base(),)))
        return self.run(image, trial, checks)

    def log(self) -> str:
        return (self.folder / f"log-{self.count}").read_text()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    until = time.monotonic() + 20
    while (found := left(tmp_path)) and time.monotonic() < until:  # a sandbox's guard ends after what it guards
        time.sleep(0.1)
    assert not found


def left(folder: Path) -> list[str]:
    """Return what is left of the tests in a folder: mounts, processes, scratch folders."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    scratch = [*folder.glob("*/*/scratch"), *folder.glob("*/*/*/scratch")]
    return [*mounts, *processes(str(folder)), *map(str, scratch)]


def processes(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in words and path.parent.name != str(os.getpid()):
            found.append(words)
    return found


def words(verdict: BootTestResult) -> str:
    assert not verdict.passed
    return verdict.words


LOWER: Layer = base() | {
    "data/old": "from below",
    "data/kept": "from below",
    "gone": "hidden",
    "link": Entry(link="/etc"),
    "full/a": "a",
    "full/sub/b": "b",
    "var/lib/apt/lists/index": "x" * (3 << 20),
}
UPPER: Layer = {
    "data/.wh.old": "",
    ".wh.gone": "",
    "full/.wh..wh..opq": "",
    "full/c": "c",
    "link/through": "the link leads into the tree",
    "data/kept": "from above",
    "data/twin": Entry(link="data/kept", hard=True),
    "var/lib/apt/.wh.lists": "",
}
LOOKS = """\
test ! -e /data/old && test ! -e /gone && test "$(cat /data/kept /data/twin)" = "from abovefrom above" || exit 11
test ! -e /full/a && test ! -e /full/sub && test -e /full/c || exit 12
test "$(cat /etc/through)" = "the link leads into the tree" || exit 13
test $$ = 1 && test ! -e /dev/sda && test -c /dev/null || exit 14
test "$(cat /proc/net/dev | grep -c :)" = 1 || exit 15
touch /etc/x || exit 16
(echo x > /proc/sys/kernel/domainname) 2> /dev/null && exit 17
(echo h > /proc/sysrq-trigger) 2> /dev/null && exit 18
echo "hello $0 $1 hunter2secret"
"""


def test_layers_are_laid_over_each_other_and_the_container_ends_with_0(gate: Gate) -> None:
    verdict = gate.tried(Configuration(entrypoint=(*SH, LOOKS), command=("a", "b c")), LOWER, UPPER)
    assert verdict.passed, verdict.words
    assert verdict.level is Level.CHECKS
    assert "hello a b c ***" in gate.log()
    assert verdict.advice == ("layer 1 has 3 MiB of apt lists",), "it is in a layer, though no longer in the tree"
    assert not Path("/etc/through").exists()


@pytest.mark.parametrize("form", [Format.OCI, Format.SIF])
def test_it_is_unpacked_once(gate: Gate, form: Format) -> None:
    said = Configuration(entrypoint=("/bin/true",))
    if form is Format.SIF:
        image = sif_file(gate.folder / "image.sif", said, base())
        tree = image.stat().st_size - (1 << 18)
    else:
        image = archive(gate.folder / "image.oci.tar", said, base())
        tree = next(each for each in read(image).layers).piece.begin + (1 << 16)

    def damaged(at: str) -> None:
        if at == "starts":
            with image.open("r+b") as file:
                file.seek(tree)
                file.write(bytes(1 << 12))

    gate.report = damaged
    verdict = gate.run(image, form=form)
    assert verdict.passed, verdict.words
    assert not [each for each in (gate.folder / "test-1").rglob("*") if each.name == "busybox"], "the tree is gone"
    gate.report = lambda what: None
    with pytest.raises(CCImagesError, match="cannot be unpacked"):
        gate.run(image, form=form)


def test_a_container_that_fails_says_its_code_and_its_last_lines(gate: Gate) -> None:
    verdict = gate.tried(Configuration(command=(*SH, "echo no such model; exit 3")))
    assert verdict.failed is Level.STARTS
    assert words(verdict) == "starts: `/bin/sh -c 'echo no such model; exit 3'` ended with code 3 (oci)"
    assert verdict.tail == ("no such model",)


SERVES = """\
trap "echo ended by SIGTERM; exit 0" TERM
sleep 1
httpd -f -p 8080 -h /etc &
wait
"""


def test_a_server_is_asked_as_its_user_once_it_listens(gate: Gate) -> None:
    said = Configuration(user="user", folder="/home/user", command=(*SH, SERVES), ports=("8080/tcp",))
    content: Layer = base() | {"bin/own": "#!/bin/sh"}
    checks: Checks = {
        "files": {"/etc/passwd": {"mode": "0644"}, "/nowhere": {"absent": "yes"}},
        "executables": {"own": {}, "vim": {}},
        "commands": {
            "id -u; pwd; echo $HOME": {"output": "1000\n/home/user\n/home/user"},
            "wget -q -O - http://127.0.0.1:8080/os-release": {"output": "ID=tiny"},
        },
        "ports": {"8080/tcp": {}, "9090/tcp": {}},
        "units": {"ssh.service": {}},
    }
    verdict = gate.tried(said, content, checks=checks)
    assert verdict.failed is Level.CHECKS
    assert words(verdict) == "checks: nothing listens on port 9090/tcp; vim is not on the PATH (oci)"
    assert "ended by SIGTERM" in gate.log()
    (found,) = verdict.climbs.values()
    assert found.levels.keys() == {Level.STARTS}
    assert 1 <= found.levels[Level.STARTS] < 15


GREETS = """\
trap "exit 0" TERM
printf '#!/bin/sh\\necho RFB 003.008\\nsleep 9\\n' > /tmp/greet
chmod 755 /tmp/greet
nc -ll -p 5900 -e /tmp/greet &
nc -ll -p 2222 -e /bin/sleep 99 &
wait
"""


def test_a_port_of_a_check_may_have_a_banner(gate: Gate) -> None:
    said = Configuration(user="user", command=(*SH, GREETS), ports=("5900/tcp", "2222/tcp"))
    checks: Checks = {"ports": {"5900/tcp": {"banner": "^RFB 003"}}}
    verdict = gate.tried(said, checks=checks)
    assert verdict.passed, verdict.words
    checks = {"ports": {"5900/tcp": {"banner": "^SSH-2"}, "2222/tcp": {"banner": "^SSH-2"}, "80/tcp": {"banner": "x"}}}
    assert words(gate.tried(said, checks=checks)) == (
        "checks: port 5900/tcp says 'RFB 003.008', not '^SSH-2'; port 2222/tcp says nothing, not '^SSH-2'; "
        "nothing listens on port 80/tcp (oci)"
    )


@pytest.mark.parametrize(
    ("trap", "wrong"),
    [
        ('trap "exit 0" TERM', []),
        ('trap "echo not now" TERM', ["it has not ended 10 s after SIGTERM, and was killed"]),
        ("", ["it does not handle SIGTERM, and was killed"]),
    ],
)
def test_a_container_that_stays_must_end_by_sigterm(gate: Gate, trap: str, wrong: list[str]) -> None:
    serves = f"{trap}\nhttpd -p 8080 -h /etc\nwhile :; do sleep 1; done\n"
    said = Configuration(command=(*SH, serves), ports=("8080/tcp",))
    verdict = gate.tried(said, trial=Trial(limit=20, contracts=("workstation",)))
    assert verdict.passed, verdict.words
    rules = dict(each.split(": ", 1) for each in verdict.broken["workstation"])
    assert [text for rule, text in rules.items() if rule == "workstation.stops"] == wrong
    assert [each for each in verdict.advice if "SIGTERM" in each] == wrong


def test_a_container_that_neither_ends_nor_listens_is_ended_after_its_time(gate: Gate) -> None:
    began = time.monotonic()
    verdict = gate.tried(Configuration(command=("/bin/sleep", "100"), ports=("80/tcp",)), trial=Trial(limit=2))
    assert words(verdict) == "starts: nothing listens on port 80/tcp after 2 s (oci)"
    assert time.monotonic() - began < 60


def test_a_network_is_there_for_those_that_ask_for_one_alone(gate: Gate) -> None:
    said = Configuration(command=(*SH, "grep -q tap0 /proc/net/route"))
    assert "ended with code 1" in words(gate.tried(said))
    if network.program():
        verdict = gate.tried(said, trial=Trial(limit=20, network=True))
        assert verdict.passed, verdict.words


def test_an_init_script_that_downloads_does_not_start(gate: Gate) -> None:
    entry = '#!/bin/sh\nset -e\nwget -O /tmp/model http://192.0.2.1/model\nexec "$@"\n'
    said = Configuration(entrypoint=("/entry",), command=("/bin/true",))
    verdict = gate.tried(said, base() | {"entry": entry})
    assert words(verdict) == "starts: `/entry /bin/true` ended with code 1 (oci)"
    assert "unreachable" in verdict.tail[-1]


def test_a_sif_file_gets_its_words_as_an_ordinary_user(gate: Gate) -> None:
    said = Configuration(
        entrypoint=(*SH, 'for each; do echo "<$each>"; done; id -u; echo $COLOUR; touch /etc/x', "entry"),
        environment={"COLOUR": "dark blue"},
        labels={"name": "x"},
    )
    image = sif_file(gate.folder / "image.sif", said, base())
    verdict = gate.run(image, Trial(limit=20, words=("two words", "", "--flag")), form=Format.SIF)
    assert verdict.failed is Level.STARTS, "its root is read-only"
    assert verdict.tail[:5] == ("<two words>", "<>", "<--flag>", "1000", "dark blue")
    assert "Read-only file system" in verdict.tail[5]


def test_a_run_that_is_stopped_leaves_nothing(gate: Gate) -> None:
    timer = threading.Timer(4, gate.stop.set)
    timer.start()
    with pytest.raises(Interrupted):
        gate.tried(Configuration(command=("/bin/sleep", "4321")), trial=Trial(limit=100))
    assert not processes("sleep 4321")


CONTAINERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
RUN /bin/busybox mkdir -p /etc /data/old && echo x > /gone && echo 'user:x:1000:1000::/data:/bin/sh' > /etc/passwd
RUN /bin/busybox rm -r /gone /data/old && /bin/busybox touch /data/new
USER user
ENTRYPOINT ["/bin/sh", "-c", "test ! -e /gone -a ! -e /data/old -a -e /data/new && test $(busybox id -u) = 1000"]
"""


@pytest.mark.deep
@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is missing")
def test_the_layers_that_buildah_makes(gate: Gate) -> None:
    assert containers.BUSYBOX is not None
    context, storage = gate.folder / "context", gate.folder / "storage.conf"
    context.mkdir()
    shutil.copy(containers.BUSYBOX, context / "busybox")
    (context / "Containerfile").write_text(CONTAINERFILE)
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{gate.folder}/graph"\nrunroot = "{gate.folder}/run"\n')
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}
    build = ["buildah", "bud", "--layers", "--isolation", "chroot", "--network", "host", "-t", "made", str(context)]
    for words in (build, ["buildah", "push", "made", f"oci-archive:{gate.folder}/made.oci.tar"]):
        subprocess.run(words, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    verdict = gate.run(gate.folder / "made.oci.tar")
    assert verdict.passed, verdict.words


def exits(code: int) -> bytes:
    """Return a static program for arm64 that ends with a code: an ELF header, a segment, mov, mov, svc."""
    program = struct.pack("<III", 0xD2800000 | code << 5, 0xD2800BA8, 0xD4000001)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = 120 + len(program)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000) + program


def test_another_architectures_container_is_emulated(gate: Gate) -> None:
    if user_emulation.is_foreign(Arch.AMD64) or not user_emulation.runs_programs(Arch.ARM64):
        pytest.skip("needs an amd64 host with qemu-user-static")
    for code in (0, 7):
        content = {"exits": Entry(text=exits(code))}
        image = archive(gate.folder / f"arm-{code}.oci.tar", Configuration(entrypoint=("/exits",)), content)
        verdict = gate.run(image, arch=Arch.ARM64)
        assert verdict.passed if not code else "`/exits` ended with code 7" in verdict.words, verdict.words


def test_the_sandbox_of_an_ordinary_user_does_the_same(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := root.why_no_namespace():
        pytest.skip(f"no user namespaces: {why}")
    monkeypatch.setenv(root.SWITCH, root.Way.NAMESPACE)
    verdict = gate.tried(Configuration(entrypoint=(*SH, LOOKS), command=("a", "b c")), LOWER, UPPER)
    assert verdict.passed, verdict.words


def test_a_check_that_is_killed_leaves_nothing_that_runs(gate: Gate) -> None:
    image = archive(gate.folder / "x.oci.tar", Configuration(command=("/bin/sleep", "4567")), base())
    words = [sys.executable, "-m", "cc_images", "check", str(gate.folder), "--image", str(image)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(gate.folder)}
    started = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not processes("sleep 4567") and time.monotonic() < until:
        time.sleep(0.1)
    assert processes("sleep 4567")
    started.kill()
    started.wait()
    while processes("sleep 4567") and time.monotonic() < until:
        time.sleep(0.1)
    assert not processes("sleep 4567")


# -- the contract `workstation` ---------------------------------------------------------------------------------------


def shadow(hashed: str) -> Entry:
    return Entry(text=f"root:*:1::::::\nuser:{hashed}:1::::::\n", mode=0o666)


def test_what_a_workstation_must_not_be_is_said_by_name(gate: Gate) -> None:
    content: Layer = base() | {
        "etc/shadow": shadow(hashed("user")),
        "etc/sudoers": "user ALL=(ALL) NOPASSWD: ALL\n",
        "home/user/datasets": Entry(),
        "home/user/persistent-home": Entry(owner=(1000, 1000)),
        "entry": "#!/bin/sh\nexec true $@\n",
    }
    said = Configuration(user="user:root", entrypoint=("/entry",))
    verdict = gate.tried(said, content, trial=Trial(limit=20, contracts=("workstation",)))
    assert verdict.passed, "a contract is the site's"
    said_of = dict(each.split(": ", 1) for each in verdict.broken["workstation"])
    assert said_of == {
        "workstation.gid": "it runs as gid 0, not 1000",
        "workstation.sudo": "its user may become root by the group root, /etc/sudoers: user ALL=(ALL) NOPASSWD: ALL",
        "workstation.home": "its working folder is /, not its home /home/user",
        "workstation.folders": "in its home datasets is of uid 0, not its own; persistent-shared-folder is not there",
        "workstation.name": "it has no label name",
        "workstation.version": "it has no label version",
        "workstation.authorization": "it names no licence, and no label `authorization` says who lets it be handed on",
        "workstation.readme": "no label has the README's section Description (description), Usage (usage), "
        "License (license)",
        "workstation.password": "after its start the user's password is still the user's name",
        "workstation.words": 'its entry point breaks words with spaces: write "$@", with the quotes',
    }


INIT = """\
#!/bin/sh
read -r salt < /proc/sys/kernel/random/uuid
echo 'user:$5$'${salt%%-*}'$made:1::::::' > /etc/shadow
for each in datasets persistent-home persistent-shared-folder; do
    test -d /home/user/$each || mkdir /home/user/$each
done
exec "$@"
"""


def test_a_workstation_that_keeps_its_contract(gate: Gate) -> None:
    content: Layer = base() | {"etc/shadow": shadow(hashed("user")), "entry": INIT}
    labels = {"name": "x", "version": "1", "description": "a", "usage": "b", "license": "MIT"}
    said = Configuration(
        user="user", folder="/home/user", entrypoint=("/entry",), command=("/bin/true", "a b"), labels=labels
    )
    verdict = gate.tried(said, content, trial=Trial(limit=20, contracts=("workstation",)))
    assert verdict.passed, verdict.words
    assert verdict.broken == {"workstation": []}


@pytest.mark.parametrize(
    ("entry", "missing"),
    [(INIT, []), (INIT.replace("mkdir", "true"), ["datasets", "persistent-home", "persistent-shared-folder"])],
)
def test_folders_are_there_when_a_volume_hides_the_home(gate: Gate, entry: str, missing: list[str]) -> None:
    own = {f"home/user/{each}": Entry(owner=(1000, 1000)) for each in FOLDERS}
    content: Layer = base() | own | {"etc/shadow": shadow(hashed("user")), "entry": entry}
    said = Configuration(
        user="user", folder="/home/user", entrypoint=("/entry",), command=("/bin/true",), volumes=("/home/user",)
    )
    verdict = gate.tried(said, content, trial=Trial(limit=20, contracts=("workstation",)))
    assert verdict.passed, verdict.words
    found = [each for each in verdict.broken["workstation"] if each.startswith("workstation.folders: ")]
    said_of = "; ".join(f"{each} is not there once its volumes are mounted" for each in missing)
    assert found == ([f"workstation.folders: in its home {said_of}"] if missing else [])


SERVES_WITH = """\
#!/bin/sh
trap "exit 0" TERM
mkdir -p /tmp/vnc
PASSWORD_LINE
httpd -p 8080 -h /etc
sh -c 'while :; do sleep 1; done' server -PasswordFile /tmp/vnc/own --NotebookApp.token=$token &
wait
"""
GIVEN = "dbd83cfd727a1458"  # as vncpasswd writes "password"
VNC_RULE = "workstation.password: after its start the VNC password in /home/user/.vnc/passwd is still that of a layer"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("head -c 8 /dev/urandom > /home/user/.vnc/passwd", []),
        ("true", [VNC_RULE]),
        ("cat /etc/given > /home/user/.vnc/passwd", ["workstation.password: it prints the VNC password in /home/user"]),
        ("rm /home/user/.vnc/passwd; cat /etc/given > /tmp/vnc/own", ["it prints the VNC password in /tmp/vnc/own"]),
        ("rm /home/user/.vnc/passwd; token=abc", ["the token on a command line is the same after two starts"]),
        ("rm /home/user/.vnc/passwd; read token < /proc/sys/kernel/random/uuid; echo $token", ["it prints the token"]),
    ],
)
def test_passwords_of_servers_change_at_each_start(gate: Gate, line: str, wrong: list[str]) -> None:
    content: Layer = base() | {
        "entry": SERVES_WITH.replace("PASSWORD_LINE", f"{line}; echo the password is password"),
        "etc/given": Entry(text=bytes.fromhex(GIVEN)),
        "home/user/.vnc": Entry(owner=(1000, 1000)),
        "home/user/.vnc/passwd": Entry(text=bytes.fromhex("ab" * 8), owner=(1000, 1000)),
        "bin/head": Entry(link="busybox"),
        "bin/rm": Entry(link="busybox"),
    }
    said = Configuration(user="user", folder="/home/user", entrypoint=("/entry",), ports=("8080/tcp",))
    verdict = gate.tried(said, content, trial=Trial(limit=20, contracts=("workstation",)))
    assert verdict.passed, verdict.words
    found = [each for each in verdict.broken["workstation"] if each.startswith("workstation.password")]
    assert len(found) == len(wrong)
    assert all(part in text for part, text in zip(wrong, found, strict=True)), found


OPEN = """\
#!/bin/sh
trap "exit 0" TERM
nc -ll -p 5900 -e /rfb &
nc -ll -p 8888 -e /http &
wait
"""


@pytest.mark.parametrize("kinds", [b"\\001\\001", b"\\001\\002"])
def test_servers_that_ask_for_no_password_are_refused(gate: Gate, kinds: bytes) -> None:
    asks = kinds.endswith(b"2")
    folder = '{"type": "file"}' if asks else '{"type": "directory"}'
    content: Layer = base() | {
        "entry": OPEN,
        "rfb": f"#!/bin/sh\nprintf 'RFB 003.008\\n'\nread -r version\nprintf '{kinds.decode()}'\n",
        "http": "#!/bin/sh\nwhile read -r line && [ ${#line} -gt 1 ]; do :; done\n"
        f"printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'\necho '{folder}'\n",
    }
    said = Configuration(user="user", folder="/home/user", entrypoint=("/entry",), ports=("5900/tcp", "8888/tcp"))
    verdict = gate.tried(said, content, trial=Trial(limit=20, contracts=("workstation",)))
    assert verdict.passed, verdict.words
    found = [each for each in verdict.broken["workstation"] if each.startswith("workstation.password: ")]
    says = "the VNC server on port 5900 asks for no password; the notebook server on port 8888 asks for no password"
    assert found == ([] if asks else [f"workstation.password: {says}"])


def hashed(password: str) -> str:
    words = ["openssl", "passwd", "-5", "-salt", "salt", "-stdin"]
    return subprocess.run(words, input=password, check=True, capture_output=True, text=True).stdout.strip()


# -- the whole way ----------------------------------------------------------------------------------------------------

IMAGES = """\
CC-X:
  elements: [debian-minimal]
  formats: [oci]
  checks: {executables: [sh], commands: {"id -u": "^0"}}
"""


def test_nothing_is_pushed_that_does_not_start_or_breaks_a_sites_contract(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images=IMAGES, sites="local: {directory: site, is_baremetal: true}\n")
    site, strict = tmp_path / "site/CC-X.oci.tar", tmp_path / "strict/CC-X.oci.tar"
    store = Store(tmp_path / "store")
    store.root.mkdir()
    image = archive(tmp_path / "x.oci.tar", Configuration(command=(*SH, "echo nothing to do; exit 3")), base())
    blob = store.blobs.add(image)
    output = Output(format=Format.OCI, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
    build = Build(tag="cc-x", name="CC-X", arch=Arch.AMD64, version="20261101T000000Z", recipe_key="a", key="k",
                  outputs={Format.OCI: output})  # fmt: skip
    store.record(build, {}, "CC-X")

    refused = cli("-p", "cc-x")
    assert refused.returncode == 3
    assert "starts: `/bin/sh -c 'echo nothing to do; exit 3'` ended with code 3 (oci)" in refused.stdout
    assert not site.exists()

    (tmp_path / "images.yaml").write_text(IMAGES + "  try: [/bin/true]\n")
    passed = cli("-p", "cc-x")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert site.exists()
    assert store.passes([blob.digest])
    assert "these bytes have passed" in cli("plan", "-p", "cc-x").stdout

    (tmp_path / "sites.yaml").write_text(
        "local: {directory: site, is_baremetal: true}\nstrict: {directory: strict, contract: workstation}\n"
    )
    broken = cli("-p", "cc-x")
    assert broken.returncode == 3, broken.stdout
    assert "does not keep the contract of strict: workstation.user: USER is not set: it runs as root" in broken.stdout
    assert not strict.exists()

    (tmp_path / "images.yaml").write_text(IMAGES)
    untested = cli("-p", "--no-boot-test", "-s", "local", "cc-x")
    assert untested.returncode == 0, untested.stdout
