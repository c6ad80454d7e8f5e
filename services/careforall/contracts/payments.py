"""Events of the payments service. The aggregate is the payment intent; amounts are absolute (rule 5)."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from careforall.kit.envelope import Event

SubjectType = Literal["DONATION", "ORDER"]
PaymentStatus = Literal["INITIATED", "AUTHORIZED", "CAPTURED", "FAILED", "REFUNDED"]
Method = Literal["CARD", "PAYPAL", "UPI", "WALLET"]
GatewayName = Literal["simulator", "stripe", "paypal", "generic"]
"""Whom money can be asked from; `generic` is any company that only tells us by our own webhook."""


class _Payment(Event, frozen=True, kw_only=True):
    intent_id: UUID
    subject_type: SubjectType
    subject_id: UUID
    amount: Decimal
    currency: str
    gateway: str
    livemode: bool = False


class PaymentIntentCreated(_Payment, frozen=True, kw_only=True):
    """Our record that somebody is to pay exists."""

    SUBJECT: ClassVar[str] = "payments.intent_created"

    expires_at: datetime


class PaymentAuthorized(_Payment, frozen=True, kw_only=True):
    """The gateway holds the money."""

    SUBJECT: ClassVar[str] = "payments.authorized"


class PaymentCaptured(_Payment, frozen=True, kw_only=True):
    """The money is ours."""

    SUBJECT: ClassVar[str] = "payments.captured"

    captured_at: datetime
    method: Method | None = None
    gateway_transaction_id: str = ""


class PaymentAttemptFailed(_Payment, frozen=True, kw_only=True):
    """One try failed; the intent stays payable."""

    SUBJECT: ClassVar[str] = "payments.attempt_failed"

    reason: str = ""
    code: str = ""
    retryable: bool = True


class PaymentFailed(_Payment, frozen=True, kw_only=True):
    """The intent ended without money."""

    SUBJECT: ClassVar[str] = "payments.failed"

    reason: str = ""


class PaymentRefunded(_Payment, frozen=True, kw_only=True):
    """Money went back. `refund_amount` by this refund, `total_refunded` so far; `fully` when nothing is left."""

    SUBJECT: ClassVar[str] = "payments.refunded"

    refund_id: UUID
    refund_amount: Decimal
    total_refunded: Decimal
    fully: bool
    refunded_at: datetime


class PaymentVoided(_Payment, frozen=True, kw_only=True):
    """An authorisation was released; a void fails the donation, it does not refund it."""

    SUBJECT: ClassVar[str] = "payments.voided"

    reason: str = ""


class PaymentDisputed(_Payment, frozen=True, kw_only=True):
    """The payer's bank disputes a capture, or decided. `status` is this dispute's; `disputed_amount` adds up all OPEN or LOST."""

    SUBJECT: ClassVar[str] = "payments.disputed"

    disputed_amount: Decimal
    status: Literal["OPEN", "WON", "LOST"] = "OPEN"
    disputed_at: datetime | None = None


class PaymentSnapshot(_Payment, frozen=True, kw_only=True):
    """The present state, sent again for whoever lost theirs; what it says is known to everybody who did not."""

    SUBJECT: ClassVar[str] = "payments.snapshot"

    status: PaymentStatus
    status_at: datetime
    captured_amount: Decimal
    refunded_amount: Decimal
    disputed_amount: Decimal = Decimal(0)
    reason: str = ""


AUTHORIZE = "ask.payments.authorize"
"""Request subject: `Authorize` to `PaymentStep`; the order's intent is made where its event has not come yet."""
CAPTURE = "ask.payments.capture"
"""Request subject: `IntentStep` to `PaymentStep`; the held money is taken."""
CANCEL = "ask.payments.cancel"
"""Request subject: `IntentStep` to `PaymentStep`; an intent that nobody has paid ends at its gateway, held money is released."""
VOID = "ask.payments.void"
"""Request subject: `IntentStep` to `PaymentStep`; held money is released."""
REFUND = "ask.payments.refund"
"""Request subject: `RefundStep` to `PaymentStep`."""


class Authorize(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the money of an order by a means of payment that its gateway has named by a token, never by a number."""

    step_id: UUID
    intent_id: UUID
    order_id: UUID
    title: str
    user_id: UUID
    amount: Decimal
    currency: str
    gateway: str
    expires_at: datetime
    method: Method
    payment_token: str


class IntentStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step with an intent; asked again with the same id it is answered as the first time."""

    step_id: UUID
    intent_id: UUID


class RefundStep(msgspec.Struct, frozen=True, kw_only=True):
    """Send money back, all that is left or a part."""

    step_id: UUID
    intent_id: UUID
    amount: Decimal | None = None
    reason: str


class PaymentStep(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    DECLINED ends the attempt, not the intent (rule 10). PENDING: nobody knows yet, or the payer must go to `redirect_url`; the
    payments' events tell the end. ENDED: the intent ended without money. REFUNDED may still be under way at the gateway.
    """

    outcome: Literal["AUTHORIZED", "CAPTURED", "DECLINED", "PENDING", "ENDED", "REFUNDED", "REFUSED", "UNKNOWN_INTENT"]
    code: str = ""
    reason: str = ""
    redirect_url: str = ""
    total_refunded: Decimal = Decimal(0)
    under_way: bool = False
    """The gateway has not said yet whether it was done; it will be."""
    refund_amount: Decimal | None = None
    """What this refund sends back; None where nothing is said of it."""
