"""Kills at random moments, while an image is built on builder hosts behind a real sshd and published.

Most of the time after a kill is the wait for a lease to run out, so several projects, each with hosts of its own, go
through their kills side by side. The image is small: a kill is to cost a wait, and no build.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project, Watched
from tests.support.sshbed import SSHD, SshBed
from tests.support.works import Census, inhabitants, parent, works

BUSYBOX = shutil.which("busybox") or ""
REASON = lacking(("buildah", "busybox")) or ("" if SSHD else "needs sshd")
pytestmark = [pytest.mark.deep, pytest.mark.skipif(bool(REASON), reason=REASON or "-")]

MOMENTS = int(os.environ.get("CC_IMAGES_TEST_MOMENTS", "24"))
"""Random moments at which something is killed."""

LANES = int(os.environ.get("CC_IMAGES_TEST_LANES", "8"))
"""Projects that go through their kills at a time."""

SEED = os.environ.get("CC_IMAGES_TEST_SEED", "1")

KINDS = ("guard", "work", "builder", "daemon", "link", "head")
"""The guard of an attempt, its work, all processes of its host at once, sshd, its connections too, the run itself."""

RECIPE = """\
FROM scratch
ENV MOMENT="moment NUMBER of it"
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "for i in $(/bin/busybox seq 20); do echo tick $i; /bin/busybox sleep 0.2; done"]
"""


class Lane:
    """A project whose builds go to two builder hosts of its own."""

    def __init__(self, folder: Path, ssh: SshBed) -> None:
        self.folder, self.ssh = folder, ssh
        environment = clean_environment(folder) | ssh.environment | {"PYTHONPATH": str(REPOSITORY)}
        self.project = Project(folder, environment)
        self.hits: Counter[str] = Counter()
        self._number = 0

    def start(self) -> Watched:
        """Start a run that has to build and publish another image than before."""
        self._number += 1
        (self.folder / "context" / "Containerfile").write_text(RECIPE.replace("NUMBER", str(self._number)))
        return Watched(self.project.start("-b", "-p", "cc-con"))

    def undisturbed(self) -> float:
        """Return how long a run takes."""
        began = time.monotonic()
        run = self.start()
        assert run.wait(600) == 0, run.lines
        self.require_image()
        return time.monotonic() - began

    def require_image(self) -> None:
        """Check that the site has the image of now, whole, and that it was published once."""
        said = json.loads((self.project.site / "CC-Con.oci.tar.json").read_text())
        content = (self.project.site / "CC-Con.oci.tar").read_bytes()
        assert hashlib.sha512(content).hexdigest() == said["sha512"]
        assert b"moment %d of it" % self._number in content
        events = [json.loads(line) for path in self.project.store.glob("runs/*/events.jsonl") for line in path.open()]
        versions = [each["version"] for each in events if each["event"] == "published"]
        assert len(versions) == len(set(versions)) <= self._number, "none was published twice"

    def killed(self, kind: str, delay: float) -> bool:
        """Kill something at a moment of a run, and check what comes of it; say whether there was something to kill."""
        census = Census(self.ssh)
        census.start()
        run, began = self.start(), time.monotonic()
        time.sleep(delay)
        while not (hit := self._struck(kind, run)) and run.process.poll() is None:
            time.sleep(0.02)
        code = run.wait(600)
        said = f"{self.folder.name} {kind} after {delay:.1f} s: {code}, "
        unmet = code == 2 and "does not answer" in "\n".join(run.lines)  # the run says that it cannot begin
        if (kind == "head" and code == -signal.SIGKILL) or (kind in ("daemon", "link") and unmet):
            code, output = self.project.run("-b", "-p", "cc-con")
            run.lines += output.splitlines()
        said += f"{'hit' if hit else 'missed'}, all well after {time.monotonic() - began:.0f} s"
        most = census.end()
        assert (code, most <= 1) == (0, True), f"{said}, works at a time: {most}\n" + "\n".join(run.lines[-30:])
        self.require_image()
        self.hits[kind] += hit
        print(said, flush=True)
        return hit

    def _struck(self, kind: str, run: Watched) -> bool:
        """Kill what there is of a kind now; say whether there was something."""
        if kind == "head":
            alive = run.process.poll() is None
            run.process.kill()
            return alive
        if kind in ("daemon", "link"):
            self.ssh.interrupt(5, connections=kind == "link")
            return True
        at_work = works(self.ssh)
        for number, name in at_work.items():
            there = [each for each, (host, _) in inhabitants(self.ssh).items() if host == name]
            for each in {"guard": [parent(number)], "work": [number], "builder": there}[kind]:
                with suppress(ProcessLookupError):
                    os.kill(each or number, signal.SIGKILL)
        return bool(at_work)

    def require_nothing_left(self) -> None:
        """Check that no process, mount or temporary folder is left on any host of the lane."""
        deadline = time.monotonic() + 120
        while (left := inhabitants(self.ssh)) and time.monotonic() < deadline:
            time.sleep(1)
        assert not left
        assert str(self.folder) not in Path("/proc/self/mountinfo").read_text()
        self.project.assert_no_leftovers()


@contextmanager
def lane(folder: Path) -> Iterator[Lane]:
    write_files(
        folder,
        images="CC-Con: {builder: containerfile, context: context, formats: [oci]}\n",
        sites="local: {directory: site, formats: [oci]}",
    )
    (folder / "context").mkdir()
    shutil.copy(BUSYBOX, folder / "context" / "busybox")
    with SshBed(folder / "ssh") as ssh:
        (folder / "builders.yaml").write_text(ssh.builder("east") + ssh.builder("west"))
        yield Lane(folder, ssh)


def test_a_kill_at_any_moment_leaves_one_image_and_nothing_else(tmp_path: Path) -> None:
    def went(number: int, kinds: Sequence[str]) -> Counter[str]:
        chosen = random.Random(f"{SEED} {number}")
        folder = tmp_path / f"lane{number}"
        folder.mkdir()
        with lane(folder) as made:
            usual = made.undisturbed()
            for kind in kinds:
                delay = chosen.uniform(0, 0.8 * usual)
                while not made.killed(kind, delay):  # too late: nothing of it was at work any more
                    delay /= 2
            made.require_nothing_left()
        return made.hits

    kinds = [KINDS[number % len(KINDS)] for number in range(MOMENTS)]
    random.Random(SEED).shuffle(kinds)
    with ThreadPoolExecutor(LANES) as lanes:
        hits = sum(lanes.map(went, range(LANES), [kinds[number::LANES] for number in range(LANES)]), Counter())
    print(f"kills that hit something: {dict(hits)}")
    assert hits == Counter(kinds)


def test_a_link_that_is_down_for_five_minutes_ends_in_one_image(tmp_path: Path) -> None:
    def went(delay: float) -> None:
        folder = tmp_path / f"after{delay:.0f}"
        folder.mkdir()
        with lane(folder) as made:
            census = Census(made.ssh)
            census.start()
            run = made.start()
            run.wait_for(r"^\[layer cc-con amd64\] .*on (east|west)")
            time.sleep(delay)
            made.ssh.interrupt(300)
            code = run.wait(900)
            print("\n".join(run.lines[-20:]))
            if code:
                said = "\n".join(run.lines)
                assert (code, "cannot be reached" in said or "does not answer" in said) == (3, True), said
                code, said = made.project.run("-b", "-p", "cc-con")
                assert code == 0, said
            assert census.end() <= 1
            made.require_image()
            made.require_nothing_left()

    with ThreadPoolExecutor() as lanes:
        assert [*lanes.map(went, (0.0, 2.0, 4.0))] == [None] * 3
