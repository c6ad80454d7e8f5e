"""Refusals of the sync service.

Problem
+-- CustomerNotFound     404 customer_not_found
+-- TargetNotSetUp       404 target_not_set_up
+-- InvalidSignature     401 invalid_signature
+-- CallUnderWay         503 call_under_way, retryable
+-- CursorExpired        410 cursor_expired
+-- EndpointNotFound     404 webhook_endpoint_not_found
+-- DeliveryNotFound     404 webhook_delivery_not_found
+-- EndpointDisabled     409 webhook_endpoint_disabled
+-- TooManyEndpoints     409 too_many_webhook_endpoints
+-- TooManySecrets       409 too_many_webhook_secrets
"""

from careforall.kit.errors import Conflict, NotFound, Problem, Unauthorized, Unavailable


class CustomerNotFound(NotFound):
    """There is no such customer, or none any more."""

    code = "customer_not_found"
    title = "There is no such customer"


class TargetNotSetUp(NotFound):
    """Customers are not mirrored there, or its webhook secret is not known here."""

    code = "target_not_set_up"
    title = "This target is not set up here"


class InvalidSignature(Unauthorized):
    """The event is not signed with a secret of ours, or too long ago."""

    code = "invalid_signature"
    title = "The signature is not valid"


class CallUnderWay(Unavailable):
    """An event about something that a call of ours is changing just now; told again later it can be judged."""

    code = "call_under_way"
    title = "A call of ours about this is under way, tell it again"


class CursorExpired(Problem):
    """Events after this place were forgotten, or it was never reached here: a reader who went on would miss some."""

    status = 410
    code = "cursor_expired"
    title = "Events after this cursor are not kept any more"

    def __init__(self) -> None:
        super().__init__(
            "Events are kept for 30 days. Read the present state of what you keep a copy of from its own routes, "
            "then start again without `after`."
        )


class EndpointNotFound(NotFound):
    """There is no such endpoint, or none any more."""

    code = "webhook_endpoint_not_found"
    title = "There is no such webhook endpoint"


class DeliveryNotFound(NotFound):
    """The endpoint has no such delivery, or it was forgotten after 30 days."""

    code = "webhook_delivery_not_found"
    title = "This webhook endpoint has no such delivery"


class EndpointDisabled(Conflict):
    """Nothing is sent to a disabled endpoint; enable it first."""

    code = "webhook_endpoint_disabled"
    title = "The webhook endpoint is disabled, enable it first"


class TooManyEndpoints(Conflict):
    """There are as many endpoints as events are told to; delete one that nobody needs."""

    code = "too_many_webhook_endpoints"
    title = "There are too many webhook endpoints, delete one first"


class TooManySecrets(Conflict):
    """So many secrets sign already that one more would make the header too long; wait until one ends, or end the old ones now."""

    code = "too_many_webhook_secrets"
    title = "Too many secrets of this endpoint still sign, end the old ones with `old_seconds: 0`"
