"""The keys of `slurm` in builders.yaml: where jobs run, and which options of sbatch an entry may add."""

from __future__ import annotations

import re

from cc_images.config.yaml_file import Section

NAMES = ("partition", "constraint", "account")
"""Options of sbatch that have a key of their own."""

OPTIONS = frozenset(
    {"begin", "core-spec", "cores-per-socket", "cpus-per-task", "deadline", "exclude", "exclusive", "extra", "gpus",
     "gpus-per-node", "gres", "licenses", "mem", "mem-per-cpu", "mincpus", "nice", "nodelist", "oversubscribe",
     "prefer", "priority", "qos", "reservation", "sockets-per-node", "threads-per-core", "time", "time-min", "tmp",
     "wckey"}
)  # fmt: skip
"""Options of sbatch that an entry may add; the others change how a job is found, run or ended."""

_VALUE = re.compile(r"[A-Za-z0-9_&|,*()\[\].:@+=/%-]{1,255}")
_WORD = re.compile(rf"{_VALUE.pattern}\Z")
_OPTION = re.compile(rf"--([a-z-]+)(?:={_VALUE.pattern})?")


def slurm_of(section: Section) -> dict[str, str]:
    """Return the `slurm` of an entry, by key; mistakes are added to its problems."""
    inner = section.child("slurm")
    said = {key: inner.text(key, _WORD, "a word as sbatch takes it") for key in NAMES}
    options = inner.words("options")
    for option in options:
        found = _OPTION.fullmatch(option)
        if found is None:
            inner.problem("options", f"{option!r} is not of the form --name or --name=value")
        elif found[1] not in OPTIONS:
            inner.problem("options", f"--{found[1]} is not one of {', '.join(sorted(OPTIONS))}")
    inner.close()
    return {**{key: value for key, value in said.items() if value}, "options": " ".join(options)}
