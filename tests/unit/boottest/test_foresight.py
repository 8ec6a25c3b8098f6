"""What the disk tells of the checks of a running image."""

from __future__ import annotations

from cc_images.boottest.foresight import problems, sought
from cc_images.model.catalog import USUAL, Checks, Contract, Json
from cc_images.model.contract import named

CHECKS: Checks = {
    "files": {
        "/etc/motd": {"mode": "0644"},
        "/run/x": {},
        "/etc/late": {"made": "boot"},
        "/etc/old": {"absent": "yes"},
    },
    "executables": {"vim": {}},
    "packages": {"chrony": {}, "cloud-init": {"version": ">= 22"}},
    "commands": {
        "cat /proc/cmdline": {"output": "console={console}"},
        "id -un": {"output": "^{user}$"},
        "uname": {"output": "Linux"},
    },
    "kernel": {"nomodeset": {}},
}  # fmt: skip
GOOD: Json = {
    "sought": {"files": {"/etc/motd": "644 root root", "/etc/old": ""}, "executables": {"vim": "/usr/bin/vim"}},
    "packages": {"chrony": "4", "cloud-init:amd64": "22"},
    "cmdline": "root=LABEL=x nomodeset console=ttyS0,115200",
}


def told(facts: Json, contract: Contract, said: Contract = USUAL) -> list[str]:
    return problems(named(CHECKS, said), contract, facts)


def test_only_what_stands_on_the_disk_is_sought() -> None:
    assert sought(CHECKS) == {"files": ["/etc/motd", "/etc/old"], "executables": ["vim"]}


def test_a_good_disk_has_no_problems_and_an_unknown_one_neither() -> None:
    assert told(GOOD, Contract(user="cc")) == []
    assert told({"packages": {}}, Contract(user="cc")) == []


def test_what_no_boot_can_mend_is_told() -> None:
    bad = GOOD | {
        "sought": {"files": {"/etc/motd": "600 root root", "/etc/old": "644 a b"}, "executables": {"vim": ""}},
        "packages": {"cloud-init": "22"},
        "cmdline": "root=LABEL=x console=ttyS1",
    }
    assert told(bad, Contract(user="debian")) == [
        "/etc/motd has mode 0600, not 0644",
        "/etc/old is there",
        "vim is not on the PATH",
        "package chrony is not installed",
        "`cat /proc/cmdline` did not say 'console=tty(S0|AMA0)': BOOT_IMAGE=/boot/vmlinuz root=LABEL=x console=ttyS1"
        "; if that is meant, boot: {console: …} says so",
        "`id -un` did not say '^cc$': debian"
        "; it is cloud-init's default user: boot: {user: debian} says that it is meant",
        "the kernel was started without nomodeset",
    ]


def test_what_the_catalogue_says_of_user_and_console_is_what_the_elements_claim() -> None:
    said = Contract(user="debian", console="ttyS1")
    assert told(GOOD | {"cmdline": "nomodeset console=ttyS1"}, Contract(user="debian", console="ttyS1"), said) == []
    assert "cat /proc/cmdline" not in named(CHECKS, Contract(console="none"))["commands"]


def test_what_a_first_boot_makes_is_left_to_the_boot() -> None:
    names = ("/home/cc", "/var/log/cloud-init.log", "/etc/ssh/sshd_config.d/50-cloud-init.conf", "/run/x", "/root/y")
    assert sought({"files": {name: {} for name in names}})["files"] == []
    assert told(GOOD | {"cmdline": "$kernelopts"}, Contract(user="cc")) == []
