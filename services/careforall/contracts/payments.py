"""Events of the payments service. The aggregate is the payment intent; amounts are absolute (rule 5)."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

from careforall.kit.envelope import Event

SubjectType = Literal["DONATION", "ORDER"]
PaymentStatus = Literal["INITIATED", "AUTHORIZED", "CAPTURED", "FAILED", "REFUNDED"]
Method = Literal["CARD", "PAYPAL", "UPI", "WALLET"]


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
