"""What a sandbox shows, hides and forbids; and that loop devices die with it."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_images.builders.dib import command
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import network, process, root, sandbox
from cc_images.host.sandbox import Sandbox
from tests.support.leaks import loops, orphaned_loops

sys.path.insert(0, str(root.TOOLBOX))  # as the programs of the toolbox find each other
devices = importlib.import_module("devices")


def enter(tmp_path: Path, script: str, *visible: Path, timeout: float = 60, tmpfs_mib: int = 0) -> list[str]:
    """Run a shell script in a sandbox below `tmp_path` and return its output."""
    lines: list[str] = []
    box = Sandbox(workspace=tmp_path / "box", guards=tmp_path / "guards", visible=visible, tmpfs_mib=tmpfs_mib, cores=1)
    (tmp_path / "box").mkdir(exist_ok=True)
    with (tmp_path / "log").open("wb") as log:
        box.run(["sh", "-euc", script], {}, log=log, timeout=timeout, stop=threading.Event(), on_line=lines.append)
    return lines


def test_root_leaves_no_files_among_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolbox = tmp_path / "toolbox"
    shutil.copytree(root.TOOLBOX, toolbox, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sandbox, "TOOLBOX", toolbox)
    enter(tmp_path, "true")
    assert not (toolbox / "__pycache__").exists()


def test_the_host_is_read_only_and_the_workspace_is_not(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    script = """
    ! touch /etc/x /root/x /usr/x 2>/dev/null
    touch $HOME/x $TMPDIR/x /var/tmp/x $DIB_IMAGE_CACHE/x
    echo result > %s/box/out/result
    echo $(id -u) $(ls /tmp)
    """
    shown = [tmp_path, root.TOOLBOX.resolve(), Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    ways = {path.parts[2] for path in shown if path.is_relative_to("/tmp")}
    said = enter(tmp_path, script % tmp_path)[-1].split()
    assert (said[0], {*said[1:]}) == ("0", {"x", *ways}), "in /tmp are the touched file and ways to what is shown"
    assert (tmp_path / "box/out/result").read_text() == "result\n"
    assert not (tmp_path / "box/scratch").exists()


def test_dev_is_private_and_small(tmp_path: Path) -> None:
    lines = enter(tmp_path, "rm -rf /dev/shm/* /dev/null; ls /dev; echo x > /dev/full || true; tty || true")
    assert os.path.exists("/dev/null")
    assert not {"vda", "sda", "mem", "kmsg"} & set(lines)


def test_processes_of_the_host_are_not_seen(tmp_path: Path) -> None:
    assert enter(tmp_path, "echo $$; ls -d /proc/[0-9]* | wc -l")[0] == "2"


def test_files_below_tmp_that_are_named_are_seen(tmp_path: Path) -> None:
    named, hidden = tmp_path / "named", tmp_path / "hidden"
    named.write_text("here\n")
    hidden.write_text("")
    lines = enter(tmp_path, f"cat {named}; test ! -e {hidden}; ! echo x > {named} 2>/dev/null", named)
    assert lines[0] == "here"


def test_the_kernels_knobs_are_read_only(tmp_path: Path) -> None:
    enter(tmp_path, "! echo 60 > /proc/sys/vm/swappiness 2>/dev/null")


@pytest.mark.parametrize("controller", ["pids", "memory"])
def test_processes_and_memory_are_bounded_where_the_host_has_control_groups(tmp_path: Path, controller: str) -> None:
    if not any(version == 1 for version, _ in devices.groups(controller)):
        pytest.skip(f"the host has no control group of version 1 for {controller}")
    lines = enter(tmp_path, "cat /proc/self/cgroup")
    (group,) = [line for line in lines if controller in line.split(":")[1].split(",")]
    assert devices.PREFIX in group
    left = [found for _, place in devices.groups(controller) for found in place.glob(f"{devices.PREFIX}*")]
    assert [str(each) for each in left if each.name == group.rpartition("/")[2]] == [], "it goes with the sandbox"


def test_a_build_that_makes_processes_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not devices.groups("pids"):
        pytest.skip("the host has no control group for processes")
    toolbox = tmp_path / "toolbox"
    shutil.copytree(root.TOOLBOX, toolbox, ignore=shutil.ignore_patterns("__pycache__"))
    bounded = (toolbox / "devices.py").read_text().replace("PROCESSES = 16384", "PROCESSES = 60")
    (toolbox / "devices.py").write_text(bounded)
    monkeypatch.setattr(sandbox, "TOOLBOX", toolbox)
    script = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i + 1)); done"
    with pytest.raises(process.CommandFailed):
        enter(tmp_path, script)
    assert any("fork" in line.lower() for line in (tmp_path / "log").read_text().splitlines())


def networked(tmp_path: Path, kind: str, script: str, on_line: Callable[[str], None] = lambda _: None) -> list[str]:
    """Run a shell script in a sandbox with a network of this kind; port is that of a service on the host's loopback."""
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        on_line(line)

    box = Sandbox(
        workspace=tmp_path / "box", guards=tmp_path / "guards", cores=1, network=kind, outlet=network.program()
    )
    (tmp_path / "box").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as server, (tmp_path / "log").open("wb") as log:
        environment = {"PORT": str(server.getsockname()[1])}
        box.run(["bash", "-uc", script], environment, log=log, timeout=60, stop=threading.Event(), on_line=take)
    return lines


