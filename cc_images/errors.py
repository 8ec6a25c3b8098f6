"""The errors that cc-images knows: what went wrong, why in a machine's word, and what to do about it.

Owns the base class and nothing else. A bug is any other exception.
"""

from __future__ import annotations


class CCImagesError(Exception):
    """Say what failed in one sentence.

    `hint` is what the user can do, `reason` a stable word for machines (`disk-full`, `timeout`, …), `temporary` whether
    the same call may succeed later without anybody changing anything.
    """

    exit_code = 3

    tail: tuple[str, ...] = ()
    """The last lines of what tells more, if anything does."""

    def __init__(self, message: str, *, hint: str = "", reason: str = "failed", temporary: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason
        self.temporary = temporary


class UserError(CCImagesError):
    """The input is at fault: command line, environment or files. Nothing has run."""

    exit_code = 2


class ConfigError(UserError):
    """Every mistake that was found in the configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), reason="configuration")
        self.problems = problems


class Interrupted(CCImagesError):
    """The work was ended because the run was asked to stop."""

    exit_code = 130

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message, reason="interrupted")
