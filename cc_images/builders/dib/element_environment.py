"""The environment.d of elements: the variables that its files set, read by a restricted shell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

SHELL_TIMEOUT = 10.0
"""Seconds that reading the files may take."""

_WORD = re.compile(r"\w+")
_INDIRECT = re.compile(
    r"\$\{!|\b(?:eval|compgen|env|printenv)\b|\b(?:declare|local|typeset|export)\s+-\w*[npx]"
    r"|\b(?:set|declare|export|typeset)\s*(?:$|[|>);&])|-v\s",
    re.MULTILINE,
)
"""How a file can read variables that it does not name."""


class EnvironmentFiles:
    """Some files in the order in which dib reads them. Answers are cached by question."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._texts = [file.read_text(errors="replace") for file in files]
        together = "\n".join(self._texts)
        self._words = None if _INDIRECT.search(together) else frozenset(_WORD.findall(together))
        self._known: dict[tuple[object, ...], dict[str, str]] = {}

    def values(self, variables: Sequence[str], environment: Mapping[str, str], arch: str) -> dict[str, str]:
        """Return what variables are after the files; empty for what nothing sets.

        The files are shell, and nobody has looked at those of third parties: a restricted shell reads them, which can
        neither write files nor run programs, and whatever it leaves in the background ends with it. It can read what
        its user can, as a build can.
        """
        read = sorted(each for each in environment.items() if self._words is None or each[0] in self._words)
        asked = {name: environment.get(name, "") for name in variables}
        question = (tuple(asked.items()), tuple(read), arch)
        if question not in self._known:
            self._known[question] = self._ask(variables, environment, arch)
        return dict(self._known[question])

    def _ask(self, variables: Sequence[str], environment: Mapping[str, str], arch: str) -> dict[str, str]:
        shown = " ".join(f'"${{{name}:-}}"' for name in variables)
        script = "\n".join(("enable -n kill", *self._texts, f"printf '\\x1e%s' {shown}"))
        shell = subprocess.Popen(
            [shutil.which("bash") or "bash", "--restricted", "--noprofile", "--norc", "-c", script],
            env={**environment, "ARCH": arch, "PATH": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = shell.communicate(timeout=SHELL_TIMEOUT)
        except subprocess.TimeoutExpired:
            said = ""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        values = said.rsplit("\x1e", len(variables))[1:]
        if len(values) != len(variables):  # the files have ended the shell
            values = [""] * len(variables)
        return dict(zip(variables, map(str.strip, values), strict=True))
