"""Builds the events of this service out of its rows."""

from typing import Any

from careforall.contracts.customers import CustomerCreated, CustomerDeleted, CustomerSnapshot, CustomerUpdated
from careforall.kit import outbox
from careforall.kit.context import NOBODY, Cause
from careforall.kit.envelope import Event
from careforall.kit.outbox import Outgoing
from careforall.sync.domain import Customer

SOURCE = "sync"


def created(customer: Customer, cause: Cause) -> Outgoing:
    """Return the event of a new customer."""
    return _sealed(CustomerCreated(**_state(customer)), customer, cause)


def updated(customer: Customer, cause: Cause, origin: str = "") -> Outgoing:
    """Return the event of a change."""
    return _sealed(CustomerUpdated(**_state(customer), origin=origin), customer, cause)


def deleted(customer: Customer, cause: Cause, origin: str = "") -> Outgoing:
    """Return the event of an end."""
    return _sealed(CustomerDeleted(customer_id=customer.id, origin=origin), customer, cause)


def snapshot(customer: Customer) -> Outgoing:
    """Return the present state as an event."""
    gone = customer.deleted_at is not None
    event: Event = CustomerDeleted(customer_id=customer.id) if gone else CustomerSnapshot(**_state(customer))
    return _sealed(event, customer, NOBODY)


def _state(customer: Customer) -> dict[str, Any]:
    return {"customer_id": customer.id, "email": customer.email, "name": customer.name, "metadata": customer.metadata}


def _sealed(event: Event, customer: Customer, cause: Cause) -> Outgoing:
    return outbox.outgoing(event, aggregate_id=customer.id, aggregate_version=customer.version, source=SOURCE, cause=cause)
