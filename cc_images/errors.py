"""The errors that cc-images knows: what went wrong, why in a machine's word, and what to do about it.

A bug is any other exception. No error is changed after it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Reason(StrEnum):
    """Stable words for why something failed, for programs; docs/events.md lists them. Words are only ever added."""

    FAILED = "failed"
    """Something failed that has no word of its own."""
    BUG = "bug"
    """cc-images is at fault; the log has the traceback."""
    INTERRUPTED = "interrupted"
    """The run was asked to stop."""
    CONFIGURATION = "configuration"
    """The configuration is wrong; each mistake has a line."""
    UNKNOWN_IMAGE = "unknown-image"
    """No image of the catalog has this tag."""
    UNKNOWN_ARCH = "unknown-arch"
    """An image is not made for this architecture."""
    UNKNOWN_SITE = "unknown-site"
    """No site has this name."""
    UNKNOWN_RUN = "unknown-run"
    """No run has this name."""
    UNKNOWN_MIRROR = "unknown-mirror"
    """An address begins with the name of a mirror that nothing sets."""
    ABSTRACT = "abstract"
    """An abstract image is not built; others are."""
    NOTHING_SCHEDULED = "nothing-scheduled"
    """The settings name no images for scheduled runs."""
    VARIABLES = "variables"
    """The variables.yaml of an element is wrong."""
    VALUE = "value"
    """A variable has a value that cannot be."""
    CHECKS = "checks"
    """The checks.yaml of an element is wrong."""
    MISSING_ELEMENT = "missing-element"
    """An element is in none of the folders."""
    PROVIDED_TWICE = "provided-twice"
    """Two elements provide the same."""
    WITHOUT = "without"
    """An element that is left out is needed by another one."""
    IGNORED_HOOKS = "ignored-hooks"
    """dib would pass over hooks of an element."""
    NO_DISK = "no-disk"
    """The elements make no disk."""
    ODD_FILE = "odd-file"
    """A file of an element is neither regular, nor a link, nor a folder."""
    TOO_MANY_FILES = "too-many-files"
    """A variable names a folder with too many files."""
    MISSING_FILE = "missing-file"
    """A file or folder that is needed is not there."""
    NEVER_BUILT = "never-built"
    """The store has no build of the image."""
    NOT_KEPT = "not-kept"
    """The store has kept no tree of a build of the image."""
    NOT_IN_FORCE = "not-in-force"
    """No stored build serves the present inputs."""
    GONE = "gone"
    """A version, layer or image was removed meanwhile."""
    OTHER_INPUTS = "other-inputs"
    """A stored build was made from other inputs than those of today."""
    DAMAGED = "damaged"
    """A stored file is not what its digest says."""
    NO_RESULT = "no-result"
    """A build has left no file, or one that is none."""
    TIMEOUT = "timeout"
    """A command or build took longer than it may."""
    KILLED = "killed"
    """The guard of a sandbox was killed."""
    DIB = "dib"
    """A hook of a build failed."""
    COMMAND = "command"
    """A command ended with an error."""
    IMAGE_FULL = "image-full"
    """The file system in the image is full."""
    DISK_FULL = "disk-full"
    """The disk or memory of the host is full."""
    DISK_FAULT = "disk-fault"
    """The disk of the store reports errors."""
    STORE_UNREADABLE = "store-unreadable"
    """A record of the store cannot be read, or was written by a newer cc-images."""
    STORE_UNWRITABLE = "store-unwritable"
    """The store cannot be written to by this user."""
    READ_ONLY = "read-only"
    """A file system is read-only."""
    UNFIT = "unfit"
    """A builder host differs from the head in a tool, a version or an architecture."""
    BUILDER = "builder"
    """A builder host, its job or the link to it is lost, or refuses."""
    BUSY = "busy"
    """Another run or program is at work on the same."""
    MISSING_TOOL = "missing-tool"
    """The host lacks a program."""
    MISSING_DEVICE = "missing-device"
    """The host lacks a device."""
    NO_ROOT = "no-root"
    """The build needs root, and sudo does not give it."""
    SANDBOX = "sandbox"
    """The host cannot make a sandbox."""
    NO_EMULATION = "no-emulation"
    """The host cannot run programs of an architecture."""
    DISK_TOOLS = "disk-tools"
    """The programs that write disks could not be fetched."""
    TWINS = "twins"
    """Native twins could not be made."""
    MOUNTED = "mounted"
    """Something is still mounted below a folder that is to be removed."""
    FETCH = "fetch"
    """A download failed."""
    RANGE = "range"
    """A server has nothing behind what was fetched so far."""
    DIGEST = "digest"
    """A download is not what the catalog says."""
    OFFLINE = "offline"
    """A source was never fetched, and --offline forbids to do so now."""
    CLOUD = "cloud"
    """clouds.yaml has no usable entry for a site."""
    CREDENTIALS = "credentials"
    """A site refuses the credentials."""
    FORBIDDEN = "forbidden"
    """The role of the user does not allow this."""
    QUOTA = "quota"
    """A site has no room for the image."""
    UNREACHABLE = "unreachable"
    """A site does not answer."""
    SITE = "site"
    """A site refused a request."""
    CONFLICT = "conflict"
    """Somebody else changed the same on a site."""
    AMBIGUOUS = "ambiguous"
    """Several images on a site have the name."""
    VACANT = "vacant"
    """No image on a site has the name now."""
    VERIFICATION = "verification"
    """A site holds other bytes than were sent."""
    CATALOGUE = "catalogue"
    """A catalogue to pull from has something that is none of ours."""
    SIGNATURE = "signature"
    """Something is not signed by a trusted key, or a key does not sign."""
    UNHEALTHY = "unhealthy"
    """A version is bad on a site, and goes no further."""
    INSECURE = "insecure"
    """A version lacks security updates, or nobody can say, and the site refuses it."""
    CONTRACT = "contract"
    """A container does not keep a contract of the site."""
    UNKNOWN_HEALTH = "unknown-health"
    """Nobody can say whether a version is well on a site."""
    LOST = "lost"
    """A builder host was lost with its work."""
    REFUSED = "refused"
    """A builder host brought a result that does not count."""
    GIVEN_UP = "given-up"
    """A push ended after failures, which have errors of their own."""
    BOOT_INSIDE = "boot-inside"
    """An image has inside what no image may have, or lacks what checks ask for."""
    BOOT_FIRMWARE = "boot-firmware"
    """A guest did not get to its firmware."""
    BOOT_BOOT_LOADER = "boot-boot-loader"
    """A guest did not get to its boot loader."""
    BOOT_KERNEL = "boot-kernel"
    """A guest did not get to its kernel."""
    BOOT_LOGIN = "boot-login"
    """A guest did not get to a login prompt."""
    BOOT_CLOUD_INIT = "boot-cloud-init"
    """cloud-init did not finish without errors."""
    BOOT_SSH = "boot-ssh"
    """A guest did not answer by ssh."""
    BOOT_SYSTEMD = "boot-systemd"
    """Units failed in a guest."""
    BOOT_STARTS = "boot-starts"
    """A container did not start, or did not listen on its ports."""
    BOOT_CHECKS = "boot-checks"
    """Checks failed in a guest or container."""
    BOOT_UNLIKE = "boot-unlike"
    """Two files of a version hold different disks."""
    BOOT_SECRETS = "boot-secrets"
    """The secrets of a build are not at hand, so nothing can look for them."""
    EMULATION = "emulation"
    """QEMU failed."""
    NOT_SELF_CONTAINED = "not-self-contained"
    """An image file refers to other files."""
    NO_SYSTEM = "no-system"
    """There is no Linux root file system in a file."""
    NO_BROWSER = "no-browser"
    """No browser could be started."""
    HUB = "hub"
    """The head of a build on another host does not answer, or refuses a call."""
    FENCED = "fenced"
    """The head has given up an attempt on another host, or another execution of it holds its lease."""


class CCImagesError(Exception):
    """Say what failed in one sentence.

    `hint` is what the user can do, `temporary` whether the same call may succeed later without anybody changing
    anything, `tail` the last lines of what tells more, if anything does.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        reason: Reason = Reason.FAILED,
        temporary: bool = False,
        tail: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason
        self.temporary = temporary
        self.tail = tuple(tail)


class UserError(CCImagesError):
    """The input is at fault: command line, environment or files. Nothing has run."""

    exit_code = 2


class ConfigError(UserError):
    """Every mistake that was found in the configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), reason=Reason.CONFIGURATION)
        self.problems = problems


class Interrupted(CCImagesError):
    """The work was ended because the run was asked to stop."""

    exit_code = 130

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message, reason=Reason.INTERRUPTED)
