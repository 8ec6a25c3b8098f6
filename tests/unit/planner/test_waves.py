"""Waves of sites: which site gets which version, and when; also over many nights."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from cc_images.model.site import Site
from cc_images.model.status import Hold, Put
from cc_images.planner.waves import Known, Turn, turns
from tests.conftest import samples

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
ONE = Site(name="one", directory="/1")
TWO = Site(name="two", directory="/2", wave=2, bake=86_400)
THREE = Site(name="three", directory="/3", wave=3)
V1, V2, V3 = "20261101T000000Z", "20261102T000000Z", "20261103T000000Z"


def put(site: str, version: str, since: datetime) -> Put:
    when = since.timestamp()
    return Put(site=site, name="CC-X", tag="cc-x", arch="amd64", version=version, since=when, seen=when)


def known(*puts: Put, stored: tuple[str, ...] = (V1, V2, V3), **more: object) -> Known:
    plain = Known(puts={each.site: each for each in puts}, stored=frozenset(stored), holds={})
    return replace(plain, **more)  # type: ignore[arg-type]


def told(found: list[Turn]) -> dict[str, str]:
    return {turn.site: turn.version or turn.waits for turn in found}


def test_without_waves_every_site_gets_what_serves() -> None:
    assert told(turns([ONE, replace(TWO, wave=1)], V1, known(), now=NOW)) == {"one": V1, "two": V1}


def test_a_later_wave_waits_until_the_one_before_has_had_it_for_long_enough() -> None:
    assert told(turns([ONE, TWO], V1, known(), now=NOW))["two"] == "nothing is known to be on one"
    fresh = known(put("one", V1, NOW - timedelta(hours=23)))
    assert told(turns([ONE, TWO], V1, fresh, now=NOW))["two"] == f"version {V1} bakes on one until 2026-11-21 04:00 UTC"
    assert told(turns([ONE, TWO], V1, fresh, now=NOW + timedelta(hours=1)))["two"] == V1


def test_what_has_baked_goes_on_before_something_newer_replaces_it() -> None:
    baked = known(put("one", V1, NOW - timedelta(hours=25)))
    one, two = turns([ONE, TWO], V2, baked, now=NOW)
    assert (one.version, two.version, two.ahead) == (V2, V1, True)


def test_without_baking_a_wave_gets_what_the_one_before_gets_in_this_run() -> None:
    baked = known(put("one", V1, NOW - timedelta(hours=25)))
    _, two, three = turns([ONE, TWO, THREE], V2, baked, now=NOW)
    assert (two.version, three.version, three.ahead) == (V1, V1, False)
    assert told(turns([ONE, TWO, THREE], V2, known(), now=NOW))["three"] == "two waits as well"
    assert told(turns([ONE, replace(THREE, wave=2)], V2, known(), now=NOW)) == {"one": V2, "three": V2}


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (known(put("one", V1, NOW - timedelta(2)), put("also", V2, NOW - timedelta(2))), "have different versions"),
        (known(put("one", V1, NOW - timedelta(2)), put("also", V1, NOW), stored=()), "bakes on one, also until"),
        (known(put("one", V1, NOW - timedelta(2)), put("also", V1, NOW - timedelta(2)), stored=()), "any more"),
        (known(put("one", V1, NOW - timedelta(2)), put("also", V1, NOW - timedelta(2)), put("two", V2, NOW)), "newer"),
        (
            known(
                put("one", V1, NOW - timedelta(2)),
                put("also", V1, NOW - timedelta(2)),
                holds={V1: Hold(tag="cc-x", arch="amd64", version=V1, since=0, why="no network")},
            ),
            "is held: no network",
        ),
    ],
)  # fmt: skip
def test_why_a_wave_waits(what: Known, why: str) -> None:
    assert why in told(turns([ONE, replace(ONE, name="also"), TWO], V3, what, now=NOW))["two"]


def test_a_person_lets_a_version_go_on_that_has_not_baked() -> None:
    fresh = known(put("one", V1, NOW))
    assert told(turns([ONE, TWO], V2, fresh, now=NOW, promote=True))["two"] == V1


def test_a_release_and_an_unchanged_site_wait_for_nothing() -> None:
    same = known(
        put("one", V1, NOW),
        put("two", V1, NOW),
        holds={V1: Hold(tag="cc-x", arch="amd64", version=V1, since=0, released=True)},
    )
    assert told(turns([ONE, TWO], V1, same, now=NOW))["two"] == V1


@dataclass
class Fleet:
    """Three sites over many nights, and since when each has what; puts are what the store remembers of it."""

    chance: random.Random
    now: datetime = NOW
    has: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    puts: dict[str, Put] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    baked: dict[str, float] = field(default_factory=dict)
    """The longest that a version was on the first site, in hours, without a break."""

    def night(self, sites: list[Site]) -> None:
        built = f"{self.now:%Y%m%dT%H%M%SZ}"
        serving = built if self.chance.random() < 0.7 or "one" not in self.has else self.has["one"][0]
        holds = {each: Hold(tag="cc-x", arch="amd64", version=each, since=0) for each in self.held}
        what = Known(puts=self.puts, stored=frozenset(put.version for put in self.puts.values()), holds=holds)
        found = turns(sites, serving, what, now=self.now)
        for turn in sorted(found, key=lambda turn: -len(turn.before) if turn.ahead else 0):
            if turn.version in self.held or not turn.version:
                continue
            if turn.before and any(self.has.get(each, ("",))[0] != turn.version for each in turn.before):
                continue  # the gate of the push looks at the sites themselves
            if self.chance.random() < 0.2:
                continue  # the site was away
            self.arrive(turn.site, turn.version)

    def arrive(self, site: str, version: str) -> None:
        before = self.has.get(site, ("", self.now))
        if site == "one":
            hours = (self.now - before[1]).total_seconds() / 3600
            self.baked[before[0]] = max(self.baked.get(before[0], 0), hours)
        if before[0] != version:
            self.has[site] = version, self.now
        if site == "two" and before[0] != version:
            since = (self.now - self.has["one"][1]).total_seconds() / 3600
            assert self.has["one"][0] == version
            assert since >= 24, "it has baked"
            assert version > before[0], "a site never goes back by itself"
            assert version not in self.held
        if self.chance.random() < 0.9:  # else the run was killed before it wrote its books
            known = self.puts.get(site)
            since = known.since if known is not None and known.version == version else self.now.timestamp()
            self.puts[site] = replace(put(site, version, self.now), since=since)

    def person(self) -> None:
        """Hold what the first site has, or roll it back by hand, which the store does not know."""
        if "one" in self.has and self.chance.random() < 0.1:
            self.held.add(self.has["one"][0])
        if "one" in self.has and self.chance.random() < 0.1:
            self.has["one"] = "20200101T000000Z", self.now


@pytest.mark.parametrize("seed", range(samples(40, 200)))
def test_over_many_nights_nothing_goes_on_that_has_not_baked_and_is_not_held(seed: int) -> None:
    fleet = Fleet(random.Random(seed))
    sites = [ONE, TWO, THREE]
    for _ in range(40):
        fleet.night(sites)
        fleet.person()
        fleet.now += timedelta(hours=fleet.chance.choice([6, 24, 25, 26]))
    assert "three" in fleet.has, "no wave waits for ever"