REACH = "(exec 3<> /dev/tcp/127.0.0.1/$PORT) 2> /dev/null && echo reached; cat /proc/net/dev | cut -d: -f1 | tail -n +3"


def test_a_look_has_no_network_and_a_build_without_one_of_its_own_the_hosts(tmp_path: Path) -> None:
    assert [line.strip() for line in networked(tmp_path, "none", REACH)] == ["lo"]
    shutil.rmtree(tmp_path / "box")
    assert networked(tmp_path, "host", REACH)[0] == "reached"


@pytest.mark.skipif(not network.program(), reason="needs slirp4netns and /dev/net/tun")
def test_a_private_network_has_a_way_out_and_not_to_the_hosts_loopback(tmp_path: Path) -> None:
    address = next(
        line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if "nameserver" in line
    )
    script = f"{REACH}; cat /etc/resolv.conf; timeout 20 bash -c 'exec 3<> /dev/tcp/{address}/53' && echo out"
    during: list[bool] = []
    lines = networked(tmp_path, "private", script, lambda _: during.append(bool(writing_below(tmp_path))))
    said = [line.strip() for line in lines]
    assert said == ["lo", "tap0", f"nameserver {sandbox.NAMESERVER}", "out"]
    assert any(during), "its program runs"
    assert not writing_below(tmp_path), "it ends with the sandbox"


