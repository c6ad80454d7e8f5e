"""Refusals of the simulated company, rendered in its own shape by `api`.

Problem
+-- NoSuchObject        404 resource_missing
+-- BadParameter        400 parameter_invalid (or the code given)
+-- UnexpectedState     400 payment_intent_unexpected_state
+-- NotRefundable       400 charge_already_refunded, amount_too_large or charge_disputed
+-- NoDispute           400 dispute_missing
+-- InvalidApiKey       401 api_key_invalid
+-- BrokenOnPurpose     500 api_error: the switch `error_after_success`
"""

from careforall.kit.errors import FieldError, NotFound, Problem, Unauthorized


class NoSuchObject(NotFound):
    """The company keeps no such object."""

    code = "resource_missing"
    title = "No such object"


class BadParameter(Problem):
    """A parameter cannot be accepted."""

    code = "parameter_invalid"
    title = "A parameter is not acceptable"

    def __init__(self, param: str, code: str, message: str) -> None:
        super().__init__(message, errors=[FieldError(pointer=f"/{param}", code=code, message=message)])


class UnexpectedState(Problem):
    """The payment intent cannot do this in its state."""

    code = "payment_intent_unexpected_state"
    title = "The payment intent is in another state"


class NotRefundable(Problem):
    """The charge cannot be refunded, or not by that much."""

    code = "charge_not_refundable"
    title = "This cannot be refunded"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, errors=[FieldError(pointer="/amount", code=code, message=message)])


class NoDispute(Problem):
    """There is no open dispute to decide."""

    code = "dispute_missing"
    title = "There is no open dispute"


class InvalidApiKey(Unauthorized):
    """The API key is missing or wrong."""

    code = "api_key_invalid"
    title = "Invalid API key"


class BrokenOnPurpose(Problem):
    """It worked, and the company says that it did not."""

    status = 500
    code = "api_error"
    title = "Something went wrong at the simulated gateway, on purpose"
