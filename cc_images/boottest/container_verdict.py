"""The verdict on a container: whether it started and what its user answered, from the facts of `inside/container.py`.

Pure but for hashes of passwords, which the host's library knows.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256

from cc_images.boottest import passwords
from cc_images.boottest.stages import BootResult
from cc_images.model import checks as kinds
from cc_images.model.catalog import Checks, Format, Json, Level
from cc_images.model.check_kinds import KINDS, Answer, Wanted
from cc_images.model.contracts import Account, Passwords, Subject
from cc_images.model.plain_text import printable

LINES = 40
"""Lines of what it printed that an error carries."""


def judged(said: Json, asked: Checks, ports: Mapping[str, Wanted], mark: str) -> tuple[BootResult, tuple[str, ...]]:
    """Return how far a container got, and the last lines that it printed where it failed."""
    found = BootResult()
    for number, start in enumerate(said["starts"], start=1):
        if wrong := not_started(start):
            found.fail(Level.STARTS, f"at its second start {wrong}" if number > 1 else wrong)
            return found, tail(start)
    first = said["starts"][0]
    if not first["argv"] and not asked:
        return found, ()
    if first["argv"]:
        found.levels[Level.STARTS] = float(first["seconds"])
    if problems := [*unheard(first, ports), *unanswered(first, asked, mark)]:
        found.fail(Level.CHECKS, *problems)
        return found, tail(first)
    found.levels[Level.CHECKS] = float(first.get("seconds", 0.0))
    return found, ()


def not_started(start: Json) -> str:
    """Return why a start did not succeed, or nothing."""
    if start.get("trouble"):
        return str(start["trouble"])
    if not start["argv"] or start["listens"] or start["code"] == 0:
        return ""
    words = printable(shlex.join(start["argv"]))
    shown = f"`{words if len(words) < 120 else words[:119] + '…'}`"
    if start.get("late"):
        after = f"after {start['seconds']:.0f} s"
        if start["silent"]:
            return f"nothing listens on port {', '.join(start['silent'])} {after}"
        return f"{shown} has not ended {after}; `try` gives it words with which it ends, `ports` says where it listens"
    code = int(start["code"])
    return f"{shown} was ended by signal {-code}" if code < 0 else f"{shown} ended with code {code}"


def unheard(start: Json, ports: Mapping[str, Wanted]) -> list[str]:
    """Return the problems of ports of checks: nothing listens, or the first words are others."""
    heard = start.get("heard", {})
    answers = {port: Answer(code=int(port not in heard), output=heard.get(port, "")) for port in ports}
    found = [KINDS["ports"].judge(port, wanted, answers[port]) for port, wanted in ports.items()]
    return [each for each in found if each]


def unstopped(start: Json) -> str:
    """Return why SIGTERM has not ended a container that stays, or nothing."""
    if not start["listens"] or start["heeded"]:
        return ""
    if not start["handled"]:
        return "it does not handle SIGTERM, and was killed"
    return f"it has not ended {start['grace']:.0f} s after SIGTERM, and was killed"


def unanswered(start: Json, asked: Checks, mark: str) -> list[str]:
    """Return what is wrong by the answers of the image's user."""
    if not asked:
        return []
    answers, rest = [], str(start.get("answers", ""))
    while ended := re.search(rf"\n{mark} (\d+)\n", rest):
        answers.append(Answer(code=int(ended[1]), output=rest[: ended.start()]))
        rest = rest[ended.end() :]
    if len(answers) < len(list(kinds.every(asked))):
        why = start.get("unasked") or rest.strip()[-200:] or "no reason given"
        return [f"its user cannot be asked: {why}"]
    return kinds.problems(asked, answers)


def tail(start: Json) -> tuple[str, ...]:
    """Return the last lines that a start has printed."""
    return tuple([line for line in start["output"].splitlines() if line.strip()][-LINES:])


def subject(said: Json, form: Format) -> Subject:
    """Return what contracts are judged by."""
    starts, shown = said["starts"], said["configuration"]
    first, last = starts[0], starts[-1]
    user = first.get("user")
    account = None
    if user is not None:
        home = first["home_is"] or user["home"]
        account = Account(uid=user["uid"], gid=user["gid"], home=home, sudo=tuple(first["sudo"]))
    return Subject(
        sif=form is Format.SIF,
        user=shown["user"],
        folder=first.get("folder_is"),
        entrypoint=tuple(shown["entrypoint"]),
        labels=shown["labels"],
        script=first.get("script", ""),
        stops=unstopped(first) if "heeded" in first else None,
        account=account,
        folders=_owners(first.get("folders")),
        mounted=_owners(last.get("folders")) if last.get("mounted") else None,
        passwords=_passwords(first, last) | _credentials(first, last) if len(starts) > 1 else None,
    )


def _owners(said: Mapping[str, Sequence[int] | None] | None) -> dict[str, tuple[int, int] | None] | None:
    if said is None:
        return None
    return {name: (owner[0], owner[1]) if owner else None for name, owner in said.items()}


def _passwords(first: Json, last: Json) -> dict[str, Passwords]:
    """Return what two starts have made of the user's password, by what it is."""
    name = str(first["user"]["name"])
    now = [str(each.get("after", "")) for each in (first, last)]
    found = Passwords(
        is_name=any(passwords.is_password(name, each) for each in now),
        same=bool(now[0]) and now[0] == now[1],
        built_in=bool(first["before"]) and first["before"] in now,
        printed=any(
            passwords.printed(start["output"], hashed) for start, hashed in zip((first, last), now, strict=True)
        ),
    )
    return {"the user's password": found}


def _credentials(first: Json, last: Json) -> dict[str, Passwords]:
    """Return what two starts have made of the passwords and tokens of servers, by their places."""
    name = sha256(str(first["user"]["name"]).encode()).hexdigest()
    before = first.get("credentials", {}).get("before", {})
    now = [each.get("credentials", {}).get("after", {}) for each in (first, last)]
    found = {each: Passwords(missing=True) for each in first.get("open", [])}
    for place in dict.fromkeys((*now[0], *now[1])):
        both = [each.get(place, "") for each in now]
        found[place] = Passwords(
            is_name=name in both,
            same=both[0] == both[1],
            built_in=before.get(place) in both,
            printed=any(
                passwords.shows(start["output"], digest) for start, digest in zip((first, last), both, strict=True)
            ),
        )
    return found
