"""Processors by the names that Spack has for them: family, ancestors, and the option by which GCC builds for each.

Facts: archspec's public list of microarchitectures; the years' code names are those of the makers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_LISTED = """
x86_64          -               -march=x86-64           4.2
x86_64_v2       x86_64          -march=x86-64-v2        11.1
x86_64_v3       x86_64_v2       -march=x86-64-v3        11.1
x86_64_v4       x86_64_v3       -march=x86-64-v4        11.1
nocona          x86_64          -march=nocona           4.1
core2           nocona          -march=core2            4.3
nehalem         core2           -march=nehalem          4.9
westmere        nehalem         -march=westmere         4.9
sandybridge     westmere        -march=sandybridge      4.9
ivybridge       sandybridge     -march=ivybridge        4.9
haswell         ivybridge       -march=haswell          4.9
broadwell       haswell         -march=broadwell        4.9
skylake         broadwell       -march=skylake          6.0
mic_knl         broadwell       -march=knl              5.1
skylake_avx512  skylake         -march=skylake-avx512   6.0
cannonlake      skylake         -march=cannonlake       8.0
cascadelake     skylake_avx512  -march=cascadelake      9.0
icelake         cascadelake     -march=icelake-client   8.0
sapphirerapids  icelake         -march=sapphirerapids   11.0
k10             x86_64          -march=amdfam10         4.3
bulldozer       x86_64_v2       -march=bdver1           4.7
piledriver      bulldozer       -march=bdver2           4.7
steamroller     piledriver      -march=bdver3           4.8
excavator       steamroller     -march=bdver4           4.9
zen             x86_64_v3       -march=znver1           6.0
zen2            zen             -march=znver2           9.0
zen3            zen2            -march=znver3           10.3
zen4            zen3            -march=znver4           12.3
zen5            zen4            -march=znver5           14.1
aarch64         -               -march=armv8-a          4.8
armv8.1a        aarch64         -march=armv8.1-a        5.0
armv8.2a        armv8.1a        -march=armv8.2-a        6.0
armv8.3a        armv8.2a        -march=armv8.3-a        6.0
armv8.4a        armv8.3a        -march=armv8.4-a        8.0
armv8.5a        armv8.4a        -march=armv8.5-a        9.0
armv8.6a        armv8.5a        -march=armv8.6-a        10.1
armv9.0a        armv8.5a        -march=armv9-a          12.0
thunderx2       armv8.1a        -mcpu=thunderx2t99      7.0
a64fx           armv8.2a        -mcpu=a64fx             10.3
cortex_a72      aarch64         -mcpu=cortex-a72        6.0
neoverse_n1     cortex_a72      -mcpu=neoverse-n1       9.0
neoverse_v1     neoverse_n1     -mcpu=neoverse-v1       10.3
neoverse_v2     neoverse_n1     -mcpu=neoverse-v2       12.3
neoverse_n2     neoverse_n1     -mcpu=neoverse-n2       11.0
"""
"""Name, the nearest ancestor, GCC's option, and the GCC from which on it is known."""

OTHER_NAMES: Mapping[str, str] = {
    "naples": "zen", "rome": "zen2", "milan": "zen3", "genoa": "zen4", "turin": "zen5",
    "knl": "mic_knl", "skx": "skylake_avx512", "graviton2": "neoverse_n1", "graviton3": "neoverse_v1",
    "graviton4": "neoverse_v2", "grace": "neoverse_v2", "altra": "neoverse_n1",
}  # fmt: skip
"""Names by which people know some of them."""

FAMILIES: Mapping[str, str] = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
"""The family of each platform."""

USUAL_GCC = (12, 2)
"""The compiler's version where it is not known."""


@dataclass(frozen=True, slots=True)
class Target:
    """A processor: its ancestor (empty for a family), GCC's option for it, and the first GCC that has the option."""

    name: str
    ancestor: str
    option: str
    since: tuple[int, int]


def _targets() -> Iterator[Target]:
    for line in _LISTED.split("\n"):
        if words := line.split():
            name, ancestor, option, since = words
            major, _, minor = since.partition(".")
            yield Target(name, ancestor.strip("-"), option, (int(major), int(minor)))


TARGETS: Mapping[str, Target] = {each.name: each for each in _targets()}
"""All targets by Spack's names."""

KNOWN = (*TARGETS, *OTHER_NAMES)
"""All words for a processor."""


def target(word: str) -> Target:
    """Return the target that a word means. Raises KeyError for one that is none."""
    return TARGETS[OTHER_NAMES.get(word, word)]


def family(word: str) -> str:
    """Return the family of a word for a processor."""
    return [*lineage(word)][-1].name


def lineage(word: str) -> Iterator[Target]:
    """Yield the target that a word means, and its ancestors, the nearest first."""
    found = target(word)
    yield found
    while found.ancestor:
        found = TARGETS[found.ancestor]
        yield found


def option(word: str, gcc: tuple[int, int] = USUAL_GCC) -> str:
    """Return the option by which a GCC builds for a processor: its own, or that of the nearest ancestor it knows."""
    return next((each.option for each in lineage(word) if each.since <= gcc), "")