def writing_below(folder: Path) -> list[str]:
    """Return where processes write to in a folder; the program of a way out does, in a sandbox's workspace."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/2"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(path))
    return [each for each in found if str(folder) in each]


ATTACKS = r"""
try() { if "$@" > /dev/null 2>&1; then echo "could: $*"; fi; }
try mount -o remount,rw,bind /
try mount -o remount,rw /usr
try mount -o remount,rw /etc
try mount -o remount,rw /proc/sys
for each in /usr /etc "$NAMED"; do try touch "$each/cc-attack"; done
try sh -c 'echo more >> "$NAMED/file"'
key() { "$CC_IMAGES_PYTHON" -c '
import ctypes, sys
sys.exit(ctypes.CDLL(None).syscall(248, b"user", b"x", b"y", 1, -3) < 0)'; }
try key
mknod $HOME/disk b $MAJOR $MINOR
try dd if=$HOME/disk of=/dev/null count=1
mknod $HOME/mem c 1 1
try dd if=$HOME/mem of=/dev/null count=1
try date -s 2030-01-01
try rmmod loop
try sh -c 'kill -0 $OUTSIDE'
real=$CC_IMAGES_UMOUNT
$real -l /proc; ls -d /proc/[0-9]* 2> /dev/null | sed 's/^/sees process: /'
mount -t proc proc /proc
$real -l /tmp; $real -l /etc; ls -A /tmp /etc | grep -v '^/\|^$' | sed 's/^/sees: /'
try cat /etc/shadow "$SECRET"
try ls /var/lib/docker /root/.ssh /home/*
echo over
"""


def test_what_root_in_a_sandbox_is_kept_from(tmp_path: Path) -> None:
    named, secret = tmp_path / "named", tmp_path / "secret"
    named.mkdir()
    (named / "file").write_text("precious\n")
    secret.write_text("")
    device = os.stat("/").st_dev
    variables = {"NAMED": named, "SECRET": secret, "MAJOR": os.major(device), "MINOR": os.minor(device),
                 "OUTSIDE": os.getpid()}  # fmt: skip
    told = "\n".join(f"export {name}='{value}'" for name, value in variables.items())
    lines = enter(tmp_path, f"set +e\n{told}\n{ATTACKS}", named)
    assert [line for line in lines if not line.startswith("sandbox: downloads")] == ["over"]
    assert (named / "file").read_text() == "precious\n"


def test_only_what_everybody_may_read_is_there_of_etc(tmp_path: Path) -> None:
    lines = enter(tmp_path, "id -un; ls /etc/passwd; ls /etc/shadow /etc/gshadow /etc/sudoers 2> /dev/null || true")
    assert lines == ["root", "/etc/passwd"]


def test_a_chroots_proc_has_no_knobs_to_turn_and_can_be_unmounted(tmp_path: Path) -> None:
    script = """
    mkdir $HOME/proc
    sudo mount -t proc none $HOME/proc
    ! sh -c 'echo 60 > $HOME/proc/sys/vm/swappiness' 2> /dev/null
    cat $HOME/proc/sys/kernel/ostype
    sudo umount $HOME/proc
    grep -c $HOME/proc /proc/self/mounts || true
    """
    assert enter(tmp_path, script) == ["Linux", "0"]


def test_every_process_has_ended_before_results_are_read(tmp_path: Path) -> None:
    out = tmp_path / "box" / "out"
    script = f"""
    echo real > {out}/disk.raw
    setsid sh -c 'while :; do ln -sf /etc/shadow {out}/disk.raw; sleep 0.01; done' < /dev/null &
    sleep 0.3
    ln -sf /etc/shadow {out}/disk.raw
    """
    enter(tmp_path, script)
    before = (out / "disk.raw").lstat().st_ctime_ns
    time.sleep(0.1)
    assert (out / "disk.raw").lstat().st_ctime_ns == before
    with pytest.raises(CCImagesError, match=r"left something other than a file at disk\.raw"):
        command.left(out / "disk.raw")


def test_files_are_mounted_through_loop_devices_that_are_freed(tmp_path: Path) -> None:
    script = """
    truncate -s 16M $HOME/disk; mkfs.ext4 -q $HOME/disk
    mkdir $HOME/a $HOME/b
    sudo mount -o loop,noatime $HOME/disk $HOME/a; echo here > $HOME/a/file; sudo umount $HOME/a
    mount $HOME/disk $HOME/b; cat $HOME/b/file; umount $HOME/b
    mount -o ro,loop -t ext4 $NAMED $HOME/a; cat $HOME/a/file; ! touch $HOME/a/x 2> /dev/null; umount $HOME/a
    device=$(losetup -f --show $NAMED); blockdev --getro $device; losetup -d $device
    device=$(losetup -rf --show --offset 1MiB $HOME/disk); blockdev --getsize64 $device; losetup --detach $device
    ls /dev/.holders
    """
    named = tmp_path / "vendor.img"
    subprocess.run(["truncate", "-s", "16M", named], check=True)
    subprocess.run(["mkfs.ext4", "-q", named], check=True)
    subprocess.run(["debugfs", "-w", "-R", f"write {__file__} file", named], check=True, capture_output=True)
    lines = enter(tmp_path, f"NAMED={named}\n{script}", named)
    assert lines[0] == "here"
    assert lines[1] == Path(__file__).read_text().splitlines()[0]
    assert lines[-2:] == ["1", str(15 << 20)]


@pytest.mark.parametrize(
    ("words", "said"),
    [("-u nobody id -un", "nobody"), ("--user=nobody id -un", "nobody"), ("-unobody id -un", "nobody"),
     ("-u '#0' id -un", "root"), ("-EH id -un", "root"), ("-nE id -un", "root"), ("-n -- id -un", "root"),
     ("--preserve-env=PATH,HOME id -un", "root"), ("-i id -un", "root"), ("-v && echo fine", "fine"),
     ("-E A=b sh -c 'echo $A'", "b"), ("-- A=c sh -c 'echo $A'", "c"),
     ("-iu nobody sh -c 'echo $HOME'", "/nonexistent"),
     ("-Hu nobody env A='x y' sh -c 'echo $A'", "x y"), ("-g nogroup id -gn", "nogroup")],
)  # fmt: skip
def test_sudos_options(tmp_path: Path, words: str, said: str) -> None:
    assert enter(tmp_path, f"sudo {words}") == [said]


def test_paths_with_odd_names_are_plain_inside(tmp_path: Path) -> None:
    odd = tmp_path / "a 'b': (c)"
    odd.mkdir()
    (odd / "file").write_text("here")
    (odd / "box").mkdir()
    box = Sandbox(workspace=odd / "box", guards=odd / "guards", visible=(odd,), cores=1)
    lines: list[str] = []
    script = f"cat {box.place(odd / 'file')}; echo; cd $HOME; pwd; echo x > {box.place(box.out)}/result"
    with (odd / "log").open("wb") as log:
        box.run(["sh", "-euc", script], {}, log=log, timeout=60, stop=threading.Event(), on_line=lines.append)
    assert lines == ["here", "/cc-images/0/scratch/home"]
    assert (box.out / "result").read_text() == "x\n"


def test_a_named_file_of_the_store_cannot_be_changed(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_text("precious\n")
    link = tmp_path / "box" / "artifacts" / "x"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    lines = enter(tmp_path, f"cat {link}; ! echo more >> {link} 2>/dev/null", blob)
    assert lines[0] == "precious"
    assert blob.read_text() == "precious\n"


def test_the_environment_is_no_part_of_argv_and_the_order_is_removed(tmp_path: Path) -> None:
    enter(tmp_path, "! grep -z DIB_IMAGE_CACHE /proc/1/cmdline")
    assert not (tmp_path / "box/spec.json").exists()


LOOPS = """
truncate -s 64M $HOME/disk
sgdisk -n 1:0:+16M -n 2:0:+32M $HOME/disk > /dev/null
disk=$(sudo losetup --show -f $HOME/disk)
sudo kpartx -avs $disk
mkfs.ext4 -q /dev/mapper/${disk#/dev/}p2
mkfs.vfat /dev/mapper/${disk#/dev/}p1 > /dev/null
mkdir $HOME/a $HOME/b
sudo mount /dev/mapper/${disk#/dev/}p2 $HOME/a
sudo mount /dev/mapper/${disk#/dev/}p1 $HOME/b
echo ext4 > $HOME/a/file
echo fat > $HOME/b/file
"""


def test_partitions_without_device_mapper(tmp_path: Path) -> None:
    script = (
        LOOPS
        + """
    sudo umount $HOME/b
    sudo mount /dev/mapper/${disk#/dev/}p1 $HOME/b
    cat $HOME/a/file $HOME/b/file
    fstrim $HOME/a
    sudo umount $HOME/a $HOME/b
    sudo kpartx -d $disk
    sudo losetup -d $disk
    echo left: $(losetup --list --noheadings | grep -c $HOME) $(ls /dev/mapper)
    """
    )
    lines = enter(tmp_path, script)
    assert lines[-3:-1] == ["ext4", "fat"] or lines[-4:-2] == ["ext4", "fat"] or "fat" in lines
    assert lines[-1] == "left: 0"


@pytest.mark.parametrize("how", ["timeout", "stop"])
def test_loop_devices_and_mounts_die_with_the_sandbox(tmp_path: Path, how: str) -> None:
    stop, seen = threading.Event(), set[str]()
    box = Sandbox(workspace=tmp_path / "box", guards=tmp_path / "guards", cores=1)
    (tmp_path / "box").mkdir()

    def heard(line: str) -> None:
        if line == "ready":
            seen.update(loops(tmp_path))
            if how == "stop":
                stop.set()

    expected = Interrupted if how == "stop" else process.TimedOut
    with (tmp_path / "log").open("wb") as log, pytest.raises(expected):
        box.run(
            ["sh", "-euc", LOOPS + "echo ready; sleep 600"],
            {},
            log=log,
            timeout=30 if how == "timeout" else 60,
            stop=stop,
            on_line=heard,
        )
    deadline = time.monotonic() + 60
    while seen & orphaned_loops() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen
    assert not seen & orphaned_loops()
    assert not box.scratch.exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_tmpfs_is_used_when_memory_was_booked(tmp_path: Path) -> None:
    lines = enter(tmp_path, "df --output=fstype,size $HOME | tail -n 1", tmpfs_mib=64)
    assert lines[-1].split() == ["tmpfs", "65536"]


def test_exit_codes_come_out(tmp_path: Path) -> None:
    with pytest.raises(process.CommandFailed) as caught:
        enter(tmp_path, "echo why; exit 41")
    assert caught.value.code == 41


def test_nothing_is_removed_below_a_mount(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    (folder / "mounted").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "mounted"], check=True)
    try:
        (folder / "mounted" / "precious").write_text("")
        with pytest.raises(CCImagesError, match="is mounted there"):
            root.remove(folder)
        assert (folder / "mounted" / "precious").exists()
    finally:
        subprocess.run(["umount", folder / "mounted"], check=True)
    root.remove(folder)
    assert not folder.exists()
