"""A fake broker: it forgets ids it has seen, delivers again, in any order, loses acknowledgements and whole streams."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

import msgspec

from careforall_testing.simulation.faults import Faults
from careforall_testing.simulation.scheduler import Scheduler

ACK_WAIT = 1.5


class Stored(msgspec.Struct, frozen=True):
    """A message in a stream."""

    sequence: int
    subject: str
    id: UUID
    data: bytes


class Delivery(msgspec.Struct, frozen=True):
    """A message on its way to a consumer; acknowledging it after a wipe means nothing."""

    stored: Stored
    durable: Durable
    deliveries: int


class Durable:
    """What a durable consumer of a stream has not had, or has had without acknowledging it."""

    def __init__(self, subjects: frozenset[str]) -> None:
        self.subjects = subjects
        self.waiting: list[Stored] = []
        self.unacknowledged: OrderedDict[int, tuple[Stored, float]] = OrderedDict()
        self.deliveries: dict[int, int] = {}

    def offer(self, stored: Stored) -> None:
        """Take a message if its subject is heard here."""
        if stored.subject in self.subjects:
            self.waiting.append(stored)

    @property
    def idle(self) -> bool:
        """Whether everything was acknowledged."""
        return not self.waiting and not self.unacknowledged


class Stream:
    """One stream with its window of ids and its durable consumers."""

    def __init__(self, name: str, scheduler: Scheduler, faults: Callable[[], Faults]) -> None:
        self.name = name
        self.created = 1
        self.durables: dict[str, Durable] = {}
        self._scheduler = scheduler
        self._faults = faults
        self._messages: list[Stored] = []
        self._window: dict[UUID, int] = {}

    def publish(self, subject: str, message_id: UUID, data: bytes) -> bool:
        """Store a message unless its id is in the window; return whether the publisher hears that it is kept."""
        faults, draw = self._faults(), self._scheduler.random.random
        if draw() < faults.publish_lost:
            return False
        if message_id not in self._window:
            stored = Stored(len(self._messages) + 1, subject, message_id, data)
            self._messages.append(stored)
            self._window[message_id] = stored.sequence
            for durable in self.durables.values():
                durable.offer(stored)
        return draw() >= faults.publish_ack_lost

    def fetch(self, name: str, subjects: frozenset[str], size: int) -> list[Delivery]:
        """Return up to `size` messages of a durable, which is made if it is not there."""
        durable = self.durables.get(name) or self._make(name, subjects)
        self._redeliver(durable)
        waiting = durable.waiting
        if not waiting:
            return []
        if self._scheduler.random.random() < self._faults().reorder:
            self._scheduler.random.shuffle(waiting)
        taken, durable.waiting = waiting[:size], waiting[size:]
        return [self._deliver(durable, stored) for stored in taken]

    def acknowledge(self, delivery: Delivery) -> None:
        """Note that a message was handled, if the acknowledgement arrives."""
        if self._scheduler.random.random() >= self._faults().ack_lost:
            delivery.durable.unacknowledged.pop(delivery.stored.sequence, None)

    def forget_window(self) -> None:
        """Forget which ids were seen."""
        self._window.clear()

    def redeliver(self) -> None:
        """Deliver everything again that is not acknowledged, and a few that are."""
        for durable in self.durables.values():
            durable.waiting += [stored for stored, _ in durable.unacknowledged.values()]
            durable.unacknowledged.clear()
            heard = [stored for stored in self._messages[-50:] if stored.subject in durable.subjects]
            durable.waiting += self._scheduler.random.sample(heard, min(3, len(heard)))

    def wipe(self) -> None:
        """Lose the stream with its consumers; it exists again at once, empty and younger."""
        self.created += 1
        self._messages = []
        self._window = {}
        self.durables = {}

    def _make(self, name: str, subjects: frozenset[str]) -> Durable:
        durable = self.durables[name] = Durable(subjects)
        for stored in self._messages:
            durable.offer(stored)
        return durable

    def _redeliver(self, durable: Durable) -> None:
        while durable.unacknowledged:
            sequence, (stored, deadline) = next(iter(durable.unacknowledged.items()))
            if deadline > self._scheduler.now:
                return
            del durable.unacknowledged[sequence]
            durable.waiting.append(stored)

    def _deliver(self, durable: Durable, stored: Stored) -> Delivery:
        count = durable.deliveries[stored.sequence] = durable.deliveries.get(stored.sequence, 0) + 1
        durable.unacknowledged[stored.sequence] = (stored, self._scheduler.now + ACK_WAIT)
        durable.unacknowledged.move_to_end(stored.sequence)
        return Delivery(stored, durable, count)
