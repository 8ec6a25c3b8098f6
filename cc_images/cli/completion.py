"""Completion: the words that may follow a command line so far, and the scripts by which shells ask for them.

The answers come from the parser and the configuration, so they are never behind them. A shell asks by running
`cc-images complete WORD…`, of which the last word is the unfinished one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cc_images.api import catalog, runs
from cc_images.cli.server_arguments import taken
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, UserError
from cc_images.model.attempt import HERE
from cc_images.model.catalog import Arch

SCRIPTS: Mapping[str, str] = {
    "bash": """\
_cc_images() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word%%$'\\t'*}")
    done < <(cc-images complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ ${#COMPREPLY[@]} -eq 0 ]; then compopt -o default; fi
}
complete -F _cc_images cc-images
""",
    "zsh": """\
#compdef cc-images
_cc_images() {
    local -a found
    local line
    for line in "${(@f)$(cc-images complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [ -n "$line" ] && found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    if (( ${#found} )); then _describe cc-images found; else _files; fi
}
if [ "$funcstack[1]" = _cc_images ]; then _cc_images; else compdef _cc_images cc-images; fi
""",
    "fish": """\
function __cc_images
    set -l words (commandline -opc) (commandline -ct)
    cc-images complete $words[2..-1] 2>/dev/null
end
complete -c cc-images -a '(__cc_images)'
""",
}
"""The script that each shell must read; it asks for everything else."""

OTHERS = ("FILE", "FILE|ID", "ID")
"""Arguments that are no tags: for files the shell offers those of the folder."""


def candidates(
    words: Sequence[str], verbs: Mapping[str, str], parser: Callable[[str], argparse.ArgumentParser]
) -> list[str]:
    """Return what the last of `words` may become, each with a tab and what it means.

    `verbs` says what each verb does, `parser` makes the parser of a verb, or that of the command without one.
    """
    *before, last = words or [""]
    with suppress(UserError):  # an option whose value is the word that is asked for
        before, _ = taken(before, {"CC_IMAGES_SERVER": "there"})
    verb = before[0] if before and before[0] in verbs else ""
    options = [action for action in parser(verb)._actions if action.option_strings]
    known = {name: action for action in options for name in action.option_strings}
    if before and (action := known.get(before[-1])) is not None and action.nargs != 0:
        return _starting(last, _values(action))
    name, separator, _ = last.partition("=")
    if separator and name in known:
        return _starting(last, [(f"{name}={value}", text) for value, text in _values(known[name])])
    if last.startswith("-"):
        return _starting(last, [(name, action.help or "") for name, action in known.items()])
    offered = [(name, text) for name, text in verbs.items() if name] if not before else []
    words_of_value = {at + 1 for at, word in enumerate(before) if word in known and known[word].nargs != 0}
    given = [word.lower() for at, word in enumerate(before) if at not in words_of_value and not word.startswith("-")]
    return _starting(last, [*offered, *_positionals(verb, given[bool(verb) :], parser(verb))])


def _values(action: argparse.Action) -> list[tuple[str, str]]:
    """Return what may be the value of an option."""
    if action.choices is not None:
        return [(str(each), "") for each in action.choices]
    if action.metavar == "SITE":
        config = _config()
        return [
            (site.name, site.cloud or site.directory or site.catalogue or site.registry)
            for site in (config.sites if config else ())
        ]
    if action.metavar == "BUILDER":
        config = _config()
        return [(HERE, "this host"), *((each.name, each.kind) for each in (config.builders if config else ()))]
    arches = [each.value for each in Arch]
    return [(each, "") for each in (*arches, ",".join(arches))] if action.metavar == "ARCH" else []


def _positionals(verb: str, given: Sequence[str], parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Return what may be the next positional argument of a verb after those that are given."""
    positionals = [action for action in parser._actions if not action.option_strings]
    wanted = [str(action.metavar or action.dest) for action in positionals]
    config = _config()
    if not wanted or config is None:
        return []
    if (choices := positionals[0].choices) is not None:
        return [(str(each), "") for each in choices] if not given else []
    if wanted[0] in OTHERS:
        return []
    if wanted[0] == "RUN":
        return [(run, "") for run in runs.names(config)] if not given else []
    there = catalog.named(config, given)
    tags = [(tag, image.name) for tag, image in config.images.items() if tag not in there]
    if len(wanted) == 1 and positionals[0].nargs is None:
        return tags if not given else []
    if "OLD" in wanted and given:
        return (
            _versions(config, min(there & config.images.keys(), default=given[0])) if len(given) < len(wanted) else []
        )
    several = any(action.nargs in ("+", "*") for action in positionals)
    return [*tags, *([("all", "every image")] if several else [])] if several or not given else []


def _versions(config: Config, tag: str) -> list[tuple[str, str]]:
    return [(version, arch.value) for version, arch in catalog.versions(config, tag).items()]


def _starting(last: str, offered: Iterable[tuple[str, str]]) -> list[str]:
    chosen = [(word, " ".join(text.split())) for word, text in offered if word.startswith((last, last.lower()))]
    return [f"{word}\t{text}" for word, text in dict(chosen).items()]


def _config() -> Config | None:
    """Return the configuration, or None when it is wrong: the tabulator key is no place for errors."""
    with suppress(CCImagesError, OSError):
        return load(os.environ, Path.cwd())
    return None


PLACES: Mapping[str, str] = {
    "man": "man/man1/cc-images.1",
    "bash": "bash-completion/completions/cc-images",
    "zsh": "zsh/site-functions/_cc-images",
    "fish": "fish/vendor_completions.d/cc-images.fish",
}
"""Where a system looks for the man page and for what makes shells complete, below share/."""


def shared() -> dict[str, str]:
    """Return the man page and the scripts of the shells, by their places."""
    texts = {"man": Path(__file__).with_name("cc-images.1").read_text(), **SCRIPTS}
    return {place: texts[name] for name, place in PLACES.items()}


def install(environ: Mapping[str, str]) -> list[Path]:
    """Write them where this user's shells, or for root all users', look; return the files."""
    home = Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/root")) / ".local/share")
    share = Path("/usr/local/share") if os.geteuid() == 0 and "XDG_DATA_HOME" not in environ else home
    written: list[Path] = []
    for place, text in shared().items():
        file = share / place
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        except OSError as error:
            raise UserError(
                f"{error.filename}: {error.strerror}", hint="set XDG_DATA_HOME to a folder of yours"
            ) from error
        written.append(file)
    return written
