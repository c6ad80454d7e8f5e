"""What PayPal's refusals mean: it was done before, the payer's means were declined, or no more than that it was refused."""

from careforall.payments.domain import DeclineFact, Fact
from careforall.payments.gateways.base import GatewayRefused
from careforall.payments.gateways.paypal_objects import Order, ended

NOT_FOUND = frozenset({"RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID"})
DONE = frozenset({"ORDER_ALREADY_CAPTURED", "ORDER_ALREADY_AUTHORIZED", "ORDER_ALREADY_COMPLETED", "ORDER_COMPLETED_OR_VOIDED"})
RELEASED = frozenset({"PREVIOUSLY_VOIDED", "AUTHORIZATION_VOIDED"})
_NOT_APPROVED = frozenset({"ORDER_NOT_APPROVED", "PAYER_ACTION_REQUIRED"})
_DECLINED = frozenset(
    {
        "INSTRUMENT_DECLINED",
        "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING",
        "TRANSACTION_REFUSED",
        "PAYER_CANNOT_PAY",
        "PAYER_ACCOUNT_RESTRICTED",
        "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
        "TRANSACTION_LIMIT_EXCEEDED",
        "DECLINED_DUE_TO_RELATED_TXN",
        "CARD_EXPIRED",
    }
)
"""Refusals of one approval: the payer may approve the order again, with other means."""
_SPENT = frozenset({"ORDER_EXPIRED", "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED", "MAX_AUTHORIZATION_COUNT_EXCEEDED"})
"""Refusals after which only a new order can be paid."""


def untaken(order: Order, refusal: GatewayRefused) -> tuple[Fact, ...]:
    """Return what a refusal to take an approved order means, where it means anything to the payment.

    Raises:
        GatewayRefused: It means nothing but that.
    """
    if refusal.code in _NOT_APPROVED:
        return ()
    if refusal.code in _DECLINED:
        return (DeclineFact(reason=str(refusal), code=refusal.code, gateway_object=order.id),)
    if refusal.code in _SPENT:
        return (ended(order.id, str(refusal)),)
    raise refusal
