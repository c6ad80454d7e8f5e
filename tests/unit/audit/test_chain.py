"""The chain shows what was changed, removed or inserted, and survives an erasure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from careforall.audit import domain
from careforall.audit.domain import AuditEvent, Link
from careforall.audit.signing import Signer, holds
from careforall.kit.ids import new_id

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
change = msgspec.structs.replace


def logged(batch: Any, **changes: Any) -> AuditEvent:
    personal = domain.personal_bytes({"/donor_email": "donor1@example.org"})
    values: dict[str, Any] = {
        "event_id": new_id(),
        "batch_id": batch,
        "event_type": "donations.created",
        "version": 1,
        "aggregate_id": new_id(),
        "aggregate_version": 1,
        "occurred_at": NOW,
        "correlation_id": "request-1",
        "source": "donations",
        "trace_id": "",
        "body": b'{"amount":"25.00"}',
        "salt": b"0123456789abcdef",
        "personal": personal,
        "commitment": domain.commitment(b"0123456789abcdef", personal),
    }
    return AuditEvent(**{**values, **changes})


def chain(*sizes: int) -> list[tuple[Link, list[AuditEvent]]]:
    made: list[tuple[Link, list[AuditEvent]]] = []
    for size in sizes:
        batch = new_id()
        events = [logged(batch) for _ in range(size)]
        previous = made[-1][0] if made else None
        leaves = [domain.leaf(event) for event in events]
        made.append((domain.next_link(previous, batch_id=batch, leaves=leaves, created_at=NOW), events))
    return made


def kinds(made: list[tuple[Link, list[AuditEvent]]]) -> list[str]:
    previous: Link | None = None
    found: list[str] = []
    for link, events in made:
        found += [fault.kind for fault in domain.faults(previous, link, events)]
        previous = link
    return found


def test_an_untouched_chain_has_no_faults_in_whatever_order_its_rows_are_read() -> None:
    made = chain(1, 2, 3, 7)

    assert kinds([(link, events[::-1]) for link, events in made]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b'{"amount":"26.00"}'},
        {"event_type": "donations.failed"},
        {"aggregate_id": new_id()},
        {"aggregate_version": 2},
        {"occurred_at": NOW + timedelta(microseconds=1)},
        {"correlation_id": "request-2"},
        {"source": "payments"},
        {"trace_id": "1"},
        {"commitment": bytes(32)},
    ],
)
def test_any_changed_fact_is_found(changes: dict[str, Any]) -> None:
    made = chain(2, 5)
    made[1][1][3] = change(made[1][1][3], **changes)

    assert "changed_event" in kinds(made)


def test_changed_personal_parts_are_found() -> None:
    made = chain(3)
    made[0][1][1] = change(made[0][1][1], personal=b"{}")

    assert kinds(made) == ["changed_personal_parts"]


def test_erased_personal_parts_leave_the_chain_whole() -> None:
    made = chain(3)
    made[0][1][1] = change(made[0][1][1], personal=None, salt=None, person=None)

    assert kinds(made) == []


def test_a_removed_and_an_inserted_event_are_found() -> None:
    made = chain(3, 4)
    taken = made[0][1].pop()
    made[1][1].append(logged(made[1][0].batch_id))

    assert kinds(made) == ["removed_event", "inserted_event"]
    made[0][1].append(change(taken, event_id=new_id()))
    assert kinds(made)[0] == "changed_event"


def test_a_removed_link_a_changed_link_and_a_forged_history_are_found() -> None:
    made = chain(1, 1, 1)

    assert kinds([made[0], made[2]]) == ["missing_link"]
    assert kinds([made[0], (change(made[1][0], root=bytes(32)), made[1][1]), made[2]]) == ["changed_link", "changed_event"]
    forged = chain(1)[0]
    assert kinds([forged, *made[1:]]) == ["broken_chain"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_every_leaf_has_a_proof_that_leads_to_the_root_and_no_other_leaf_has(size: int) -> None:
    leaves = [domain.leaf(logged(new_id())) for _ in range(size)]
    root = domain.root(leaves)

    for position, leaf in enumerate(leaves):
        steps = domain.proof(leaves, position)
        assert domain.climb(leaf, steps) == root
        assert domain.climb(domain.leaf(logged(new_id())), steps) != root


def test_swapped_leaves_make_another_root() -> None:
    first, second = (domain.leaf(logged(new_id())) for _ in range(2))

    assert domain.root([first, second]) != domain.root([second, first])


def test_personal_parts_and_secrets_leave_the_payload() -> None:
    parted = domain.parted(
        b'{"donor_email":"donor1@example.org","amount":"25.00","reset_url":"https://x/secret",'
        b'"nested":{"name":"Donor One","kind":"x"},"list":[{"phone":"1"},2]}'
    )

    assert parted.body == b'{"amount":"25.00","list":[{},2],"nested":{"kind":"x"}}'
    assert parted.personal == {"/donor_email": "donor1@example.org", "/nested/name": "Donor One", "/list/0/phone": "1"}
    assert parted.mail == "donor1@example.org"


def test_the_signature_holds_for_its_head_alone() -> None:
    first, second = (link for link, _ in chain(1, 1))
    signed = Signer("s" * 32).sign(first, NOW.date())

    assert holds(signed)
    assert not holds(change(signed, link=second))
    assert not holds(change(signed, day=NOW.date() + timedelta(days=1)))
