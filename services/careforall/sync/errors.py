"""Refusals of the sync service.

Problem
+-- CustomerNotFound     404 customer_not_found
+-- TargetNotSetUp       404 target_not_set_up
+-- InvalidSignature     401 invalid_signature
+-- CallUnderWay         503 call_under_way, retryable
+-- CursorExpired        410 cursor_expired
"""

from careforall.kit.errors import NotFound, Problem, Unauthorized, Unavailable


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
