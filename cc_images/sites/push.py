"""One push: observes the site, takes the step that the rules decide, and observes again."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from cc_images import clock
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.model.stop import Stop
from cc_images.sites import learning, reconcile
from cc_images.sites.base import (
    Act,
    Archive,
    Broken,
    Delete,
    ImageSite,
    Publication,
    Restore,
    Upload,
)
from cc_images.sites.carrying import EACH_ITS_OWN, set_by_others, set_by_us
from cc_images.sites.cloud import PAUSE
from cc_images.sites.entry import Entry
from cc_images.sites.remarks import no_failure
from cc_images.sites.steps import FAILURES, UPLOADS, End, Failure, Look, Members, Use, Wait
from cc_images.sites.view import Memory, Wish

_log = logging.getLogger(__name__)

PERSEVERANCE = timedelta(hours=6)
"""For so long a push tries to fill a vacancy that it made, unless its run is ended."""


LONGEST_PAUSE = 30.0
"""Seconds between two tries, at most."""


class Push:
    """Carries messages between a site and the decisions for one name."""

    def __init__(
        self,
        site: ImageSite,
        name: str,
        publication: Publication | None,
        *,
        stop: Stop,
        report: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._site, self._publication = site, publication
        self._stop, self._report, self._say = stop, report, say
        self.wish = Wish(
            name=name,
            wanted=False,
            disk_format=site.disk_format,
            visibility=site.visibility,
            shares=site.shares,
            now=clock.now(),
        )
        self.memory = Memory(ids=tuple(str(uuid.uuid4()) for _ in range(UPLOADS)))
        self.notes: list[str] = []
        self._seen: tuple[Entry, ...] = ()
        self._error: CCImagesError | None = None
        """The failure that explains why the push is undone, or why it is late."""
        self.pause, self.perseverance = PAUSE, PERSEVERANCE
        """Seconds before a step is tried again, and for how long a vacancy is tried to be filled."""
        self._vacant_since: float | None = None
        self._digests: dict[str, str] = {}

    def run(self) -> End:
        """Take steps until none is left. Raises CCImagesError if the wish is not fulfilled."""
        self._look(whole=True)
        while True:
            step = reconcile.decide(self._known(), self._seen, self.memory)
            match step:
                case End():
                    return self._ended(step)
                case Look():
                    self._look(whole=False)
                case Members():
                    self._ask_members(step)
                case Use():
                    self._ask_use(step)
                case Wait():
                    self._pause(self.memory.waits)
                    self.memory = learning.waited(self.memory)
                    self._look(whole=True)
                case _:
                    self._act(step)

    def _known(self) -> Wish:
        """Return the wish with what is asked of the site, or of the file, only when it matters."""
        wish = self.wish
        if not wish.wanted or self._publication is None:
            return wish
        named = any(entry.name == wish.name and entry.complete for entry in self._seen)
        if not named and not wish.first_visibility:
            wish = replace(wish, first_visibility=self._site.first_visibility())
        algorithms = {entry.algorithm for entry in self._seen if entry.size == wish.size}
        self.wish = replace(wish, digests=wish.digests | {self._digest(each) for each in algorithms} - {""})
        return self.wish

    def _digest(self, algorithm: str) -> str:
        """Return the file's digest; each is computed once."""
        assert self._publication is not None
        if algorithm not in self._digests:
            self._digests[algorithm] = self._publication.digest(algorithm)
        return self._digests[algorithm]

    def _act(self, step: Act) -> None:
        """Take a step, and learn from its answer; after one that was not seen, look again."""
        self.memory = learning.begin(self.memory, step)
        try:
            answer = self._site.act(step, self._publication, stop=self._stop, report=self._report)
            if isinstance(step, Upload):
                self._verify(answer)
        except Interrupted:
            self._leave()
            raise
        except CCImagesError as error:
            _log.info("%s: %s failed: %s", self.wish.name, type(step).__name__, error.message)
            failed = Failure(error.temporary and self._may_repeat(step), broken=isinstance(error, Broken))
            refused = self.memory.refused
            self._seen, self.memory = learning.learn(self.wish, self._seen, self.memory, step, failed)
            if self.memory.refused != refused and (said := no_failure(step, error)) is not None:
                self.notes.append(said)
                return
            if self._error is None or not self.memory.undoing:
                self._error = error
            if error.temporary:
                self._pause(self.memory.failures - 1)
            self._look(whole=True)
        else:
            self._seen, self.memory = learning.learn(self.wish, self._seen, self.memory, step, answer)
            self._filled()
            if isinstance(step, Archive) and self.memory.vacant:
                self._say_what_is_lost(step)

    def _look(self, *, whole: bool) -> None:
        """Observe; a site that does not answer while the name is vacant is asked again for as long as it takes."""
        tries = 0
        while True:
            try:
                before = () if whole else self._seen
                self._seen = tuple(self._site.observe(self.wish.name, before, lost=not self.wish.wanted))
            except CCImagesError as error:
                if not (error.temporary and self._perseveres()):
                    raise self._explained(self._error or error) from error
                self._pause(tries)
                tries += 1
            else:
                self.memory = learning.looked(self._known(), self._seen, self.memory)
                self._filled()
                return

    def _may_repeat(self, step: Act) -> bool:
        """Say whether a step may be taken again; one that a site refuses again and again, while it answers, is not.

        Then a publication is undone. Giving a name back is tried for as long as it takes.
        """
        if not self.memory.vacant or self.memory.failures < FAILURES - 1:
            return True
        return isinstance(step, Restore) and self._perseveres()

    def _perseveres(self) -> bool:
        """Say whether a vacant name is a reason to go on, and tell about it."""
        if not self._is_vacant() or self._stop.is_set():
            return False
        now = time.monotonic()
        if self._vacant_since is None:
            self._vacant_since = now
        said = f"{self._site.address(self.wish.name)}: NO IMAGE HAS THIS NAME NOW; trying to give it one"
        self._say(said)
        _log.warning("%s", said)
        return now - self._vacant_since < self.perseverance.total_seconds()

    def _ask_members(self, step: Members) -> None:
        """Ask with whom an image is shared; a site that does not say is no reason to fail."""
        projects: frozenset[str] | None = None
        try:
            projects = self._site.members(step.entry)
        except CCImagesError as error:
            self.notes.append(f"nobody can say with whom {step.entry.id} is shared: {error.message}")
        self.memory = learning.told_members(self.memory, step.entry, projects)

    def _ask_use(self, step: Use) -> None:
        """Ask how many servers use an image, of which a step says what it leaves alone."""
        try:
            count = self._site.users(step.entry)
            said = f"{count} servers use it" if count else "" if count == 0 else "nobody can say whether servers use it"
        except CCImagesError as error:
            count, said = None, f"nobody can say whether servers use it: {error.message}"
        if said:
            self.notes.append(f"{step.entry.name} stays: {said}")
        self.memory = learning.told_use(self.memory, step.entry, count)

    def _filled(self) -> None:
        if not self.memory.vacant:
            self._vacant_since = None

    def _ended(self, end: End) -> End:
        """Return the end, or raise the error that it stands for."""
        if self.memory.undoing or end.reason is Reason.GIVEN_UP:
            raise self._explained(self._error or _not_stored(self.wish))
        if end.reason:
            raise CCImagesError(end.message, hint=end.hint, reason=end.reason, temporary=end.temporary)
        return end

    def _explained(self, error: CCImagesError) -> CCImagesError:
        """Return the error, which also says whether the name was left vacant."""
        if not self._is_vacant():
            return error
        return CCImagesError(
            f"{self._site.address(self.wish.name)}: NO IMAGE HAS THIS NAME NOW: {error.message}",
            hint=f"push again, or `cc-images doctor --mend`, gives it one; {error.hint}",
            reason=Reason.VACANT,
            temporary=error.temporary,
        )

    def _is_vacant(self) -> bool:
        return self._site.vacates and self.memory.vacant

    def _verify(self, entry: Entry | None) -> None:
        """Raise CCImagesError unless the site has what was sent."""
        wish, publication = self._known(), self._publication
        assert publication is not None
        if entry is None:
            lost = f"the upload of {wish.name} is gone"
            raise CCImagesError(lost, hint="push again", reason=Reason.GONE, temporary=True)
        digest = self._digest(entry.algorithm) if entry.complete else ""
        if entry.complete and entry.size == publication.size and digest and entry.sha512 == digest:
            return
        raise CCImagesError(
            f"the site holds {entry.size} bytes ({entry.algorithm} {entry.sha512[:12]}…) of {wish.name}, "
            f"not the {publication.size} ({entry.algorithm} {digest[:12]}…) that were sent",
            hint="push again; if it repeats, the site's storage or the file in the store is damaged",
            reason=Reason.VERIFICATION,
        )

    def _leave(self) -> None:
        """Remove the upload of a push that was ended, if the site lets us; else the next push finds it."""
        self.memory = replace(self.memory, undoing=True)
        try:
            self._look(whole=True)
            step = reconcile.decide(self.wish, self._seen, self.memory)
            if isinstance(step, Delete):
                self._act(step)
        except CCImagesError as error:
            _log.info("%s: cannot remove the upload: %s", self.wish.name, error.message)

    def _say_what_is_lost(self, step: Archive) -> None:
        """Note properties of the image that is replaced which the new one has not: a person may have set them."""
        if self._publication is None:
            return
        carried = set_by_others(step.entry) if self.wish.carry else {}
        known = {*self._publication.properties, *EACH_ITS_OWN, *set_by_us(step.entry), *carried}
        lost = sorted(f"{name}={value}" for name, value in step.entry.properties.items() if name not in known)
        if lost and step.entry.made:
            self.notes.append(f"{step.name} has {', '.join(lost)}, and the new image has not")

    def _pause(self, tries: int) -> None:
        """Wait before another try, longer each time, and not once the run is asked to end."""
        until = time.monotonic() + min(self.pause * 2 ** min(tries, 10), LONGEST_PAUSE)
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            time.sleep(min(left, 0.2))


class Never:
    """A request to end that never comes."""

    def is_set(self) -> bool:
        return False


def _not_stored(wish: Wish) -> CCImagesError:
    return CCImagesError(
        f"the site did not store the upload of {wish.name}",
        hint="see the site's own log, then push again",
        reason=Reason.VERIFICATION,
        temporary=True,
    )
