"""Complaints of Slurm's commands as errors: one sentence, a reason, and whether the same may succeed later."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cc_images.errors import CCImagesError, Reason


@dataclass(frozen=True, slots=True)
class _Kind:
    pattern: str
    message: str
    hint: str
    reason: Reason
    temporary: bool = False


_KINDS = (
    _Kind(
        "munge|authentication error|auth_g_create",
        "Slurm accepts no credential of this host",
        "munge must run here, with the key of the cluster",
        Reason.CREDENTIALS,
        temporary=True,
    ),
    _Kind(
        "configuration source|resolve_ctls_from_dns|[Uu]nable to process configuration|slurm.conf",
        "this host belongs to no Slurm cluster",
        "it needs the cluster's /etc/slurm/slurm.conf, or SLURM_CONF names one",
        Reason.CONFIGURATION,
    ),
    _Kind(
        "[Uu]nable to contact slurm controller|Failed while looking for jobs|[Cc]onnection (?:refused|timed out)"
        "|Socket timed out|Communication connection failure|Zero Bytes|not a valid controller|standby mode",
        "the controller of Slurm does not answer",
        "`scontrol ping` says more",
        Reason.UNREACHABLE,
        temporary=True,
    ),
    _Kind(
        "[Ii]nvalid partition",
        "Slurm has no such partition",
        "`sinfo` lists them; the entry in builders.yaml names one",
        Reason.CONFIGURATION,
    ),
    _Kind(
        "[Ii]nvalid account|[Ii]nvalid qos",
        "Slurm does not let this user use the account or quality of service",
        "`sacctmgr show associations` lists them",
        Reason.FORBIDDEN,
    ),
    _Kind(
        "[Ii]nvalid feature|node configuration is not available|can not be satisfied|[Ii]nvalid generic resource"
        "|More processors requested|Node count specification|[Ii]nvalid node name",
        "no node of Slurm's can do what the builder asks for",
        "compare constraint, cores, memory and options with `scontrol show node`",
        Reason.CONFIGURATION,
    ),
    _Kind(
        "[Pp]ermission denied|not permitted|[Ii]nvalid user|group not",
        "Slurm does not let this user start jobs there",
        "`scontrol show partition` says who may",
        Reason.FORBIDDEN,
    ),
    _Kind(
        "[Uu]nrecognized option|unrecognised option|[Ii]nvalid option|serializer",
        "this Slurm lacks an option that is needed",
        "Slurm must be 22.05 or newer; and options of builders.yaml are those of `sbatch --help`",
        Reason.MISSING_TOOL,
    ),
)


def translated(program: str, lines: Sequence[str]) -> CCImagesError:
    """Return the error for the last lines that one of Slurm's commands has written."""
    said = "\n".join(lines)
    last = next((_plain(line) for line in reversed(lines) if line.strip()), "it says nothing")
    for kind in _KINDS:
        if found := re.search(f"^.*(?:{kind.pattern}).*$", said, re.MULTILINE):
            return CCImagesError(
                f"{kind.message}: {_plain(found[0])}",
                hint=kind.hint,
                reason=kind.reason,
                temporary=kind.temporary,
                tail=lines,
            )
    return CCImagesError(f"{program} failed: {last}", reason=Reason.COMMAND, tail=lines)


def _plain(line: str) -> str:
    """Return a complaint without the program that it comes from."""
    return re.sub(r"^(?:s\w+: )?(?:error: |fatal: )?(?:Batch job submission failed: )?", "", line.strip())
