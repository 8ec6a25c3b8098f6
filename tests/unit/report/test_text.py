"""Text for people: what a terminal gets of names that others have chosen."""

from __future__ import annotations

import io

from cc_images.model.plan import Result, Status
from cc_images.report import text


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


FAILED = Result(
    task="build x amd64", status=Status.FAILED, error="a hook\033[2J", tail=("\033]0;owned\007", "\tfine"), hint="\x9bm"
)


def test_a_terminal_gets_nothing_that_steers_it() -> None:
    out = Terminal()
    text.say(text.failure(FAILED), to=out)
    assert "a hook?[2J" in out.getvalue()
    assert "\tfine\n" in out.getvalue()
    assert out.getvalue().replace("\n", "").replace("\t", "").isprintable()


def test_a_file_gets_texts_as_they_are() -> None:
    out = io.StringIO()
    text.say("\033[1m\N{NO-BREAK SPACE}", to=out)
    assert out.getvalue() == "\033[1m\N{NO-BREAK SPACE}\n"
