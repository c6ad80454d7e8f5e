"""Who acts from outside: donors who give and try again, payers, and the couriers of the gateway's webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from careforall.payments.domain import GENERIC
from careforall_testing.simulation.calling import Door
from careforall_testing.simulation.gateway import Gateway, Payment
from careforall_testing.simulation.giving import Gift
from careforall_testing.simulation.paying import NOT_FOUND, Incoming
from careforall_testing.simulation.scheduler import Scheduler, Steps

_TRIES = 8
_DONORS_PER_CAMPAIGN = 5


class People:
    """Donors, payers and couriers; they go home when `closing` is set, letters are still delivered."""

    def __init__(
        self,
        scheduler: Scheduler,
        gateway: Gateway,
        giving: Door[Gift, tuple[UUID, UUID]],
        intake: Door[Incoming, int],
        campaigns: Sequence[UUID],
    ) -> None:
        self.accepted: dict[str, list[tuple[UUID, UUID]]] = {}
        self.closing = False
        self.busy = 0
        self._scheduler = scheduler
        self._random = scheduler.random
        self._gateway = gateway
        self._giving = giving
        self._intake = intake
        self._campaigns = campaigns
        self._unpaid: list[Payment] = []
        self._gifts = 0

    def donate(self) -> Steps[None]:
        """Give again and again, repeating a gift under its key until it is answered."""
        while not self.closing:
            self.busy += 1
            gift = self._gift()
            answer = yield from self._give(gift)
            if answer is not None and self._random.random() < 0.9:
                self._unpaid.append(self._gateway.open(answer[1], gift.label, gift.amount, gift.gateway))
            self.busy -= 1
            yield self._random.random()

    def pay(self) -> Steps[None]:
        """Let something happen to one payment after the other."""
        while not self.closing:
            yield self._random.random() * 0.2
            if self._unpaid:
                index = int(self._random.random() * len(self._unpaid))
                if not self._gateway.play(self._unpaid[index]) or self._random.random() < 0.1:
                    self._unpaid[index] = self._unpaid[-1]
                    self._unpaid.pop()

    def deliver(self) -> Steps[None]:
        """Deliver webhooks until each is answered with something else than "try again"."""
        while True:
            letter = self._gateway.next_letter()
            if letter is None:
                yield 0.1
                continue
            self.busy += 1
            status = yield from self._intake.ask(letter.event)
            if status is None or status == NOT_FOUND:
                self._gateway.send(letter.event)
            self.busy -= 1

    def _give(self, gift: Gift) -> Steps[tuple[UUID, UUID] | None]:
        heard: tuple[UUID, UUID] | None = None
        for _ in range(_TRIES):
            answer = yield from self._giving.ask(gift)
            if answer is not None:
                self.accepted.setdefault(gift.label, []).append(answer)
                heard = answer
            if gift.key is None or (heard is not None and self._random.random() < 0.9):
                break
            yield 0.1
        return heard

    def _gift(self) -> Gift:
        self._gifts += 1
        label = f"gift {self._gifts}"
        draw = self._random.random
        return Gift(
            label=label,
            key=f"key of {label}" if draw() < 0.8 else None,
            campaign_id=self._campaigns[int(draw() * len(self._campaigns))],
            donor=f"donor{1 + int(draw() * _DONORS_PER_CAMPAIGN)}",
            amount=Decimal(1 + int(draw() * 50)),
            gateway=GENERIC if draw() < 0.2 else "simulator",
        )
