"""Files that an ADD fetches: a build has the same inputs each time only if the file says their digests. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cc_images.builders.containerfile.instructions import Instruction, declared, filled, unquoted, words_in
from cc_images.errors import Reason, UserError

CHECKSUM_SINCE = (1, 33)
"""The first buildah that knows `ADD --checksum`."""

_REMOTE = re.compile(r"(https?|ftp|git|ssh)://|git@", re.IGNORECASE)
_GIT = re.compile(r"(git|ssh)://|git@|[^#?]*\.git(#|\Z)", re.IGNORECASE)
_COMMIT = re.compile(r"#[0-9a-f]{40}(:|\Z)")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An address from which an ADD fetches, and the checksum that it says."""

    line: int
    url: str
    checksum: str = ""

    @property
    def is_git(self) -> bool:
        """Whether it is a repository: buildah checks no checksum of these."""
        return _GIT.match(self.url) is not None


def remotes(instruction: Instruction, values: Mapping[str, str]) -> Iterator[Remote]:
    """Yield the addresses that an instruction fetches, with these values of arguments and variables."""
    if instruction.word != "ADD" or instruction.heredocs:
        return
    flags = dict(each.partition("=")[::2] for each in instruction.flags)
    checksum = filled(unquoted(flags.get("--checksum", "")), values)
    for word in _sources(instruction.rest):
        if _REMOTE.match(url := filled(word, values)):
            yield Remote(line=instruction.line, url=url, checksum=checksum)


def variables(instruction: Instruction, values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an ENV sets, in either of its forms."""
    first, *others = instruction.rest.split(None, 1)
    if "=" not in first:
        return {first: filled(unquoted(others[0]), values)} if others else {}
    return {name: filled(value, values) for name, value in declared(instruction.rest) if value is not None}


def require_pinned(found: Iterable[Remote], builder: str) -> None:
    """Raise UserError for an address whose content may be another one tomorrow, or that this buildah cannot check."""
    for each in found:
        if each.is_git:
            if not _COMMIT.search(each.url):
                raise _moves(each, "no commit", "write the commit behind it: #<40 hexadecimal digits>")
        elif not _CHECKSUM.match(each.checksum):
            hint = "write ADD --checksum=sha256:<64 hexadecimal digits>, or put the file into the context"
            raise _moves(each, "no checksum", hint)
        elif _number(builder) < CHECKSUM_SINCE:
            raise UserError(
                f"line {each.line}: ADD --checksum needs buildah {_shown(CHECKSUM_SINCE)}; this host has {builder}",
                hint="put the file into the context, or fetch it in a RUN that ends with sha256sum --check",
                reason=Reason.VALUE,
            )


def _moves(remote: Remote, why: str, hint: str) -> UserError:
    said = f"line {remote.line}: ADD {_bare(remote.url)} has {why}, so nobody can tell when its content changes"
    return UserError(said, hint=hint, reason=Reason.VALUE)


def _bare(url: str) -> str:
    """Return an address without what may be secret in it."""
    return re.sub(r"(?<=//)[^/@]*@", "", url.partition("?")[0])


def _sources(rest: str) -> list[str]:
    """Return an ADD's words but the last one, which is the target."""
    words = words_in(rest)
    return ([unquoted(each) for each in rest.split()] if words is None else words)[:-1]


def _number(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else CHECKSUM_SINCE


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
