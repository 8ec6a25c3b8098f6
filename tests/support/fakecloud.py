"""A cloud in memory that makes machines, with faults: a fake, for what a real one does at the wrong moment."""

from __future__ import annotations

from dataclasses import replace

from cc_images.errors import CCImagesError, Reason
from cc_images.remote.machine_steps import Machine, State


class FakeCloud:
    """Machines are ready `boots` looks after they were asked for. `faults` are used up, one for each request."""

    def __init__(self, boots: int = 1) -> None:
        self.machines: dict[str, Machine] = {}
        self.made: list[str] = []
        self.faults: list[str] = []
        """lost, in vain, refused, twice, error, for ever."""
        self.hidden: set[str] = set()
        self._boots = boots
        self._looks: dict[str, int] = {}

    def prepare(self) -> None: ...

    def every(self) -> list[Machine]:
        for id, machine in [*self.machines.items()]:
            self._looks[id] += 1
            if machine.state is State.LEAVING:
                del self.machines[id]
            elif machine.state is State.BUILD and self._looks[id] > self._boots and not machine.fault:
                self.machines[id] = replace(machine, state=State.ACTIVE, address="192.0.2.1")
        return [each for id, each in self.machines.items() if id not in self.hidden]

    def is_gone(self, id: str) -> bool:
        return id not in self.machines

    def create(self, name: str, *, head: str, run: str, expires: float, user_data: str = "") -> str:
        fault = self.faults.pop(0) if self.faults else ""
        self.made.append(name)
        assert user_data.startswith("#cloud-config\n")
        if fault == "refused":
            raise CCImagesError("the quota is used up", reason=Reason.QUOTA)
        if fault == "in vain":
            return ""
        for _ in range(2 if fault == "twice" else 1):
            id = f"id{len(self._looks)}"
            state = State.ERROR if fault == "error" else State.BUILD
            said = "No valid host was found." if fault == "error" else "for ever" if fault == "for ever" else ""
            self.machines[id] = Machine(
                id=id, name=name, state=state, created=len(self._looks), cluster="burst", head=head, run=run,
                expires=expires, fault=said,
            )  # fmt: skip
            self._looks[id] = 0
        return "" if fault == "lost" else id

    def destroy(self, id: str) -> None:
        if id in self.machines:
            self.machines[id] = replace(self.machines[id], state=State.LEAVING)
