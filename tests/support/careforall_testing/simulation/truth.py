"""When is our record of a payment what the gateway says? Asked by the reconciler, and at the end of a run."""

from __future__ import annotations

from decimal import Decimal

from careforall.contracts.donations import DonationStatus
from careforall.payments.domain import Intent
from careforall_testing.simulation.gateway import Payment


def differs(payment: Payment, intent: Intent | None) -> bool:
    """Whether an intent is not what its gateway says; one that is not there yet differs from nothing."""
    return intent is not None and (intent.status, intent.refunded_amount, intent.disputed_amount) != _expected(payment)


def _expected(payment: Payment) -> tuple[str, Decimal, Decimal]:
    if payment.status == "OPEN":
        return "INITIATED", Decimal(0), Decimal(0)
    whole = payment.refunded == payment.amount
    return "REFUNDED" if whole else payment.status, payment.refunded, payment.disputed


def donation_status(intent: Intent) -> DonationStatus:
    """Return what an intent means to its donation; a void fails the donation, it does not refund it."""
    match intent.status:
        case "INITIATED" | "AUTHORIZED":
            return "PENDING"
        case "CAPTURED":
            return "COMPLETED"
        case "REFUNDED" if intent.captured_amount > 0:
            return "REFUNDED"
        case _:
            return "FAILED"
