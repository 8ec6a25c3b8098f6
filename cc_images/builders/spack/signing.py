"""The key that signs a build cache: made on first use in a GnuPG home of ours, or one that the user names.

The private key stays in its home: it is no argument, no variable and in no sandbox. gpg needs an agent to use it; one
that we start ends with the command that needs it, also when this process is killed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment
from cc_images.host.files import wait_for_lock, write_bytes
from cc_images.model.plain_text import clean

PATIENCE = 60.0
"""Seconds that gpg may take; a key that asks for a passphrase needs an agent that knows it."""

AT_ONCE = 200
"""Texts whose signatures one gpg looks at."""

OWNER = "cc-images build cache"

_FINGERPRINT = re.compile(r"[0-9A-F]{40}([0-9A-F]{24})?")
_PARAMETERS = f"""%no-protection
Key-Type: RSA
Key-Length: 3072
Key-Usage: sign
Name-Real: {OWNER}
Expire-Date: 0
%commit
"""
"""A key without passphrase, of a kind that every GnuPG of the last years and hosts in FIPS mode know."""

_LINK, _KNOWN = "home", "cc-images.key"


def own_home() -> Path:
    """Return the folder of our key: below the user's configuration."""
    said = environment.variable("XDG_CONFIG_HOME")
    return (Path(said) if said else Path.home() / ".config") / "cc-images" / "spack" / "gnupg"


@dataclass(frozen=True, slots=True)
class Signer:
    """A key in a GnuPG home; without `fingerprint` the only one there. `makes`: it is made when it is not there."""

    home: Path
    fingerprint: str = ""
    makes: bool = False

    @classmethod
    def of(cls, key: str, home: Path | None = None) -> Signer:
        """Return the signer of a key as sites.yaml names it: a fingerprint of the user's, a home, or nothing: ours."""
        if not key:
            return cls(home or own_home(), makes=True)
        if not key.startswith("/"):
            said = environment.variable("GNUPGHOME")
            return cls(Path(said) if said else Path.home() / ".gnupg", key.replace(" ", "").upper())
        return cls(Path(key))

    def is_made(self) -> bool:
        """Say whether the key is there; one of ours is made on first use."""
        return not self.makes or (self.home / _KNOWN).exists()

    def public_key(self) -> str:
        """Return the public key, in ASCII armour; a key of ours is made first. Raises CCImagesError."""
        with self._at_hand() as home:
            return self._exported(home, self._key(home))

    def signed(self, text: str) -> str:
        """Return a text with a clear signature. Raises CCImagesError for a key that does not sign."""
        with self._at_hand() as home, tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
            plain, signed = Path(folder, "text"), Path(folder, "signed")
            plain.write_text(text)
            key = self._key(home)
            with_agent(home, ["--local-user", key, "--output", str(signed), "--clearsign", str(plain)], self._refused)
            return signed.read_text()

    @contextmanager
    def _at_hand(self) -> Iterator[Path]:
        """Give the home under a short name, since sockets have short ones, to one process at a time."""
        if self.makes:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.home.chmod(0o700)
        elif not self.home.is_dir():
            raise self._refused(f"{self.home} is no folder")
        with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
            home = Path(folder, _LINK)
            home.symlink_to(self.home.absolute())
            descriptor = wait_for_lock(self.home / "cc-images.lock")
            with open(descriptor, "rb"):
                yield home

    def _key(self, home: Path) -> str:
        """Return the key's fingerprint."""
        if self.fingerprint:
            return self.fingerprint
        known = self.home / _KNOWN
        if self.makes and known.exists():
            return known.read_text().strip()
        found = self._secret_keys(home)
        if not found and self.makes:
            with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
                parameters = Path(folder, "parameters")
                parameters.write_text(_PARAMETERS)
                with_agent(home, ["--gen-key", str(parameters)], self._refused)
            found = self._secret_keys(home)
        if len(found) != 1 and not (found and self.makes):
            raise self._refused(f"{self.home} has {len(found) or 'no'} private keys; name one by its fingerprint")
        if self.makes:
            write_bytes(known, f"{found[0]}\n".encode())
        return found[0]

    def _secret_keys(self, home: Path) -> list[str]:
        said = with_agent(home, ["--with-colons", "--list-secret-keys"], self._refused)
        return re.findall(r"^sec:(?:.*\n)fpr:{9}([0-9A-F]+):", said, re.MULTILINE)

    def _exported(self, home: Path, key: str) -> str:
        done = _run(["gpg", "--homedir", str(home), "--batch", "--no-autostart", "--armor", "--export", key])
        if "BEGIN PGP PUBLIC KEY" not in done.stdout:
            raise self._refused(f"there is no key {key}")
        return done.stdout

    def _refused(self, why: str) -> CCImagesError:
        return CCImagesError(
            f"the key of the build cache in {self.home} does not sign: {why}",
            hint="correct `key` of the build cache in sites.yaml"
            if not self.makes
            else "look at that folder; without it a new key is made, and what the old one signed is built again",
            reason=Reason.SIGNATURE,
        )


