"""What can be done to an intent: an action decides, from the intent as it is held, which changes come of it, one after the other.

Buttons of the hosted page, tokens, calls of the API and the control routes all end here; `acting` writes what they decide.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from careforall.kit.ids import new_id
from careforall.simulator import domain
from careforall.simulator.domain import Change, Dispute, Intent
from careforall.simulator.errors import UnexpectedState
from careforall.simulator.switches import Chances, Moment

Button = Literal["pay", "decline", "cancel"]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A locked intent with all that decides about it."""

    intent: Intent
    dispute: Dispute | None
    moment: Moment

    @property
    def chances(self) -> Chances:
        """The mishaps of what happens to it next."""
        return self.moment.chances(self.intent.number, self.intent.version)


Action = Callable[[Held], Sequence[Change]]


def look(held: Held) -> Sequence[Change]:
    """Change nothing: the payer has to go to the hosted page first."""
    del held
    return []


def pay(held: Held) -> Sequence[Change]:
    """Pay, unless the switch `decline_rate` has the payer declined."""
    if held.chances.hits("decline", held.moment.switches.decline_rate):
        return decline(held)
    return succeed(held)


def succeed(held: Held) -> Sequence[Change]:
    """Pay, whatever the switch `decline_rate` says."""
    paid = domain.pay(held.intent, new_name("ch"))
    if paid.intent.status == "succeeded" and held.chances.hits("dispute", held.moment.switches.dispute):
        return [paid, domain.open_dispute(paid.intent, dispute_id=new_name("dp"), now=held.moment.now)]
    return [paid]


def decline(held: Held) -> Sequence[Change]:
    """Refuse the payer once."""
    return [domain.decline(held.intent, new_name("ch"))]


def abandon(held: Held) -> Sequence[Change]:
    """End the intent as the payer who turns away does."""
    return [domain.cancel(held.intent, "abandoned")]


def capture(amount: int | None) -> Action:
    """Take held money, all of it or a part."""
    return lambda held: [domain.capture(held.intent, amount)]


def cancel(reason: str | None) -> Action:
    """End the intent without money."""
    return lambda held: [domain.cancel(held.intent, reason)]


def refund(amount: int | None, reason: str | None, metadata: Mapping[str, str]) -> Action:
    """Send money back, all that is left or a part."""

    def action(held: Held) -> Sequence[Change]:
        change = domain.refund(
            held.intent,
            held.dispute,
            refund_id=new_name("re"),
            amount=amount,
            reason=reason,
            metadata=metadata,
            now=held.moment.now,
        )
        return [change]

    return action


def refund_from_outside(amount: int | None) -> Action:
    """Send money back as somebody in the company's own console would."""
    return refund(amount, "requested_by_customer", {})


def dispute(outcome: Literal["won", "lost"] | None) -> Action:
    """Open a dispute, or decide the open one."""

    def action(held: Held) -> Sequence[Change]:
        if outcome is None and held.dispute is not None:
            raise UnexpectedState("The charge is disputed already.")
        if outcome is None:
            return [domain.open_dispute(held.intent, dispute_id=new_name("dp"), now=held.moment.now)]
        return [domain.close_dispute(held.intent, held.dispute, outcome)]

    return action


PRESSED: Mapping[Button, Action] = {"pay": pay, "decline": decline, "cancel": abandon}
"""What a button of the hosted page does."""
BY_TOKEN: Mapping[str, Action] = {"tok_ok": pay, "tok_declined": decline, "tok_later": look}
"""What the company does with a means of payment."""


def new_name(kind: str) -> str:
    """Return a new id such as `pi_...`; later ones sort behind earlier ones."""
    return f"{kind}_{new_id().hex}"
