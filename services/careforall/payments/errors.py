"""Refusals of the payments service.

Problem
+-- PaymentNotFound       404 payment_not_found
+-- OrderNotFound         404 order_not_found
+-- OrderNotPayable       409 order_not_payable
+-- GatewayNotSetUp       404 gateway_not_configured
+-- InvalidSignature      401 invalid_signature
+-- EventKeyReused        422 idempotency_key_reused
+-- NotRefundable         409 not_refundable
+-- RefundTooLarge        422 refund_exceeds_captured
+-- RefundRefused         409 refund_refused
+-- IllegalTransition     409 illegal_transition
+-- SubjectMismatch       409 subject_mismatch
+-- ReconcilerOff         409 reconciler_off
+-- RunNotFound           404 run_not_found
+-- AlarmNotFound         404 alarm_not_found
+-- GatewayAway           503 gateway_unavailable
"""

from careforall.kit.errors import Conflict, InvalidInput, NotFound, Problem, Unauthorized, Unavailable


class PaymentNotFound(NotFound):
    """There is no such payment, or it is somebody else's."""

    code = "payment_not_found"
    title = "There is no such payment"


class OrderNotFound(NotFound):
    """There is no such order, or it is somebody else's."""

    code = "order_not_found"
    title = "There is no such order"


class OrderNotPayable(Conflict):
    """The order is paid, ended, or waits for its stock."""

    code = "order_not_payable"
    title = "This order cannot be paid now"


class GatewayNotSetUp(NotFound):
    """This gateway is not configured here, so none of its events can be proved to be its own."""

    code = "gateway_not_configured"
    title = "This gateway is not set up here"


class InvalidSignature(Unauthorized):
    """The webhook was not signed with a secret of ours, or too long ago."""

    code = "invalid_signature"
    title = "The signature does not match the body"


class EventKeyReused(Problem):
    """A webhook came under a known key with another body: kept and alarmed, not applied."""

    status = 422
    code = "idempotency_key_reused"
    title = "This key was used with another body"


class NotRefundable(Conflict):
    """Only captured money can be refunded."""

    code = "not_refundable"
    title = "Only captured money can be refunded"


class RefundTooLarge(InvalidInput):
    """More would go back than came in."""

    code = "refund_exceeds_captured"
    title = "More would go back than came in"


class RefundRefused(Conflict):
    """The gateway did not accept the refund; nothing moved."""

    code = "refund_refused"
    title = "The gateway refused the refund"


class IllegalTransition(Conflict):
    """The state machine has no such step."""

    code = "illegal_transition"
    title = "A payment cannot take this step"


class SubjectMismatch(Conflict):
    """An open intent for this subject has another amount or currency."""

    code = "subject_mismatch"
    title = "An open intent for this subject asks for another amount"


class ReconcilerOff(Conflict):
    """The reconciler is switched off, by its setting or by staff."""

    code = "reconciler_off"
    title = "The reconciler is switched off"


class RunNotFound(NotFound):
    """There is no such run of the reconciler."""

    code = "run_not_found"
    title = "There is no such comparison"


class AlarmNotFound(NotFound):
    """There is no such alarm."""

    code = "alarm_not_found"
    title = "There is no such alarm"


class GatewayAway(Unavailable):
    """The gateway cannot be asked now; nothing was charged."""

    code = "gateway_unavailable"
    title = "The gateway cannot be reached now, please retry"
