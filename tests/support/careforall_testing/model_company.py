"""The simulated company in memory: its own rules and shapes, with events that a test delivers when and how often it likes.

async with listening_company(books.reply) as url:
    books.act(intent, lambda held, _: domain.pay(held, "ch_1"))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from careforall.kit.errors import Problem
from careforall.kit.ids import new_id
from careforall.simulator import domain, objects
from careforall.simulator.domain import Change, Dispute, Draft, Intent, Refund
from careforall_testing.company import Asked, nothing

BASE = "http://127.0.0.1:9/simulator"
Deed = Callable[[Intent, Dispute | None], Change]
_ONE = re.compile(r"/v1/(payment_intents|refunds)/([^/?]+)(?:/(capture|cancel))?$")
_PAGE = re.compile(r"/v1/(payment_intents|refunds|disputes)\?(?:.*payment_intent=([^&]+))?")


class Books:
    """What the company knows; so many calls as `faults` says are answered 500 after they did their work."""

    def __init__(self) -> None:
        self.intents: dict[str, Intent] = {}
        self.refunds: dict[str, Refund] = {}
        self.disputes: dict[str, Dispute] = {}
        self.events: list[bytes] = []
        self.faults = 0
        self._answers: dict[str, tuple[int, Any]] = {}

    def of(self, ours: str) -> list[Intent]:
        """The intents made for one of ours."""
        return [intent for intent in self.intents.values() if intent.metadata.get("intent_id") == ours]

    def act(self, intent_id: str, deed: Deed) -> Change:
        """Do something to an intent and note its events.

        Raises:
            Problem: The company's rules forbid it.
        """
        change = deed(self.intents[intent_id], self.disputes.get(intent_id))
        self.intents[intent_id] = change.intent
        if change.refund is not None:
            self.refunds[change.refund.id] = change.refund
        if change.dispute is not None:
            self.disputes[intent_id] = change.dispute
        for kind in change.events:
            self.events.append(objects.event_body(f"evt_{new_id().hex}", kind, change, base=BASE, now=datetime.now(UTC)))
        return change

    def refund(self, intent_id: str, amount: int | None, metadata: dict[str, str]) -> Change:
        """Send money back, ordered here or in the company's own console."""
        return self.act(
            intent_id,
            lambda intent, dispute: domain.refund(
                intent,
                dispute,
                refund_id=f"re_{new_id().hex}",
                amount=amount,
                reason=None,
                metadata=metadata,
                now=datetime.now(UTC),
            ),
        )

    def too_large_a_refund(self, intent: Intent) -> Change:
        """Put a refund beside the books that gives back more than was ever paid."""
        refund = Refund(
            id=f"re_{new_id().hex}",
            payment_intent=intent.id,
            charge=intent.latest_charge or "",
            amount=intent.amount + 1,
            currency=intent.currency,
            created=datetime.now(UTC),
        )
        self.refunds[refund.id] = refund
        return Change(intent=intent, refund=refund)

    async def reply(self, asked: Asked) -> tuple[int, Any]:
        """Answer a call; one that is repeated under its key gets its answer again and does nothing."""
        if asked.method == "GET":
            return self._shown(asked.path)
        if asked.key not in self._answers:
            self._answers[asked.key] = self._done(asked)
            if self.faults and self._answers[asked.key][0] == 200:
                self.faults -= 1
                return 500, {}
        return self._answers[asked.key]

    def _done(self, asked: Asked) -> tuple[int, Any]:
        try:
            return 200, self._do(asked)
        except Problem as error:
            return 400, {"error": {"type": "invalid_request_error", "code": error.code, "message": str(error)}}

    def _do(self, asked: Asked) -> Any:
        if asked.path == "/v1/payment_intents":
            return self._open(Draft(**asked.body))
        if asked.path == "/v1/refunds":
            made = self.refund(asked.body["payment_intent"], asked.body["amount"], asked.body["metadata"]).refund
            assert made is not None
            return objects.refund_object(made)
        found = _ONE.match(asked.path)
        assert found is not None, asked
        if found[3] == "capture":
            change = self.act(found[2], lambda intent, _: domain.capture(intent, None))
        else:
            change = self.act(found[2], lambda intent, _: domain.cancel(intent, None))
        return objects.intent_object(change.intent, BASE)

    def _open(self, draft: Draft) -> Any:
        made = Intent(
            id=f"pi_{new_id().hex}",
            amount=draft.amount,
            currency=draft.currency,
            capture_method=draft.capture_method,
            metadata=draft.metadata,
            return_url=draft.return_url,
            created=datetime.now(UTC),
        )
        self.intents[made.id] = made
        return objects.intent_object(made, BASE)

    def _shown(self, path: str) -> tuple[int, Any]:
        if (found := _PAGE.match(path)) is not None:
            return 200, {**nothing(path), "data": self._hanging(found[1], found[2])}
        one = _ONE.match(path)
        assert one is not None, path
        if one[1] == "refunds":
            return 200, objects.refund_object(self.refunds[one[2]])
        return 200, objects.intent_object(self.intents[one[2]], BASE)

    def _hanging(self, kind: str, intent_id: str | None) -> list[Any]:
        """A list, newest first: all there is, or what hangs on one intent."""
        wanted = [intent_id] if intent_id is not None else [*self.intents]
        if kind == "payment_intents":
            return [objects.intent_object(self.intents[one], BASE) for one in wanted[::-1]]
        if kind == "disputes":
            disputed = [one for one in wanted[::-1] if one in self.disputes]
            return [objects.dispute_object(self.disputes[one], self.intents[one].metadata) for one in disputed]
        return [objects.refund_object(one) for one in [*self.refunds.values()][::-1] if one.payment_intent in wanted]
