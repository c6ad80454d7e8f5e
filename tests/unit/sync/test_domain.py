"""Which call comes next, what outcomes mean for a delivery, whose change counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall.sync.domain import (
    Call,
    Content,
    Customer,
    Delivery,
    Done,
    Gone,
    Later,
    Outcome,
    Refused,
    Spent,
    Told,
    judge,
    next_call,
    pause,
    verdict,
)

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
ONE = Content(email="one@example.org", name="One", metadata={"a": "1", "b": "2"})
CREATE = Call(kind="create", version=1, content=ONE)


def customer(**changes: Any) -> Customer:
    fields: dict[str, Any] = {"email": "one@example.org", "name": "One", "metadata": {"b": "3"}, "version": 4} | changes
    return Customer(id=new_id(), created_at=NOW, updated_at=NOW, **fields)


def delivery(**changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "version": 4,
        "carried_version": 3,
        "noted_version": 3,
        "carried": ONE,
        "external_id": "cus_1",
        "payload": None,
        "keyed_version": 3,
        "key_number": 1,
        "attempt": 1,
        "retry_count": 0,
        "max_retries": 5,
        "told_at": None,
        "traceparent": None,
        "old": False,
    }
    return Delivery(id=new_id(), aggregate_id=new_id(), **(fields | changes))


def told(**changes: Any) -> Told:
    fields: dict[str, Any] = {"noted_version": 3, "content": Content(email="one@example.org", name="There"), "at": NOW}
    return Told(event_id="evt_1", event_type="customer.updated", external_id="cus_1", **(fields | changes))


def test_the_newest_version_is_an_update_that_names_what_to_forget() -> None:
    mine = customer()
    assert next_call(delivery(), mine) == Call(kind="update", version=4, content=mine.content, removed=("a",))


def test_an_unanswered_call_is_made_again_as_it_was() -> None:
    assert next_call(delivery(payload=CREATE, external_id=None), customer(deleted_at=NOW)) is CREATE


def test_who_has_no_image_is_created_or_not_deleted_at_all() -> None:
    bare = delivery(external_id=None, carried=None)
    made = next_call(bare, customer())
    assert made is not None
    assert made.kind == "create"
    assert next_call(bare, customer(deleted_at=NOW)) is None
    ended = next_call(delivery(), customer(deleted_at=NOW))
    assert ended == Call(kind="delete", version=4)


def test_a_key_that_was_answered_is_not_used_for_something_else() -> None:
    again = next_call(delivery(keyed_version=4, key_number=2), customer())
    assert again is not None
    one = new_id()
    assert again.key(one) == f"{one}:4:3"
    assert CREATE.key(one) == f"{one}:1"


@pytest.mark.parametrize(
    ("kind", "outcome", "status", "facts"),
    [
        (
            "create",
            Done(external_id="cus_9"),
            "PROCESSED",
            {"done": True, "external_id": "cus_9", "carried": ONE, "payload": None},
        ),
        ("delete", Gone(), "PROCESSED", {"done": True, "carried": None, "payload": None}),
        ("update", Gone(), "PENDING", {"forget": True, "payload": None, "counted": False}),
        ("create", Refused(error="400"), "DEAD", {"counted": True, "payload": None, "error": "400"}),
        ("create", Later(error="503"), "FAILED", {"counted": True, "delay": 4.0}),
        ("create", Later(error="429", counted=False, retry_after=30), "FAILED", {"counted": False, "delay": 30}),
        ("create", Later(error="503", retry_after=90_000), "FAILED", {"delay": 3600.0}),
        ("create", Spent(error="500"), "FAILED", {"counted": True, "renewed": True}),
    ],
)
def test_what_outcomes_mean(kind: Any, outcome: Outcome, status: str, facts: dict[str, Any]) -> None:
    call = Call(kind=kind, version=4, content=None if kind == "delete" else ONE)
    found = verdict(delivery(), call, outcome, first_pause=4.0, jitter=1.0)
    assert found.status == status
    assert {name: getattr(found, name) for name in facts} == facts
    if isinstance(outcome, Later):
        assert found.payload is call
    if isinstance(outcome, Spent):
        assert found.payload == Call(kind=kind, version=4, content=ONE, number=2)


@pytest.mark.parametrize(("retries", "counted", "status"), [(3, True, "FAILED"), (4, True, "DEAD"), (4, False, "FAILED")])
def test_the_fifth_failure_is_the_last_and_rate_limits_are_none(retries: int, counted: bool, status: str) -> None:
    found = verdict(delivery(retry_count=retries), CREATE, Later(error="x", counted=counted), first_pause=1, jitter=0)
    assert (found.status, found.payload) == (status, CREATE)


def test_pauses_grow_fourfold_up_to_an_hour_with_jitter() -> None:
    assert [pause(retries, 5, 1) for retries in range(6)] == [5, 20, 80, 320, 1280, 3600]
    assert pause(0, 5, 0) == 2.5
    assert pause(10**6, 5, 1) == 3600


@pytest.mark.parametrize(
    ("event", "state", "judgement"),
    [
        ({}, {"version": 3}, "apply"),
        ({"noted_version": None}, {"version": 3}, "apply"),
        ({"content": ONE}, {"version": 3}, "own_change"),
        ({"noted_version": 2}, {"version": 3}, "stale_version"),
        ({}, {}, "newer_here"),
        ({"at": NOW - timedelta(seconds=1)}, {"version": 3, "told_at": NOW}, "older_than_known"),
        ({"at": NOW}, {"version": 3, "told_at": NOW}, "apply"),
        ({"noted_version": 4}, {}, "unknown_version"),
        ({"noted_version": 4}, {"payload": CREATE}, "wait"),
        ({"noted_version": 4, "content": ONE}, {"payload": CREATE}, "own_change"),
        ({"deleted": True}, {"version": 3}, "delete"),
        ({"deleted": True}, {}, "recreate"),
        ({"deleted": True}, {"payload": CREATE}, "wait"),
    ],
)
def test_whose_change_counts(event: dict[str, Any], state: dict[str, Any], judgement: str) -> None:
    assert judge(told(**event), delivery(**state), deleted_here=False) == judgement
    assert judge(told(**event), delivery(**state), deleted_here=True) == "own_change"
