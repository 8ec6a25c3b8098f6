"""Passwords and tokens of servers, by their files and variables; DES as OpenSSL has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cc_images.boottest.inside import credentials, des


def sha256(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


@pytest.mark.parametrize(
    ("key", "hidden", "plain"),
    [
        ("133457799bbcdff1", "85e813540f0ab405", "0123456789abcdef"),
        ("0e329232ea6d0d73", "0000000000000000", "8787878787878787"),
    ],
)
def test_des_is_that_of_the_textbooks(key: str, hidden: str, plain: str) -> None:
    assert des.decrypted(bytes.fromhex(hidden), bytes.fromhex(key)).hex() == plain


def test_passwords_in_files_and_variables_are_found(tmp_path: Path) -> None:
    (tmp_path / ".vnc").mkdir()
    (tmp_path / ".vnc/passwd").write_bytes(bytes.fromhex("dbd83cfd727a1458"))  # as `vncpasswd -f` writes "password"
    (tmp_path / ".jupyter").mkdir()
    (tmp_path / ".jupyter/jupyter_notebook_config.py").write_text(
        "# c.NotebookApp.password = 'not'\nc.NotebookApp.token = 'open sesame'\nc.NotebookApp.password_required = 'x'\n"
    )
    (tmp_path / ".jupyter/jupyter_server_config.json").write_text(
        '{"ServerApp": {"password": "argon2:x", "token": ""}}'
    )
    variables = {"JUPYTER_TOKEN": "a", "VNC_PASSWORD": "b", "PASSWORD": "", "PASS_THROUGH": "c", "TOKENIZERS": "d"}
    assert credentials.digests(str(tmp_path), variables, running=False) == {
        f"the VNC password in {tmp_path}/.vnc/passwd": sha256("password"),
        f"the token in {tmp_path}/.jupyter/jupyter_notebook_config.py": sha256("open sesame"),
        f"the password in {tmp_path}/.jupyter/jupyter_server_config.json": sha256("argon2:x"),
        "the variable JUPYTER_TOKEN": sha256("a"),
        "the variable VNC_PASSWORD": sha256("b"),
    }
