"""Health: a command or an address of the operator's says whether a version is well on a site."""

from __future__ import annotations

import http.client
import re
import shlex
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import environment, process
from cc_images.model.plain_text import clean
from cc_images.model.redaction import without_secrets

PATIENCE = 300.0
"""Seconds that a command may take; an address has a tenth of it for each try."""

TRIES, PAUSE = 3, 10.0
"""How often an address is asked that does not answer, and the seconds in between."""

CANNOT = {75, 126, 127}
"""Exit codes of a command that could not find out: EX_TEMPFAIL of sysexits.h, and what shells say of no program."""

AWAY = {408, 425, 429, 502, 503, 504}
"""Statuses by which a server says that it cannot tell now."""


class Health(StrEnum):
    """What was found; `unknown` stops a version, and rolls nothing back."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and what was said, in one line."""

    health: Health
    said: str = ""


def ask(
    question: str,
    facts: Mapping[str, str],
    stop: threading.Event,
    *,
    patience: float = PATIENCE,
    pause: float = PAUSE,
) -> Answer:
    """Ask a command, or an address (http, https), about the `facts`: image, name, arch, version, site.

    `{version}` and the like stand for them in its words; a command has them in its environment too, as
    CC_IMAGES_VERSION. Good is exit code 0, or status 200. Raises Interrupted once `stop` is set.
    """
    if question.startswith(("http://", "https://")):
        address = _filled(question, {key: quote(each, safe="") for key, each in facts.items()})
        for number in range(TRIES):
            answer = _fetched(address, patience / 10)
            if answer.health is not Health.UNKNOWN or number == TRIES - 1:
                return answer
            if stop.wait(pause):
                raise Interrupted
    words = [_filled(word, facts) for word in shlex.split(question)]
    said = {f"CC_IMAGES_{key.upper()}": each for key, each in facts.items()}
    try:
        process.run(words, env=environment.whole(**said), timeout=patience, stop=stop)
    except process.TimedOut as error:
        return Answer(Health.UNKNOWN, error.message)
    except process.CommandFailed as error:
        unknown = error.code in CANNOT or error.code < 0
        return Answer(Health.UNKNOWN if unknown else Health.BAD, error.message)
    except Interrupted:
        raise
    except (CCImagesError, OSError) as error:
        return Answer(Health.UNKNOWN, str(error))
    return Answer(Health.GOOD)


def _filled(text: str, facts: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: facts.get(found[1], found[0]), text)


def _fetched(address: str, seconds: float) -> Answer:
    shown = without_secrets(address.partition("?")[0])
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "cc-images"})
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(Health.UNKNOWN, f"{shown}: {clean(str(error).encode())}")
    if status == http.HTTPStatus.OK:
        return Answer(Health.GOOD)
    return Answer(Health.UNKNOWN if status in AWAY else Health.BAD, f"{shown} answers {status}")
