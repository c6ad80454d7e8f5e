"""The arithmetic of the audit chain, without I/O: leaves, Merkle roots and proofs, links, and what of a payload is personal.

A batch of events becomes one link: the Merkle root over the leaves in the order of the event ids, hashed together with the hash
of the link before. A leaf commits to the facts in the clear and, by a salted commitment, to the personal parts: erasing parts and
salt leaves every hash as it was.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

GENESIS = bytes(32)
"""What the first link names as the hash before it."""

_LEAF, _NODE, _LINK = b"\x00", b"\x01", b"\x02"
_encode = msgspec.json.Encoder(decimal_format="string", order="deterministic").encode

PERSONAL = frozenset(
    {
        "email",
        "donor_email",
        "donor_name",
        "name",
        "first_name",
        "last_name",
        "phone",
        "address",
        "message",
        "recipient",
        "metadata",
    }
)
"""Payload fields that speak of a person; kept apart so that they can be erased."""

SECRET = frozenset({"verification_url", "reset_url", "password", "token", "code", "secret", "receipt_token"})
"""Payload fields that open something; never stored."""

_APART = PERSONAL | SECRET
_NESTING = frozenset({dict, list})
_MAIL = ("/donor_email", "/email")


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as logged."""

    event_id: UUID
    batch_id: UUID
    event_type: str
    version: int
    aggregate_id: UUID
    aggregate_version: int
    occurred_at: datetime
    correlation_id: str
    source: str
    trace_id: str
    body: bytes
    commitment: bytes
    salt: bytes | None = None
    personal: bytes | None = None
    person: bytes | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain: a batch, and all batches before it."""

    number: int
    batch_id: UUID
    count: int
    root: bytes
    previous: bytes
    hash: bytes
    created_at: datetime


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step from a leaf to its root: the neighbour's hash and the side it stands on."""

    side: Literal["left", "right"]
    hash: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something the chain shows to be wrong."""

    link: int
    kind: str
    detail: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Leads from an event's leaf to the root of its link, and so into the chain."""

    leaf: bytes
    steps: list[Step]
    link: Link


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What recomputing a stretch of the chain found."""

    first: int
    links: int
    last: Link | None
    faults: list[Fault]


class Parted(msgspec.Struct, frozen=True, kw_only=True):
    """A payload without its personal parts, and those parts by JSON pointer."""

    body: bytes
    personal: dict[str, Any]

    @property
    def mail(self) -> str | None:
        """The mail of the person the parts belong to."""
        found = next((self.personal[key] for key in _MAIL if key in self.personal), None)
        return found if isinstance(found, str) else None


def parted(payload: bytes | msgspec.Raw) -> Parted:
    """Take a payload apart; secrets are left out of both."""
    personal: dict[str, Any] = {}
    return Parted(body=_encode(_without(msgspec.json.decode(payload), "", personal)), personal=personal)


def personal_bytes(personal: dict[str, Any]) -> bytes:
    """Return the canonical bytes of personal parts."""
    return _encode(personal)


def commitment(salt: bytes, personal: bytes) -> bytes:
    """Return what the leaf keeps of the personal parts."""
    return hashlib.sha256(salt + personal).digest()


def leaf(event: AuditEvent) -> bytes:
    """Return the hash of one logged event."""
    facts = _encode(
        [
            str(event.event_id),
            event.event_type,
            event.version,
            str(event.aggregate_id),
            event.aggregate_version,
            event.occurred_at.isoformat(),
            event.correlation_id,
            event.source,
            event.trace_id,
        ]
    )
    return hashlib.sha256(
        _LEAF + hashlib.sha256(facts).digest() + hashlib.sha256(event.body).digest() + event.commitment
    ).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle root of leaves, at least one, in the order of their event ids."""
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def proof(leaves: Sequence[bytes], position: int) -> list[Step]:
    """Return the steps from one leaf to the root."""
    steps: list[Step] = []
    level = list(leaves)
    while len(level) > 1:
        neighbour = position ^ 1
        if neighbour < len(level):
            side: Literal["left", "right"] = "left" if neighbour < position else "right"
            steps.append(Step(side=side, hash=level[neighbour].hex()))
        level = _above(level)
        position //= 2
    return steps


