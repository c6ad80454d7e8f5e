"""Events of customers, who are mirrored to other companies. Each carries the whole state after the change (rule 5)."""

from typing import ClassVar
from uuid import UUID

from careforall.kit.envelope import Event


class _Customer(Event, frozen=True, kw_only=True):
    customer_id: UUID
    email: str
    name: str = ""
    metadata: dict[str, str]


class CustomerCreated(_Customer, frozen=True, kw_only=True):
    """A customer exists."""

    SUBJECT: ClassVar[str] = "customer.created"


class CustomerUpdated(_Customer, frozen=True, kw_only=True):
    """A customer changed, here or at the company named in `origin`."""

    SUBJECT: ClassVar[str] = "customer.updated"

    origin: str = ""


class CustomerDeleted(Event, frozen=True, kw_only=True):
    """A customer is gone, here or at the company named in `origin`, and with them all that was known of them."""

    SUBJECT: ClassVar[str] = "customer.deleted"

    customer_id: UUID
    origin: str = ""


class CustomerSnapshot(_Customer, frozen=True, kw_only=True):
    """The present state of a customer, for projections that start anew."""

    SUBJECT: ClassVar[str] = "customer.snapshot"
