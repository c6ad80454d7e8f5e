"""Refusals of the notifications service.

Problem
+-- NotificationNotFound   404 notification_not_found
+-- UnknownTemplate        422 unknown_template
+-- UnusablePayload        422 unusable_payload
+-- InvalidTicket          401 invalid_ticket
"""

from careforall.kit.errors import InvalidInput, NotFound, Unauthorized


class NotificationNotFound(NotFound):
    """There is no such message, or it is somebody else's."""

    code = "notification_not_found"
    title = "There is no such message"


class UnknownTemplate(InvalidInput):
    """No template has this name."""

    code = "unknown_template"
    title = "There is no such template"


class UnusablePayload(InvalidInput):
    """The template needs values that the payload lacks."""

    code = "unusable_payload"
    title = "The payload does not fit the template"


class InvalidTicket(Unauthorized):
    """The ticket was used, has ended or never was."""

    code = "invalid_ticket"
    title = "The ticket does not open the stream"