def climb(start: bytes, steps: Sequence[Step]) -> bytes:
    """Return the root that a leaf and its proof lead to."""
    found = start
    for step in steps:
        neighbour = bytes.fromhex(step.hash)
        found = _node(neighbour, found) if step.side == "left" else _node(found, neighbour)
    return found


def link_hash(*, number: int, batch_id: UUID, count: int, merkle_root: bytes, previous: bytes, created_at: datetime) -> bytes:
    """Return the hash of a link."""
    head = _encode([number, str(batch_id), count, created_at.isoformat()])
    return hashlib.sha256(_LINK + hashlib.sha256(head).digest() + merkle_root + previous).digest()


def next_link(previous: Link | None, *, batch_id: UUID, leaves: Sequence[bytes], created_at: datetime) -> Link:
    """Return the link that a batch adds to the chain."""
    number = previous.number + 1 if previous else 1
    before = previous.hash if previous else GENESIS
    merkle_root = root(leaves)
    return Link(
        number=number,
        batch_id=batch_id,
        count=len(leaves),
        root=merkle_root,
        previous=before,
        hash=link_hash(
            number=number,
            batch_id=batch_id,
            count=len(leaves),
            merkle_root=merkle_root,
            previous=before,
            created_at=created_at,
        ),
        created_at=created_at,
    )


def faults(previous: Link | None, link: Link, events: Sequence[AuditEvent]) -> Iterator[Fault]:
    """Yield what is wrong with a link, given the one before it and the events logged in its batch."""
    if link.number != (previous.number + 1 if previous else 1):
        yield Fault(link=link.number, kind="missing_link", detail=f"follows {previous.number if previous else 0}")
    elif link.previous != (previous.hash if previous else GENESIS):
        yield Fault(link=link.number, kind="broken_chain", detail="does not name the hash of the link before")
    if link.hash != _hash_of(link):
        yield Fault(link=link.number, kind="changed_link", detail="its hash is not that of its contents")
    if len(events) != link.count:
        kind = "removed_event" if len(events) < link.count else "inserted_event"
        yield Fault(link=link.number, kind=kind, detail=f"{len(events)} events where {link.count} were linked")
    elif root([leaf(event) for event in sorted(events, key=_by_id)]) != link.root:
        yield Fault(link=link.number, kind="changed_event", detail="its events do not lead to its root")
    yield from _broken_commitments(link, events)


def _broken_commitments(link: Link, events: Sequence[AuditEvent]) -> Iterator[Fault]:
    for event in events:
        kept = event.salt is not None and event.personal is not None
        if kept and commitment(event.salt or b"", event.personal or b"") != event.commitment:
            yield Fault(link=link.number, kind="changed_personal_parts", detail=str(event.event_id))


def _hash_of(link: Link) -> bytes:
    return link_hash(
        number=link.number,
        batch_id=link.batch_id,
        count=link.count,
        merkle_root=link.root,
        previous=link.previous,
        created_at=link.created_at,
    )


def _above(level: Sequence[bytes]) -> list[bytes]:
    """Hash neighbours together; a last one without a neighbour goes up as it is."""
    pairs = [_node(level[index], level[index + 1]) for index in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def _without(value: Any, pointer: str, personal: dict[str, Any]) -> Any:
    """Return a value without secrets and personal parts; collect the latter."""
    if isinstance(value, list):
        return [_without(inner, f"{pointer}/{index}", personal) for index, inner in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if not _APART.isdisjoint(value):
        personal |= {f"{pointer}/{name}": value[name] for name in value if name in PERSONAL}
        value = {name: inner for name, inner in value.items() if name not in _APART}
    nested = {name: _without(inner, f"{pointer}/{name}", personal) for name, inner in value.items() if type(inner) in _NESTING}
    return {**value, **nested} if nested else value


def _by_id(event: AuditEvent) -> UUID:
    return event.event_id
