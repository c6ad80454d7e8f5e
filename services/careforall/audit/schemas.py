"""HTTP shapes of the audit log; hashes are hexadecimal."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

import msgspec

from careforall.audit.domain import AuditEvent, Check, Fault, Proof, Step
from careforall.audit.signing import SignedHead


class EventOut(msgspec.Struct, frozen=True, kw_only=True):
    """A logged event. `personal` holds its personal parts by JSON pointer, null once they are erased or were none."""

    event_id: UUID
    event_type: str
    version: int
    aggregate_id: UUID
    aggregate_version: int
    occurred_at: datetime
    correlation_id: str
    source: str
    trace_id: str
    body: Any
    personal: Any

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """Show an event."""
        return cls(**_shown(event))


class ProofOut(msgspec.Struct, frozen=True, kw_only=True):
    """Leads from the event's leaf to the root of its link, and so into the chain."""

    leaf: str
    steps: Sequence[Step]
    root: str
    link: int
    link_hash: str

    @classmethod
    def of(cls, proof: Proof) -> Self:
        """Show a proof."""
        link = proof.link
        return cls(leaf=proof.leaf.hex(), steps=proof.steps, root=link.root.hex(), link=link.number, link_hash=link.hash.hex())


class EventWithProof(EventOut, frozen=True, kw_only=True):
    """A logged event with its place in the chain."""

    commitment: str
    proof: ProofOut | None

    @classmethod
    def of(cls, event: AuditEvent, proof: Proof | None = None) -> Self:
        """Show an event with its proof."""
        return cls(**_shown(event), commitment=event.commitment.hex(), proof=ProofOut.of(proof) if proof else None)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest link, signed: `signature` (Ed25519) covers `careforall audit head <day> <number> <hash>`."""

    number: int
    hash: str
    count: int
    created_at: datetime
    day: date
    signature: str
    public_key: str

    @classmethod
    def of(cls, head: SignedHead) -> Self:
        """Show a head."""
        link = head.link
        return cls(
            number=link.number,
            hash=link.hash.hex(),
            count=link.count,
            created_at=link.created_at,
            day=head.day,
            signature=head.signature.hex(),
            public_key=head.public_key.hex(),
        )


class ChainCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What recomputing a stretch of the chain found; `next` continues it."""

    ok: bool
    first: int
    links: int
    last_hash: str | None
    next: int
    faults: list[Fault]

    @classmethod
    def of(cls, check: Check) -> Self:
        """Show a check."""
        return cls(
            ok=not check.faults,
            first=check.first,
            links=check.links,
            last_hash=check.last.hash.hex() if check.last else None,
            next=check.first + check.links,
            faults=check.faults[:100],
        )


def _shown(event: AuditEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "version": event.version,
        "aggregate_id": event.aggregate_id,
        "aggregate_version": event.aggregate_version,
        "occurred_at": event.occurred_at,
        "correlation_id": event.correlation_id,
        "source": event.source,
        "trace_id": event.trace_id,
        "body": msgspec.json.decode(event.body),
        "personal": msgspec.json.decode(event.personal) if event.personal else None,
    }
