"""What must be true once everything has come to rest; each check names the first thing it finds wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from uuid import UUID

from careforall.donations.domain import LEGAL_STEPS, Donation
from careforall.payments.domain import STEPS
from careforall.totals.domain import Gift
from careforall_testing.simulation.scheduler import Violation
from careforall_testing.simulation.totalling import Counters
from careforall_testing.simulation.truth import differs, donation_status
from careforall_testing.simulation.world import World

_NOTHING = Decimal(0)
_COUNTED = frozenset({"COMPLETED", "REFUNDED"})


def check(world: World) -> None:
    """Check everything.

    Raises:
        Violation: With what is wrong.
    """
    for look in CHECKS:
        for wrong in look(world):
            raise Violation(wrong)


def accepted_gifts_are_kept_once(world: World) -> Iterator[str]:
    """Every accepted answer names a donation that is there, and a gift is never two donations."""
    donations = world.giving.donations.rows
    for label, answers in world.people.accepted.items():
        if any(donation_id not in donations for donation_id, _ in answers):
            yield f"{label} was accepted and is lost"
        if len({donation_id for donation_id, _ in answers}) > 1:
            yield f"{label} was answered with two donations"
    for label, count in Counter(donation.donor_name for donation in donations.values()).items():
        if count > 1:
            yield f"{label} is {count} donations"


def events_have_one_effect(world: World) -> Iterator[str]:
    """Every outbox id had exactly one effect in each consumer that hears its subject, and nothing else had any."""
    for consumer, inbox, _, outbox in world.consumers:
        effects = {event_id: count for (name, event_id), count in inbox.effects.rows.items() if name == consumer.name}
        for event_id, row in outbox.rows.rows.items():
            if row.event_type in consumer.subjects and effects.pop(event_id, 0) != 1:
                count = inbox.effects.rows.get((consumer.name, event_id), 0)
                yield f"{consumer.name} applied {row.event_type} {event_id} {count} times"
        for event_id in effects:
            yield f"{consumer.name} applied {event_id}, which nobody committed"


def payments_follow_their_gateway(world: World) -> Iterator[str]:
    """Every gift has its intent; one whose gateway can be asked is as the gateway says."""
    intents = world.paying.intents.rows
    for donation in world.giving.donations.rows.values():
        intent = intents.get(donation.intent_id)
        payment = world.gateway.payments.get(donation.intent_id)
        if intent is None:
            yield f"{donation.donor_name} has no intent"
        elif payment is not None and payment.askable and differs(payment, intent):
            yield f"the payment of {donation.donor_name} is {intent.status}, its gateway says {payment.status}"
        elif intent.refunded_amount > intent.captured_amount:
            yield f"the payment of {donation.donor_name} gave back more than it captured"


def donations_follow_their_payment(world: World) -> Iterator[str]:
    """Every donation ends in the state, and with the refunded and disputed amounts, of its payment."""
    for donation in world.giving.donations.rows.values():
        intent = world.paying.intents.rows.get(donation.intent_id)
        if intent is None:
            continue
        expected = (donation_status(intent), intent.refunded_amount, intent.disputed_amount)
        if (donation.status, donation.refunded_amount, donation.disputed_amount) != expected:
            yield f"{donation.donor_name} is {donation.status}, its payment {intent.status}"


def histories_are_legal(world: World) -> Iterator[str]:
    """Histories take legal steps only, each from where the last ended."""
    donated = _chains({key: row for key, row in world.giving.history.rows.items() if row[0] is not None})
    for steps in donated.values():
        yield from _illegal(steps, "PENDING", lambda a, b: b in LEGAL_STEPS[a] or a == b != "PENDING")  # type: ignore[index]
    for donation in world.giving.donations.rows.values():
        if any((donation.id, version) not in world.giving.history.rows for version in range(1, donation.version + 1)):
            yield f"the history of {donation.donor_name} has a hole"
    for steps in _chains(world.paying.transitions.rows).values():
        yield from _illegal(steps, "INITIATED", lambda a, b: b in STEPS[a])  # type: ignore[index]


def refunds_add_up(world: World) -> Iterator[str]:
    """What a payment gave back is the sum of its settled refunds."""
    given: dict[UUID, object] = {}
    for refund in world.paying.refunds.rows.values():
        if refund.status == "SUCCEEDED" and not refund.parked and not refund.unapplied:
            given[refund.intent_id] = given.get(refund.intent_id, 0) + refund.amount  # type: ignore[operator]
    for intent in world.paying.intents.rows.values():
        if given.get(intent.id, 0) != intent.refunded_amount:
            yield f"the refunds of payment {intent.id} do not add up to {intent.refunded_amount}"


def disputes_add_up(world: World) -> Iterator[str]:
    """What is disputed of a payment is the sum of its open and lost disputes."""
    held: dict[UUID, object] = {}
    for dispute in world.paying.disputes.rows.values():
        if dispute.status != "WON" and not dispute.parked:
            held[dispute.intent_id] = held.get(dispute.intent_id, 0) + dispute.amount  # type: ignore[operator]
    for intent in world.paying.intents.rows.values():
        if held.get(intent.id, 0) != intent.disputed_amount:
            yield f"the disputes of payment {intent.id} do not add up to {intent.disputed_amount}"


def the_ledger_says_what_payments_say(world: World) -> Iterator[str]:
    """What is booked of a payment, account by account, is what the payment says of itself."""
    booked: dict[UUID, dict[str, Decimal]] = {}
    for entry in world.paying.entries.rows.values():
        accounts = booked.setdefault(entry.payment_id, {})
        for line in entry.lines:
            accounts[line.account] = accounts.get(line.account, _NOTHING) + line.amount
    for intent in world.paying.intents.rows.values():
        found = booked.pop(intent.id, {})
        late = _summed(one.amount for one in world.paying.refunds.rows.values() if one.intent_id == intent.id and one.unapplied)
        clearing = _summed(amount for account, amount in found.items() if account.startswith("gateway:"))
        said = (intent.captured_amount, intent.refunded_amount, intent.disputed_amount, late)
        names = (f"campaign:{intent.campaign_id}", "refunds", "disputes", "unapplied")
        income, refunds, disputes, unapplied = (found.get(name, _NOTHING) for name in names)
        if said != (-income, refunds, disputes, -unapplied):
            yield f"payment {intent.id} says {said}, the ledger {found}"
        if clearing != said[0] - said[1] - said[2] + late:
            yield f"the gateway holds {clearing} of payment {intent.id}, which says {said}"
    for payment_id in booked:
        yield f"payment {payment_id} is booked and is not there"


def totals_are_a_recount(world: World) -> Iterator[str]:
    """Base rows are the donations as they stand, and counters are their sums."""
    counted = {one.id: one for one in world.giving.donations.rows.values() if one.status in _COUNTED}
    base = world.totalling.base.rows
    for donation in counted.values():
        gift = base.get(donation.id)
        if gift is None or _amounts(gift) != _amounts(donation):
            yield f"totals do not have {donation.donor_name} as it stands"
    if len(base) != len(counted):
        yield "totals count donations that were never completed"
    recounted = _recount(counted)
    if recounted != world.totalling.counters.rows:
        yield f"the counters are {world.totalling.counters.rows}, a recount gives {recounted}"


def receipts_are_sent_once(world: World) -> Iterator[str]:
    """Every completed donation has its receipt, and no other has one."""
    receipts = [fact for fact in world.notifying.notices.rows if fact.startswith("donation_completed:")]
    expected = {f"donation_completed:{one.id}" for one in world.giving.donations.rows.values() if one.status in _COUNTED}
    if len(receipts) != len(expected) or set(receipts) != expected:
        yield f"{len(receipts)} receipts for {len(expected)} completed donations"


CHECKS: tuple[Callable[[World], Iterator[str]], ...] = (
    accepted_gifts_are_kept_once,
    payments_follow_their_gateway,
    donations_follow_their_payment,
    histories_are_legal,
    refunds_add_up,
    disputes_add_up,
    the_ledger_says_what_payments_say,
    totals_are_a_recount,
    receipts_are_sent_once,
    events_have_one_effect,
)


def _chains(
    rows: dict[tuple[UUID, int], tuple[str | None, str]] | dict[tuple[UUID, int], tuple[str, str]],
) -> dict[UUID, list[tuple[str, str]]]:
    """Return the steps of each aggregate in order."""
    found: dict[UUID, list[tuple[str, str]]] = {}
    for (owner, _), (came_from, to) in sorted(rows.items(), key=lambda row: row[0][1]):
        found.setdefault(owner, []).append((came_from or "", to))
    return found


def _illegal(steps: list[tuple[str, str]], start: str, legal: Callable[[str, str], bool]) -> Iterator[str]:
    at = start
    for came_from, to in steps:
        if came_from != at:
            yield f"a step leaves {came_from} where the last one ended in {at}"
        if not legal(came_from, to):
            yield f"a step goes from {came_from} to {to}"
        at = to


def _summed(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, _NOTHING)


def _amounts(one: Gift | Donation) -> tuple[int, Decimal, Decimal]:
    return one.version, one.refunded_amount, one.disputed_amount


def _recount(donations: dict[UUID, Donation]) -> dict[UUID, Counters]:
    found: dict[UUID, Counters] = {}
    donors: set[tuple[UUID, str]] = set()
    for one in donations.values():
        before = found.get(one.campaign_id, Counters())
        donors.add((one.campaign_id, one.donor_key))
        found[one.campaign_id] = Counters(
            before.total_amount + one.amount,
            before.refunded_amount + one.refunded_amount,
            before.disputed_amount + one.disputed_amount,
            before.total_donations + 1,
            sum(1 for campaign_id, _ in donors if campaign_id == one.campaign_id),
            before.revision + one.version,
        )
    return found
