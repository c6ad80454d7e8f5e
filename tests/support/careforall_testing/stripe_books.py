"""What the fake of Stripe knows: sessions, payment intents, refunds and disputes in Stripe's shapes, and what may happen to them.

Strict on purpose: a parameter it does not know, an amount that is no whole number, a step the real company refuses are refused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from careforall_testing.stripe_customers import Customers
from careforall_testing.stripe_forms import Json, Refusal, address, metadata, only, price, whole

API_VERSION = "2026-10-28.endive"
DAY = 86_400
REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})


class Books:
    """The company's books."""

    def __init__(self) -> None:
        self.sessions: dict[str, Json] = {}
        self.intents: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.disputes: dict[str, Json] = {}
        self.customers = Customers(self.tell)
        self.events: list[Json] = []

    def make_session(self, wanted: Json, pages: str) -> Json:
        """Make a checkout session."""
        only(
            wanted,
            required={"mode", "line_items", "success_url"},
            allowed={
                "submit_type",
                "client_reference_id",
                "payment_intent_data",
                "metadata",
                "adaptive_pricing",
                "cancel_url",
            },
        )
        if wanted["mode"] != "payment":
            raise Refusal(400, "The fake knows mode=payment alone.", param="mode")
        amount, currency = price(wanted["line_items"])
        data: Json = wanted.get("payment_intent_data", {})
        only(data, allowed={"capture_method", "metadata"})
        name = f"cs_test_{secrets.token_hex(16)}"
        now = int(time.time())
        self.sessions[name] = {
            "id": name,
            "object": "checkout.session",
            "amount_subtotal": amount,
            "amount_total": amount,
            "cancel_url": address(wanted.get("cancel_url"), "cancel_url"),
            "client_reference_id": wanted.get("client_reference_id"),
            "created": now,
            "currency": currency,
            "customer": None,
            "expires_at": now + DAY,
            "livemode": False,
            "metadata": metadata(wanted),
            "mode": "payment",
            "payment_intent": None,
            "payment_method_types": ["card"],
            "payment_status": "unpaid",
            "status": "open",
            "submit_type": wanted.get("submit_type"),
            "success_url": address(wanted["success_url"], "success_url"),
            "url": f"{pages}/c/pay/{name}",
            "_wanted": {"capture_method": data.get("capture_method", "automatic"), "metadata": metadata(data)},
        }
        return self.sessions[name]

    def pay(self, session: str) -> Json:
        """A payer pays: the money is taken, or held where it is to be captured later."""
        page = self._open_session(session)
        intent = self._intent_of(page)
        held = intent["capture_method"] == "manual"
        intent |= {
            "amount_capturable": intent["amount"] if held else 0,
            "amount_received": 0 if held else intent["amount"],
            "last_payment_error": None,
            "latest_charge": f"ch_{secrets.token_hex(12)}",
            "status": "requires_capture" if held else "succeeded",
        }
        page |= {"status": "complete", "payment_status": "unpaid" if held else "paid", "url": None}
        self.tell("payment_intent.amount_capturable_updated" if held else "payment_intent.succeeded", intent)
        self.tell("checkout.session.completed", page)
        return intent

    def decline(self, session: str) -> Json:
        """A payer tries a card that is declined, and stays on the page."""
        intent = self._intent_of(self._open_session(session))
        intent |= {"status": "requires_payment_method", "last_payment_error": _declined()}
        self.tell("payment_intent.payment_failed", intent)
        return intent

    def pay_later(self, session: str) -> Json:
        """A payer orders a debit, which takes days."""
        page = self._open_session(session)
        intent = self._intent_of(page)
        intent |= {"status": "processing", "payment_method_types": ["card", "sepa_debit"]}
        page |= {"status": "complete", "url": None}
        self.tell("checkout.session.completed", page)
        return intent

    def bounce(self, session: str) -> None:
        """The debit comes back unpaid."""
        page = self.sessions[session]
        intent = self.intents[page["payment_intent"]]
        intent |= {"status": "requires_payment_method", "last_payment_error": _declined()}
        self.tell("checkout.session.async_payment_failed", page)

    def expire(self, session: str) -> Json:
        """End a session."""
        page = self._open_session(session)
        page |= {"status": "expired", "url": None}
        self.tell("checkout.session.expired", page)
        return page

    def capture(self, name: str) -> Json:
        """Take what is held."""
        intent = self.found(self.intents, name, "payment_intent")
        if intent["status"] != "requires_capture":
            raise _unexpected(intent, "captured", "requires_capture")
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "amount_capturable": 0}
        self.tell("payment_intent.succeeded", intent)
        return intent

    def cancel(self, name: str) -> Json:
        """Release what is held."""
        intent = self.found(self.intents, name, "payment_intent")
        if any(page["payment_intent"] == name and page["status"] == "open" for page in self.sessions.values()):
            raise Refusal(400, "You cannot cancel the PaymentIntent of an open Checkout Session: expire the session instead.")
        if intent["status"] not in {"requires_capture", "requires_payment_method"}:
            raise _unexpected(intent, "canceled", "requires_capture or requires_payment_method")
        intent |= {"status": "canceled", "amount_capturable": 0, "cancellation_reason": None}
        self.tell("payment_intent.canceled", intent)
        return intent

    def make_refund(self, wanted: Json, status: str = "succeeded") -> Json:
        """Send money back."""
        only(wanted, required={"payment_intent"}, allowed={"amount", "reason", "metadata"})
        intent = self.found(self.intents, wanted["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            raise Refusal(400, "This PaymentIntent does not have a successful charge to refund.", code="resource_missing")
        left = intent["amount_received"] - self._refunded(intent["id"])
        amount = whole(wanted.get("amount", str(left)), "amount")
        if wanted.get("reason", "requested_by_customer") not in REASONS:
            raise Refusal(400, "Invalid reason.", param="reason")
        if left == 0:
            raise Refusal(400, "This charge has been refunded already.", code="charge_already_refunded", kept=True)
        if amount > left:
            raise Refusal(400, f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).", param="amount")
        name = f"re_{secrets.token_hex(12)}"
        self.refunds[name] = {
            "id": name,
            "object": "refund",
            "amount": amount,
            "charge": intent["latest_charge"],
            "created": int(time.time()),
            "currency": intent["currency"],
            "metadata": metadata(wanted),
            "payment_intent": intent["id"],
            "reason": wanted.get("reason"),
            "status": status,
        }
        self.tell("refund.created", self.refunds[name])
        self.tell("charge.refunded", self._charge(intent))
        return self.refunds[name]

    def settle_refund(self, name: str, status: str) -> None:
        """The payer's bank takes a refund, or does not."""
        refund = self.refunds[name]
        refund |= {"status": status, **({"failure_reason": "expired_or_canceled_card"} if status == "failed" else {})}
        self.tell("refund.failed" if status == "failed" else "refund.updated", refund)

    def dispute(self, intent: str, status: str = "needs_response") -> Json:
        """The payer's bank disputes."""
        paid = self.intents[intent]
        name = f"du_{secrets.token_hex(12)}"
        self.disputes[name] = {
            "id": name,
            "object": "dispute",
            "amount": paid["amount_received"],
            "charge": paid["latest_charge"],
            "created": int(time.time()),
            "currency": paid["currency"],
            "evidence_details": {"due_by": int(time.time()) + 7 * DAY, "has_evidence": False, "past_due": False},
            "is_charge_refundable": False,
            "livemode": False,
            "metadata": {},
            "payment_intent": intent,
            "reason": "fraudulent",
            "status": status,
        }
        self.tell("charge.dispute.created", self.disputes[name])
        return self.disputes[name]

    def found(self, kind: Mapping[str, Json], name: str, word: str) -> Json:
        """Return an object."""
        if name not in kind:
            raise Refusal(404, f"No such {word}: '{name}'", code="resource_missing", param="intent")
        return kind[name]

    def tell(self, event_type: str, subject: Json, *, before: Json | None = None) -> None:
        """Note an event, with its object as it is now and what it was before where that is told."""
        now = int(time.time())
        self.events.append(
            {
                "id": f"evt_{secrets.token_hex(12)}",
                "object": "event",
                "api_version": API_VERSION,
                "created": now,
                "data": {"object": shown(subject), **({"previous_attributes": before} if before else {})},
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": f"req_{secrets.token_hex(7)}", "idempotency_key": None},
                "type": event_type,
            }
        )

    def _open_session(self, name: str) -> Json:
        page = self.found(self.sessions, name, "checkout.session")
        if page["status"] != "open":
            words = f'Only Checkout Sessions with a status in ["open"] can be used; this one is {page["status"]}.'
            raise Refusal(400, words, kept=True)
        return page

    def _intent_of(self, page: Json) -> Json:
        if page["payment_intent"] is None:
            name = page["payment_intent"] = f"pi_{secrets.token_hex(12)}"
            self.intents[name] = {
                "id": name,
                "object": "payment_intent",
                "amount": page["amount_total"],
                "amount_capturable": 0,
                "amount_received": 0,
                "canceled_at": None,
                "cancellation_reason": None,
                "capture_method": page["_wanted"]["capture_method"],
                "created": int(time.time()),
                "currency": page["currency"],
                "last_payment_error": None,
                "latest_charge": None,
                "livemode": False,
                "metadata": page["_wanted"]["metadata"],
                "payment_method_types": ["card"],
                "status": "requires_payment_method",
            }
            self.tell("payment_intent.created", self.intents[name])
        return self.intents[page["payment_intent"]]

    def _refunded(self, intent: str) -> int:
        return sum(
            one["amount"]
            for one in self.refunds.values()
            if one["payment_intent"] == intent and one["status"] not in {"failed", "canceled"}
        )

    def expand(self, found: Json, path: str) -> None:
        """Put objects in the place of their names, along a path such as latest_charge.balance_transaction."""
        field, _, rest = path.partition(".")
        named = found.get(field)
        if field not in {"payment_intent", "latest_charge", "balance_transaction"}:
            raise Refusal(400, f"This property cannot be expanded ({field}).", param="expand")
        if not isinstance(named, str):
            return
        if field == "payment_intent":
            found[field] = shown(self.intents[named])
        elif field == "latest_charge":
            found[field] = self._charge(self.intents[found["id"]])
        else:
            found[field] = _settlement(found)
        if rest:
            self.expand(found[field], rest)

    def _charge(self, intent: Json) -> Json:
        refunded = self._refunded(intent["id"])
        return {
            "id": intent["latest_charge"],
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": intent["amount_received"],
            "amount_refunded": refunded,
            "created": intent["created"],
            "currency": intent["currency"],
            "balance_transaction": intent["latest_charge"].replace("ch_", "txn_") if intent["amount_received"] else None,
            "livemode": False,
            "metadata": intent["metadata"],
            "payment_intent": intent["id"],
            "refunded": refunded == intent["amount_received"],
            "status": "succeeded",
        }


def shown(found: Json) -> Json:
    """Return an object as Stripe shows it."""
    return {name: value for name, value in found.items() if not name.startswith("_")}


def fee_of(amount: int) -> int:
    """What the company keeps of an amount: one and a half percent and 25 of the smallest units."""
    return min(amount, amount * 15 // 1000 + 25)


def _settlement(charge: Json) -> Json:
    fee = fee_of(charge["amount_captured"])
    return {
        "id": charge["balance_transaction"],
        "object": "balance_transaction",
        "amount": charge["amount_captured"],
        "currency": charge["currency"],
        "fee": fee,
        "net": charge["amount_captured"] - fee,
        "source": charge["id"],
    }


def _declined() -> Json:
    return {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "insufficient_funds",
        "message": "Your card has insufficient funds.",
    }


def _unexpected(intent: Json, verb: str, wanted: str) -> Refusal:
    return Refusal(
        400,
        f"This PaymentIntent could not be {verb} because it has a status of {intent['status']}; it should be {wanted}.",
        code="payment_intent_unexpected_state",
        kept=True,
    )
