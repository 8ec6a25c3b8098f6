"""Doctor: what a dead run has left on the host is listed, mended, and nothing of a living one is touched."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess

from tests.real.conftest import Project


def test_what_a_dead_run_left_is_listed_and_mended(project: Project) -> None:
    dead, alive = project.store / "work" / "20260101T000000Z", project.store / "work" / "20260102T000000Z"
    for work in (dead, alive):
        (work / "mnt").mkdir(parents=True)
        (work / "lock").touch()
    keeper = os.open(alive / "lock", os.O_RDWR)
    fcntl.flock(keeper, fcntl.LOCK_EX)
    (dead / "disk.raw").write_bytes(bytes(1 << 20))
    sleepers = [
        subprocess.Popen(["sleep", "600"], env={"TMPDIR": str(work / "guest")}, start_new_session=True)
        for work in (dead, alive)
    ]
    onlooker = subprocess.Popen(["sh", "-c", f"cd {dead} && sleep 600; echo {dead}/serial.log"], start_new_session=True)
    person, terminal = pty.fork()
    if person == 0:
        os.chdir(dead)
        os.execvp("sleep", ["sleep", "600"])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", dead / "mnt"], check=True)
    command = ["losetup", "--find", "--show", str(dead / "disk.raw")]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        code, output = project.run("doctor", "--dry-run", "--json")
        left = json.loads(output)["left"]
        assert f"process {sleepers[0].pid} (sleep)" in left
        assert f"mount {dead / 'mnt'}" in left
        assert any(device in each for each in left)
        assert "run 20260101T000000Z: its folder" in left
        spared = ("20260102", f"process {sleepers[1].pid} ", f"process {person} ", f"process {onlooker.pid} ")
        assert not any(each in line for line in left for each in spared), "a living run, and a person who looks"
        code, output = project.run("doctor", "--mend", "--json")
        assert code in (0, 3), "the host may lack something that this test does not need"
        assert f"mount {dead / 'mnt'}: removed" in json.loads(output)["left"]
        assert sleepers[0].wait(10) == -9
        assert not dead.exists()
        assert sleepers[1].poll() is None
        assert os.waitpid(person, os.WNOHANG) == (0, 0)
        assert onlooker.poll() is None
    finally:
        os.killpg(onlooker.pid, signal.SIGKILL)
        for sleeper in (*sleepers, onlooker):
            sleeper.kill()
            sleeper.wait()
        os.kill(person, signal.SIGKILL)
        os.waitpid(person, 0)
        os.close(terminal)
        os.close(keeper)
    assert json.loads(project.run("doctor", "--mend", "--json")[1])["left"] == [
        "run 20260102T000000Z: removed its folder"
    ]
