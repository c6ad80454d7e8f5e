"""A strict fake of PayPal's API over real HTTP on loopback: orders, payments, disputes, transaction search, signed webhooks.

It refuses what PayPal refuses. `paypal_door` remembers every POST by its request id: the same id gets the same answer, refusals
too, and another content under it is refused. Nothing happens by itself: a test approves orders, and hands the events over.

async with PayPalFake().serving() as fake:
    fake.approve(order_id)
    body, headers = fake.delivery("CHECKOUT.ORDER.APPROVED", order_id)
"""

from __future__ import annotations

import itertools
import re
import secrets
import string
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from careforall_testing.loopback import Answered, Asked, listening
from careforall_testing.paypal_door import Door, Json, Refused, as_json, check_amount, check_unit, parsed, unprocessable
from careforall_testing.paypal_signing import PATH, CertificateHost, Signer

WEBHOOK_ID, OLD_WEBHOOK_ID = "5GP028458E2496506", "8PT597110X687430L"


class PayPalFake(Door):
    """PayPal for tests.

    Attributes:
        page_at_most: Rows of the transaction search in a page, however many were asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signer = Signer()
        self.certificates = CertificateHost(self.signer.chain)
        self.page_at_most = 500
        self.orders: dict[str, Json] = {}
        self.disputes: dict[str, Json] = {}
        self.events: list[Json] = []
        self.url = ""
        self._payments: dict[str, tuple[str, Json]] = {}
        self._numbers = itertools.count(1)
        self.routes = [
            ("create", "POST", re.compile(r"/v2/checkout/orders"), self._create),
            ("show", "GET", re.compile(r"/v2/checkout/orders/(\w+)"), self._show),
            ("patch", "PATCH", re.compile(r"/v2/checkout/orders/(\w+)"), self._patch),
            ("capture", "POST", re.compile(r"/v2/checkout/orders/(\w+)/capture"), self._capture_order),
            ("authorize", "POST", re.compile(r"/v2/checkout/orders/(\w+)/authorize"), self._authorize),
            ("capture_held", "POST", re.compile(r"/v2/payments/authorizations/(\w+)/capture"), self._capture_held),
            ("void", "POST", re.compile(r"/v2/payments/authorizations/(\w+)/void"), self._void),
            ("refund", "POST", re.compile(r"/v2/payments/captures/(\w+)/refund"), self._refund),
            ("show_refund", "GET", re.compile(r"/v2/payments/refunds/(\w+)"), self._show_refund),
            ("disputes", "GET", re.compile(r"/v1/customer/disputes"), self._list_disputes),
            ("dispute", "GET", re.compile(r"/v1/customer/disputes/([\w-]+)"), self._show_dispute),
            ("transactions", "GET", re.compile(r"/v1/reporting/transactions"), self._transactions),
        ]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[PayPalFake]:
        """Serve the API, and its certificates beside it."""
        async with self.certificates.serving(self.signer.authority), listening(self.answer) as url:
            self.url = url
            yield self

    # What the payer and PayPal's staff do.

    def approve(self, order_id: str) -> None:
        """The payer agrees on PayPal's page."""
        order = self.orders[order_id]
        assert order["status"] in {"PAYER_ACTION_REQUIRED", "APPROVED"}, order["status"]
        order |= {"status": "APPROVED", "update_time": datetime.now(UTC).isoformat()}
        self._tell("CHECKOUT.ORDER.APPROVED", "checkout-order", order)

    def lapse(self, order_id: str) -> None:
        """An order nobody paid is forgotten."""
        assert self.orders[order_id]["status"] != "COMPLETED"
        del self.orders[order_id]

    def settle(self, capture_id: str, status: str) -> None:
        """A pending capture is decided about."""
        order_id, capture = self._payments[capture_id]
        capture["status"] = status
        word = {"COMPLETED": "COMPLETED", "DECLINED": "DENIED"}[status]
        self._tell(f"PAYMENT.CAPTURE.{word}", "capture", _full(capture, order_id))

    def capture_by_hand(self, order_id: str, value: str) -> None:
        """The payee takes a part of held money on PayPal's own pages."""
        [held] = self._done(self.orders[order_id])["authorizations"]
        held["status"] = "PARTIALLY_CAPTURED"
        self._done(self.orders[order_id])["captures"].append(
            self._captured(order_id, {**held["amount"], "value": value}, "COMPLETED")
        )

    def refund_by_hand(self, order_id: str, value: str) -> Json:
        """The payee refunds on PayPal's own pages."""
        capture = self.capture_of(order_id)
        return self._refunded(capture["id"], {"amount": {**capture["amount"], "value": value}})

    def dispute(self, order_id: str, value: str, *, status: str = "OPEN", outcome: str = "") -> Json:
        """The payer complains, or a complaint moves on."""
        capture = self.capture_of(order_id)
        known = next((one for one in self.disputes.values() if one["capture"] == capture["id"]), None)
        found = known or {
            "dispute_id": f"PP-D-{next(self._numbers)}",
            "create_time": _now(),
            "reason": "UNAUTHORISED",
            "dispute_amount": {**capture["amount"], "value": value},
            "capture": capture["id"],
            "disputed_transactions": [
                {
                    "seller_transaction_id": capture["id"],
                    "invoice_number": capture["invoice_id"],
                    "custom": capture["custom_id"],
                }
            ],
        }
        found |= {"status": status, "update_time": _now(), **({"dispute_outcome": {"outcome_code": outcome}} if outcome else {})}
        self.disputes[found["dispute_id"]] = found
        word = "RESOLVED" if status == "RESOLVED" else "UPDATED" if known else "CREATED"
        self._tell(f"CUSTOMER.DISPUTE.{word}", "dispute", found)
        return found

    # What a test looks at.

    def orders_of(self, intent: object) -> list[Json]:
        """The orders made for an intent."""
        return [order for order in self.orders.values() if order["purchase_units"][0]["invoice_id"] == str(intent)]

    def captures_of(self, intent: object) -> list[Json]:
        """The captures made for an intent."""
        return [one for order in self.orders_of(intent) for one in self._done(order)["captures"]]

    def capture_of(self, order_id: str) -> Json:
        """The one capture of an order."""
        [found] = self._done(self.orders[order_id])["captures"]
        return dict(found)

    def delivery(self, event_type: str, order_id: str = "", *, webhook_id: str = WEBHOOK_ID) -> tuple[bytes, dict[str, str]]:
        """The latest event of a type (about an order) as it would be delivered, signed now."""
        found = [one for one in self.events if one["event_type"] == event_type and order_id in str(one["resource"])]
        body = msgspec.json.encode(found[-1])
        return body, self.signer.sign(body, webhook_id=webhook_id, url=f"{self.certificates.url}{PATH}")

    # Orders.

    def _create(self, asked: Asked) -> Answered:
        body = parsed(asked, {"intent", "purchase_units", "payment_source"})
        if body["intent"] not in {"CAPTURE", "AUTHORIZE"} or len(body["purchase_units"]) != 1:
            raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE")
        [unit] = body["purchase_units"]
        check_unit(unit)
        experience = body["payment_source"]["paypal"]["experience_context"]
        if not (experience.get("return_url") and experience.get("cancel_url")):
            raise unprocessable("RETURN_URL_REQUIRED")
        order_id = self._id()
        self.orders[order_id] = {
            "id": order_id,
            "intent": body["intent"],
            "status": "PAYER_ACTION_REQUIRED",
            "create_time": _now(),
            "purchase_units": [{**unit, "payments": {"authorizations": [], "captures": [], "refunds": []}}],
            "links": [
                {"rel": "self", "href": f"{self.url}/v2/checkout/orders/{order_id}", "method": "GET"},
                {"rel": "payer-action", "href": f"{self.url}/checkoutnow?token={order_id}", "method": "GET"},
            ],
        }
        return self.represented(asked, self.orders[order_id], 200)

    def _show(self, _: Asked, order_id: str) -> Answered:
        return as_json(200, self._known_order(order_id))

    def _patch(self, asked: Asked, order_id: str) -> Answered:
        order = self._known_order(order_id)
        if order["status"] == "COMPLETED":
            raise unprocessable("ORDER_ALREADY_COMPLETED")
        [change] = msgspec.json.decode(asked.body)
        if change["path"] != "/purchase_units/@reference_id=='default'/custom_id" or change["op"] != "replace":
            raise unprocessable("NOT_PATCHABLE")
        order["purchase_units"][0]["custom_id"] = change["value"]
        return Answered(status=204)

    def _capture_order(self, asked: Asked, order_id: str) -> Answered:
        order = self._approved(order_id, "CAPTURE", "ORDER_ALREADY_CAPTURED")
        self._refuse_second_invoice(order)
        self._decline()
        capture = self._captured(order_id, order["purchase_units"][0]["amount"], self.next_of("capture_status"))
        self._done(order)["captures"].append(capture)
        order |= {"status": "COMPLETED", "update_time": _now()}
        return self.represented(asked, order, 201)

    def _authorize(self, asked: Asked, order_id: str) -> Answered:
        order = self._approved(order_id, "AUTHORIZE", "ORDER_ALREADY_AUTHORIZED")
        self._refuse_second_invoice(order)
        self._decline()
        held = self._payment(order_id, order["purchase_units"][0]["amount"], "CREATED")
        self._done(order)["authorizations"].append(held)
        order |= {"status": "COMPLETED", "update_time": _now()}
        self._tell("PAYMENT.AUTHORIZATION.CREATED", "authorization", _full(held, order_id))
        return self.represented(asked, order, 201)

    def _approved(self, order_id: str, intent: str, already: str) -> Json:
        order = self._known_order(order_id)
        if order["intent"] != intent:
            raise unprocessable("ACTION_DOES_NOT_MATCH_INTENT")
        if order["status"] == "COMPLETED":
            raise unprocessable(already)
        if order["status"] != "APPROVED":
            raise unprocessable("ORDER_NOT_APPROVED", "Payer has not yet approved the Order for payment.")
        return order

    def _decline(self) -> None:
        waiting = self.troubles.get("refusal")
        if waiting:
            raise unprocessable(waiting.popleft())

    def _refuse_second_invoice(self, order: Json) -> None:
        invoice = order["purchase_units"][0]["invoice_id"]
        if any(one["invoice_id"] == invoice and one["status"] == "COMPLETED" for _, one in self._payments.values()):
            raise unprocessable("DUPLICATE_INVOICE_ID", "Duplicate Invoice ID detected.")

    # Payments.

    def _capture_held(self, asked: Asked, authorization_id: str) -> Answered:
        order_id, held = self._known_payment(authorization_id)
        body = parsed(asked, {"final_capture", "amount"})
        if held["status"] != "CREATED":
            raise unprocessable("AUTHORIZATION_ALREADY_CAPTURED" if held["status"] == "CAPTURED" else "AUTHORIZATION_VOIDED")
        capture = self._captured(order_id, body.get("amount") or held["amount"], self.next_of("capture_status"))
        if capture["status"] != "DECLINED":
            held["status"] = "CAPTURED"
        self._done(self.orders[order_id])["captures"].append(capture)
        return self.represented(asked, capture, 201)

    def _void(self, _: Asked, authorization_id: str) -> Answered:
        order_id, held = self._known_payment(authorization_id)
        if held["status"] != "CREATED":
            raise unprocessable("PREVIOUSLY_CAPTURED" if held["status"] == "CAPTURED" else "PREVIOUSLY_VOIDED")
        held["status"] = "VOIDED"
        self._tell("PAYMENT.AUTHORIZATION.VOIDED", "authorization", _full(held, order_id))
        return Answered(status=204)

    def _refund(self, asked: Asked, capture_id: str) -> Answered:
        body = parsed(asked, {"amount", "custom_id", "invoice_id", "note_to_payer"})
        return self.represented(asked, self._refunded(capture_id, body), 201)

    def _refunded(self, capture_id: str, body: Json) -> Json:
        order_id, capture = self._known_payment(capture_id)
        check_amount(body["amount"])
        if not re.fullmatch(r"[A-Za-z0-9\-_.,]{0,127}", body.get("custom_id", "")):
            raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER_SYNTAX")
        done = self._done(self.orders[order_id])
        left = Decimal(capture["amount"]["value"]) - sum(Decimal(one["amount"]["value"]) for one in done["refunds"])
        if not left:
            raise unprocessable("CAPTURE_FULLY_REFUNDED")
        if Decimal(body["amount"]["value"]) > left:
            raise unprocessable("REFUND_AMOUNT_EXCEEDED")
        refund = self._payment(order_id, body["amount"], self.next_of("refund_status"))
        refund["custom_id"] = body.get("custom_id", capture["custom_id"])
        refund["note_to_payer"] = body.get("note_to_payer", "")
        done["refunds"].append(refund)
        capture["status"] = "REFUNDED" if left == Decimal(body["amount"]["value"]) else "PARTIALLY_REFUNDED"
        self._tell("PAYMENT.CAPTURE.REFUNDED", "refund", _full(refund, order_id))
        return refund

    def _show_refund(self, _: Asked, refund_id: str) -> Answered:
        return as_json(200, self._known_payment(refund_id)[1])

    def _captured(self, order_id: str, amount: Json, status: str) -> Json:
        capture = self._payment(order_id, amount, status)
        if status == "COMPLETED":
            capture["seller_receivable_breakdown"] = {"gross_amount": amount, "paypal_fee": fee_of(amount)}
        self._tell(f"PAYMENT.CAPTURE.{status}", "capture", _full(capture, order_id))
        return capture

    def _payment(self, order_id: str, amount: Json, status: str) -> Json:
        unit = self.orders[order_id]["purchase_units"][0]
        found = {
            "id": self._id(),
            "status": status,
            "amount": amount,
            "custom_id": unit["custom_id"],
            "invoice_id": unit["invoice_id"],
            "create_time": _now(),
            "update_time": _now(),
        }
        self._payments[found["id"]] = (order_id, found)
        return found

    # Lists.

    def _list_disputes(self, asked: Asked) -> Answered:
        query = asked.query
        if not {"disputed_transaction_id", "update_time_after"} & query.keys() or int(query.get("page_size", "10")) > 50:
            raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE")
        short = ("dispute_id", "create_time", "update_time", "reason", "status", "dispute_amount")
        found = [{name: one[name] for name in short} for one in self.disputes.values() if _is_wanted(one, query)]
        first, size = int(query.get("next_page_token", "0")), min(int(query.get("page_size", "10")), self.page_at_most)
        more = first + size < len(found)
        href = f"{self.url}/v1/customer/disputes?page_size={size}&next_page_token={first + size}"
        links = [{"rel": "next", "href": href, "method": "GET"}] if more else []
        return as_json(200, {"items": found[first : first + size], "links": links})

    def _show_dispute(self, _: Asked, dispute_id: str) -> Answered:
        if dispute_id not in self.disputes:
            raise Refused(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        return as_json(200, self.disputes[dispute_id])

    def _transactions(self, asked: Asked) -> Answered:
        query = asked.query
        start, end = (datetime.fromisoformat(query[name]) for name in ("start_date", "end_date"))
        if (end - start).days > 31:
            raise Refused(400, "INVALID_REQUEST", "INVALID_RANGE", "Date range is greater than 31 days")
        rows = [
            {"transaction_info": self._row(order_id, one)}
            for order_id, one in self._payments.values()
            if start <= datetime.fromisoformat(one["create_time"]) <= end and one["status"] in {"COMPLETED", "REFUNDED"}
        ]
        size, page = min(int(query["page_size"]), self.page_at_most), int(query["page"])
        return as_json(
            200,
            {
                "transaction_details": rows[(page - 1) * size : page * size],
                "page": page,
                "total_items": len(rows),
                "total_pages": max(1, -(-len(rows) // size)),
            },
        )

    def _row(self, order_id: str, payment: Json) -> Json:
        """A row of the search: a refund refers to its capture and takes money away."""
        done = self._done(self.orders[order_id])
        refunds = [one["id"] for one in done["refunds"]]
        row = {
            "transaction_id": payment["id"],
            "paypal_reference_id": order_id,
            "paypal_reference_id_type": "ODR",
            "transaction_event_code": "T0006",
            "transaction_initiation_date": payment["create_time"],
            "transaction_amount": payment["amount"],
            "transaction_status": "S",
            "invoice_id": payment["invoice_id"],
            "custom_field": payment["custom_id"],
        }
        if payment["id"] not in refunds:
            return row
        [capture] = done["captures"]
        back = {**payment["amount"], "value": f"-{payment['amount']['value']}"}
        reference = {"paypal_reference_id": capture["id"], "paypal_reference_id_type": "TXN"}
        return {**row, **reference, "transaction_event_code": "T1107", "transaction_amount": back}

    # Helpers of the above.

    def _known_order(self, order_id: str) -> Json:
        if order_id not in self.orders:
            raise Refused(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID", "Specified resource ID does not exist.")
        return self.orders[order_id]

    def _known_payment(self, payment_id: str) -> tuple[str, Json]:
        if payment_id not in self._payments:
            raise Refused(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID", "Specified resource ID does not exist.")
        return self._payments[payment_id]

    @staticmethod
    def _done(order: Json) -> dict[str, list[Json]]:
        found: dict[str, list[Json]] = order["purchase_units"][0]["payments"]
        return found

    def _tell(self, event_type: str, resource_type: str, resource: Json) -> None:
        self.events.append(
            {
                "id": f"WH-{self._id()}-{self._id()}",
                "event_version": "1.0",
                "create_time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
                "resource_type": resource_type,
                "event_type": event_type,
                "summary": event_type.replace(".", " ").lower(),
                "resource": msgspec.json.decode(msgspec.json.encode(resource)),
                "links": [],
            }
        )

    @staticmethod
    def _id() -> str:
        return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(17))


def fee_of(amount: Json) -> Json:
    """What the company keeps: two percent, in the places of the amount."""
    value = Decimal(amount["value"])
    return {**amount, "value": str((value / 50).quantize(value))}


def _full(payment: Json, order_id: str) -> Json:
    """A payment as events carry it."""
    return {**payment, "supplementary_data": {"related_ids": {"order_id": order_id}}}


def _is_wanted(dispute: Json, query: Mapping[str, str]) -> bool:
    if (capture := query.get("disputed_transaction_id")) is not None:
        return bool(dispute["capture"] == capture)
    changed = datetime.fromisoformat(dispute["update_time"])
    after, before = (datetime.fromisoformat(query[f"update_time_{name}"]) for name in ("after", "before"))
    return after <= changed <= before


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
