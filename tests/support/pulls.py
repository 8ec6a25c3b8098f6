"""A catalogue that goes forward and back, and a host whose site follows it: every order of both, with kills.

The host's decision is that of `sites.pulling`, and what it does on its site is publishing's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from cc_images.sites.pulling import PULLED, Named, Way, way_to
from cc_images.sites.view import View, Wish
from tests.support.atomic import NAME, Images, first, in_force, pushed, seen, version
from tests.support.exploring import Broken

CUTS = 5
"""After so many steps at most a pull is killed."""


@dataclass(frozen=True, slots=True)
class Following:
    """Everything."""

    current: str
    offered: tuple[str, ...]
    """Versions that the catalogue has, in their order."""
    images: Images
    releases: int
    """How many versions publishers still add, and how often people still go back or forward again."""
    turns: int
    pulls: int
    kills: int
    sought: str = ""
    """What the host has read in the catalogue, before it looks at its site."""
    last: str = ""
    """What the host remembers to have published last."""
    runs: int = 0


Ways = Callable[[Named, View, Callable[[str], bool]], Way]


@dataclass(frozen=True, slots=True)
class World:
    """The catalogue and the site; `keep` is the site's, and `way_to` decides."""

    keep: int | None = None
    way_to: Ways = way_to

    def moves(self, state: Following) -> Iterator[tuple[str, Following]]:
        """Return everything that can happen next."""
        if state.releases:
            new = f"v{len(state.offered) + 1}"
            yield f"publisher: releases {new}", replace(state, current=new, offered=(*state.offered, new),
                                                        releases=state.releases - 1)  # fmt: skip
        if state.turns:
            for each in state.offered:
                if each != state.current:
                    yield f"person: the catalogue has {each}", replace(state, current=each, turns=state.turns - 1)
        if not state.sought and state.pulls:
            yield f"host: reads {state.current}", replace(state, sought=state.current, pulls=state.pulls - 1)
        if state.sought:
            yield f"host: pulls {state.sought}", self.pulled(state)
            for steps in range(CUTS) if state.kills else ():
                cut = self.pulled(state, steps)
                yield f"host: is killed after {steps} steps", replace(cut, kills=state.kills - 1)

    def pulled(self, state: Following, steps: int = 60) -> Following:
        """Return what is so after the host has brought its site to what it sought, or after the first steps of that."""
        run, sought = f"h{state.runs + 1}", state.sought
        state = replace(state, sought="", runs=state.runs + 1)
        way = self.way_to(Named(version=sought, sha512=sought, size=1), seen(state.images), _ours)
        if way.has:
            return replace(state, last=sought)
        if way.stays:
            raise Broken(f"the site stays at {in_force(state.images)}, and {sought} was pulled: {way.stays}")
        images = state.images
        if way.back is not None:
            images, end = pushed(images, Wish(name=NAME, wanted=False, ours=_ours), run, steps)
            again = next((each for each in seen(images).archived if each.id == way.back.id), None)
            if end is None or again is None:
                return replace(state, images=images)
            wish = replace(_wish(sought), recalls=again.id, run=run, insist=True)
        else:
            wish = replace(_wish(sought), keep=self.keep, before=state.last == sought and not way.by_us,
                           properties=version(sought) | {PULLED: sought})  # fmt: skip
        images, end = pushed(images, wish, run, steps)
        known = sought if end is not None and end.same and steps >= CUTS else state.last
        return replace(state, images=images, last=known)

    def rests(self, state: Following) -> bool:
        """Say whether no pull is under way."""
        return not state.sought

    def settle(self, state: Following) -> None:
        """Pull twice: the site has what the catalogue names, and the second time nothing is done."""
        once = self.pulled(replace(state, sought=state.current))
        if in_force(once.images) != state.current:
            raise Broken(f"all is calm, and the site has {in_force(once.images) or 'nothing'}, not {state.current}")
        if self.pulled(replace(once, sought=state.current)).images != once.images:
            raise Broken("a pull that finds all as it should be changes something")

    def shown(self, state: Following) -> Iterable[str]:
        """Return the images, and what the catalogue has."""
        yield f"the catalogue has {state.current}; the host remembers {state.last or 'nothing'}"
        yield from (f"{each.id} {each.name} {each.properties['build-version']}" for each in state.images)


def _ours(run: str) -> bool:
    return run.startswith("h")


def _wish(sought: str) -> Wish:
    return Wish(name=NAME, digests=frozenset({sought}), size=1, first_visibility="shared", ours=_ours)


def beginning(*, releases: int, turns: int, pulls: int, kills: int) -> Following:
    """Return a site that has what the catalogue has."""
    there = replace(first("v1"), run="h0")
    return Following("v1", ("v1",), (there,), releases, turns, pulls, kills, last="v1")