class Keyring:
    """Public keys whose signatures count; no agent and no home of the user's is asked."""

    def __init__(self, public_keys: Sequence[str]) -> None:
        self._keys = b"".join(map(_dearmored, public_keys))

    def verified(self, signed: Sequence[bytes]) -> list[bool]:
        """Say of each clearsigned text whether one of the keys has signed it."""
        if not (signed and self._keys):
            return [False] * len(signed)
        with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
            ring = Path(folder, "trusted.gpg")
            ring.write_bytes(self._keys)
            files = [Path(folder, str(number)) for number in range(len(signed))]
            for file, content in zip(files, signed, strict=True):
                file.write_bytes(content)
            gpg = ["gpg", "--homedir", folder, "--batch", "--no-autostart", "--no-default-keyring", "--keyring",
                   str(ring), "--trust-model", "always", "--status-fd", "1", "--verify-files"]  # fmt: skip
            good: list[bool] = []
            while left := files[len(good) :][:AT_ONCE]:
                said = _run([*gpg, *map(str, left)]).stdout.split("[GNUPG:] FILE_START ")[1:]
                good += map(_is_good, said)  # gpg ends at a bad signature: the rest is for the next one
                if not said:
                    raise CCImagesError("gpg verifies no signatures", hint="check GnuPG", reason=Reason.SIGNATURE)
        return good


def _is_good(said: str) -> bool:
    """Say whether gpg's status lines tell of one signature, which is good."""
    words = [line.split()[1] for line in said.splitlines() if line.startswith("[GNUPG:] ")]
    once = all(words.count(each) == 1 for each in ("NEWSIG", "GOODSIG", "VALIDSIG", "FILE_DONE"))
    return once and not {"EXPKEYSIG", "REVKEYSIG", "EXPSIG", "BADSIG", "ERRSIG", "ERROR"} & set(words)


def _dearmored(key: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
        made = Path(folder, "key")
        done = _run(["gpg", "--homedir", folder, "--batch", "--no-autostart", "--output", str(made), "--dearmor"], key)
        found = made.read_bytes() if made.exists() else b""
    if done.returncode != 0 or not found:
        raise CCImagesError(
            "a public key that is trusted for the build cache is none",
            hint="write it there with `gpg --armor --export KEY`; see `trust` in sites.yaml",
            reason=Reason.SIGNATURE,
        )
    return found


def fingerprint_of(public_key: str) -> str:
    """Return the fingerprint of an armored public key. Raises CCImagesError for none."""
    with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
        argv = ["gpg", "--homedir", folder, "--batch", "--no-autostart", "--with-colons", "--show-keys"]
        done = _run(argv, public_key)
    found = re.search(r"^fpr:{9}([0-9A-F]+):", done.stdout, re.MULTILINE)
    if found is None or not _FINGERPRINT.fullmatch(found[1]):
        raise CCImagesError("a public key of a build cache is none", reason=Reason.SIGNATURE)
    return found[1]


def with_agent(home: Path, words: Sequence[str], refused: Callable[[str], CCImagesError]) -> str:
    """Run gpg and return its output; an agent that is needed and does not run yet runs as long as gpg does."""
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--no-autostart", *words]
    runs = _run(["gpg-agent", "--homedir", str(home)]).returncode == 0
    agent = ["gpg-agent", "--homedir", str(home), "--disable-scdaemon", "--quiet", "--daemon", "--"]
    try:
        done = _run(gpg if runs else [*agent, *gpg])
    finally:
        if not runs:  # it would notice within seconds that gpg has ended
            _run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"])
    if done.returncode != 0:
        said = clean(done.stderr.encode()).strip().splitlines()
        raise refused(said[-1] if said else "no reason is given")
    return done.stdout


def _environment() -> dict[str, str]:
    return environment.plain(HOME=str(Path.home()))


def _run(argv: Sequence[str], content: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which(argv[0]) is None:
        raise CCImagesError(
            f"the program {argv[0]} is missing", hint="install GnuPG (Debian: gnupg)",
            reason=Reason.MISSING_TOOL,
        )  # fmt: skip
    try:
        return subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv], input=content, env=_environment(), capture_output=True,
            text=True, errors="replace", timeout=PATIENCE, start_new_session=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CCImagesError(
            f"{argv[0]} takes longer than {PATIENCE:.0f} s",
            hint="a key with a passphrase needs an agent that knows it",
            reason=Reason.SIGNATURE,
        ) from error  # fmt: skip
