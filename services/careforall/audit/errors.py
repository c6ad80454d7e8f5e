"""Refusals of the audit service.

Problem
+-- EventNotFound   404 event_not_found
+-- LinkNotFound    404 link_not_found
"""

from careforall.kit.errors import NotFound


class EventNotFound(NotFound):
    """The log has no such event."""

    code = "event_not_found"
    title = "There is no such event"


class LinkNotFound(NotFound):
    """The chain has no such link."""

    code = "link_not_found"
    title = "The chain has no such link"


class ReportNotFound(NotFound):
    """The books were not verified yet."""

    code = "report_not_found"
    title = "The books were not verified yet"
