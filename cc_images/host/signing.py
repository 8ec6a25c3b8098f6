"""Signatures by ssh keys (`ssh-keygen -Y`) and by GPG; a secret key is its program's and its agent's business.

What is trusted is a file: ssh's list of allowed signers (see ssh-keygen(1), ALLOWED SIGNERS), or exported GPG keys.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import environment
from cc_images.model.plain_text import clean

NAMESPACE = "cc-images"
"""What ssh signatures are for: one that was made for something else counts for nothing."""

PATIENCE = 60.0
"""Seconds that a program may take; a key that asks for a passphrase needs an agent."""

GPG = "gpg:"
"""What a GPG key's fingerprint, or the name of its owner, begins with in the settings."""

_BAD = {"BADSIG": "other content was signed", "EXPKEYSIG": "its key has expired", "REVKEYSIG": "its key was revoked",
        "NO_PUBKEY": "its key is not among the trusted ones", "EXPSIG": "it has expired"}  # fmt: skip
"""What GPG's status lines mean; see doc/DETAILS of GnuPG."""


def sign(content: str, key: str) -> str:
    """Return a signature over a text, in ASCII armour; `key` is an ssh key's file or `gpg:FINGERPRINT`.

    Of an ssh key that an agent has, the public half does. Raises CCImagesError for a key that cannot be used.
    """
    if key.startswith(GPG):
        argv = ["gpg", "--batch", "--armor", "--detach-sign", "--local-user", key.removeprefix(GPG)]
    else:
        argv = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", key, "-"]
    done = _run(argv, content)
    if done.returncode != 0 or "-----BEGIN" not in done.stdout:
        said = clean(done.stderr.encode()).strip().splitlines()
        raise CCImagesError(
            f"the key {key} does not sign: {said[-1] if said else 'no reason is given'}",
            hint="check `keys.sign` in settings.yaml; a key with a passphrase needs an agent",
            reason=Reason.SIGNATURE,
        )
    return done.stdout


def signer(content: str, signature: str, trusted: Path) -> str:
    """Return who has signed a text, by the name that is in the file of trusted keys.

    Raises CCImagesError when nobody has who is trusted: the reason is in its message.
    """
    if not trusted.is_file():
        raise UserError(f"{trusted} is not there", hint="correct `keys.trusted` in settings.yaml")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "signature")
        try:
            file.write_text(signature)
            content.encode()
        except UnicodeError as error:
            raise _refused("it is no text") from error
        if signature.startswith("-----BEGIN SSH SIGNATURE"):
            return _ssh_signer(content, file, trusted)
        if signature.startswith("-----BEGIN PGP SIGNATURE"):
            return _gpg_signer(content, file, trusted)
    raise _refused("it is no signature")


def _ssh_signer(content: str, signature: Path, trusted: Path) -> str:
    found = _run(["ssh-keygen", "-Y", "find-principals", "-s", str(signature), "-f", str(trusted)], "")
    if found.returncode != 0:
        always = signature.with_name("always")
        always.write_text(re.sub(r'valid-(before|after)="?[0-9Z]+"?,?', "", trusted.read_text(errors="replace")))
        known = _run(["ssh-keygen", "-Y", "find-principals", "-s", str(signature), "-f", str(always)], "")
        expired = "its key is not valid now (valid-before, valid-after)"
        raise _refused(expired if known.returncode == 0 else "its key is not among the trusted ones")
    who = found.stdout.strip().splitlines()[0]
    argv = ["ssh-keygen", "-Y", "verify", "-f", str(trusted), "-I", who, "-n", NAMESPACE, "-s", str(signature)]
    if _run(argv, content).returncode != 0:
        raise _refused(f"other content was signed, or for something else than {NAMESPACE}")
    return who


def _gpg_signer(content: str, signature: Path, trusted: Path) -> str:
    home = signature.with_name("gnupg")
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-autostart", "--trust-model", "always"]
    try:
        imported = _run([*gpg, "--import", str(trusted)], "")
        if imported.returncode != 0:
            raise UserError(f"{trusted} holds no GPG keys", hint="write them there with `gpg --export KEY…`")
        done = _run([*gpg, "--status-fd", "1", "--verify", str(signature), "-"], content)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    told = {
        line.split()[1]: line.split(maxsplit=3) for line in done.stdout.splitlines() if line.startswith("[GNUPG:] ")
    }
    for word, why in _BAD.items():
        if word in told:
            raise _refused(why)
    if done.returncode != 0 or not {"GOODSIG", "VALIDSIG"} <= told.keys():
        raise _refused("GPG does not say that it is good")
    return clean(told["GOODSIG"][3].encode())


def _refused(why: str) -> CCImagesError:
    return CCImagesError(f"the signature is refused: {why}", reason=Reason.SIGNATURE)


def _run(argv: Sequence[str], content: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(argv[0]) is None:
        raise CCImagesError(
            f"the program {argv[0]} is missing", hint=f"install the package that has {argv[0]}",
            reason=Reason.MISSING_TOOL,
        )  # fmt: skip
    env = environment.whole(LC_ALL="C.UTF-8", SSH_ASKPASS_REQUIRE="never")
    try:
        return subprocess.run(
            argv, input=content, env=env, capture_output=True, text=True, errors="replace", timeout=PATIENCE,
            start_new_session=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CCImagesError(
            f"{argv[0]} takes longer than {PATIENCE:.0f} s", hint="a key that asks for something needs an agent",
            reason=Reason.SIGNATURE,
        ) from error  # fmt: skip
