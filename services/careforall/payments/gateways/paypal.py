"""PayPal: orders v2, captured at once for gifts, authorised first for orders of the shop.

PayPal moves no money when a payer approves an order: somebody has to capture or authorise it. `show` does that to an order it
finds APPROVED, so whoever asks takes the money: the job that settles attempts, sooner when the payer comes back, at once when the
event CHECKOUT.ORDER.APPROVED arrives (`webhooks` has the attempt asked about). Repeating is safe: PayPal captures an order once
whatever is sent, and the key `<order>:take:<its last change>` is answered as the first time. The change is part of the key so
that a second approval after a decline is not answered with the first one's refusal.

An unpaid order cannot be cancelled at PayPal, it lapses. `cancel` therefore marks it (`custom_id`); a marked one is never taken.
PayPal lists no orders: `list_objects` reads the transaction search, whose rows are captures that carry our ids, up to three hours
late; their id is the order's only where PayPal refers to it. `list_changed` reads its refunds, and disputes by their last change.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote, urlsplit
from uuid import UUID

import msgspec
import structlog
from typing_extensions import override

from careforall.payments.domain import DisputeFact, Fact, Intent, StateFact
from careforall.payments.gateways.base import (
    Gateway,
    GatewayNotAsked,
    GatewayObject,
    GatewayPage,
    GatewayRefund,
    GatewayRefused,
    GatewayUnknown,
    plain,
)
from careforall.payments.gateways.generic import read_time
from careforall.payments.gateways.paypal_http import Api, nothing
from careforall.payments.gateways.paypal_objects import (
    CANCELED,
    Dispute,
    Money,
    Order,
    Payment,
    canceled,
    dispute_fact,
    ended,
    facts_of,
    names,
    refund_status,
    state_of,
    told,
    written,
)
from careforall.payments.gateways.paypal_refusals import DONE, NOT_FOUND, RELEASED, untaken
from careforall.payments.gateways.paypal_search import (
    Search,
    decode_disputes,
    decode_search,
    disputed,
    disputes_query,
    search_query,
)

log = structlog.get_logger(__name__)

_ORDERS = "/v2/checkout/orders"
_DISPUTES = "/v1/customer/disputes"
_DISPUTES_LIST = "disputes"
_TITLE = 127


_decode_order = msgspec.json.Decoder(Order).decode
_decode_payment = msgspec.json.Decoder(Payment).decode
_decode_dispute = msgspec.json.Decoder(Dispute).decode


class PayPal(Gateway):
    """Talks to PayPal over HTTP.

    Args:
        base: Base URL of its API.
        client_id: Client id of the app.
        client_secret: Its secret.
        live: Whether real money moves.
        seconds: Deadline of one call.
    """

    name = "paypal"

    def __init__(self, base: str, client_id: str, client_secret: str, *, live: bool, seconds: float) -> None:
        self.livemode = live
        self._api = Api(base, client_id, client_secret, seconds=seconds)
        self._disputes_within = seconds / 3

    @override
    async def open(self, intent: Intent, *, key: str, return_url: str) -> GatewayObject:
        amount = written(intent.amount, intent.currency)
        if amount is None:
            raise GatewayRefused("amount_not_supported", f"PayPal takes {intent.currency} in whole amounts only.")
        made = await self._api.post(_ORDERS, _decode_order, _order_body(intent, amount, return_url), key=key)
        shown = _shown(made, facts_of(made))
        if not shown.redirect_url and not shown.facts:
            raise GatewayUnknown("the order has no address to pay at")
        return shown

    @override
    async def show(self, gateway_object: str) -> GatewayObject:
        """Ask how it stands; an order its payer approved is taken first."""
        order = await self._order(gateway_object)
        if order is None:
            return GatewayObject(id=gateway_object, facts=(ended(gateway_object, "The order lapsed before it was paid."),))
        if order.status == "APPROVED" and not order.canceled:
            return await self._take(order)
        return _shown(order, (*facts_of(order), *await self._disputes(order)))

    @override
    async def capture(self, gateway_object: str, *, key: str) -> GatewayObject:
        order = await self._known(gateway_object)
        if order.capture is not None or order.held is None:
            return _shown(order, facts_of(order))
        path = f"/v2/payments/authorizations/{quote(order.held.id, safe='')}/capture"
        made = await self._api.post(path, _decode_payment, {"final_capture": True}, key=key)
        if made.status in {"DECLINED", "FAILED"}:
            raise GatewayRefused("capture_declined", plain(made.status_details.reason or made.status))
        return _shown(order, (told("CAPTURED", order.id, made.amount),) if made.status == "COMPLETED" else ())

    @override
    async def cancel(self, gateway_object: str, *, key: str) -> GatewayObject:
        order = await self._order(gateway_object)
        if order is None:
            return GatewayObject(id=gateway_object, facts=(canceled(gateway_object),))
        if order.capture is not None:
            return _shown(order, facts_of(order))
        if order.held is not None:
            await self._release(order.held, key)
        elif order.pending:
            raise GatewayRefused("payment_pending", "PayPal has not decided about this payment yet.")
        elif not isinstance(state_of(order), StateFact):
            await self._give_up(order)
        return _shown(order, (canceled(order.id),))

    @override
    async def refund(self, intent: Intent, amount: Decimal, *, refund_id: UUID, reason: str) -> GatewayRefund:
        """Send money back; the reason stays here, PayPal would show it to the payer."""
        capture = (await self._known(intent.gateway_object)).capture
        sent = written(amount, intent.currency)
        if capture is None or sent is None:
            raise GatewayRefused("amount_not_supported" if capture else "not_captured", "PayPal cannot send this back.")
        body = {"amount": sent, "custom_id": f"{intent.id}.{refund_id}"}
        path = f"/v2/payments/captures/{quote(capture.id, safe='')}/refund"
        return _shown_refund(await self._api.post(path, _decode_payment, body, key=str(refund_id)))

    @override
    async def show_refund(self, gateway_refund_id: str) -> GatewayRefund:
        return _shown_refund(await self._api.get(f"/v2/payments/refunds/{quote(gateway_refund_id, safe='')}", _decode_payment))

    @override
    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        page = int(after or "1")
        found = await self._search(since, until, page)
        return GatewayPage(objects=found.payments(), next=found.next(page))

    @override
    async def list_changed(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        """List refunds of the transaction search, then disputes; `next` names the list it goes on with."""
        kind, _, rest = after.partition(" ")
        if kind == _DISPUTES_LIST:
            return await self._changed_disputes(since, until, rest)
        page = int(after or "1")
        found = await self._search(since, until, page)
        return GatewayPage(objects=found.refunds(), next=found.next(page) or f"{_DISPUTES_LIST} ")

    @override
    async def close(self) -> None:
        await self._api.close()

    async def _search(self, since: datetime, until: datetime, page: int) -> Search:
        return await self._api.get("/v1/reporting/transactions", decode_search, params=search_query(since, until, page))

    async def _changed_disputes(self, since: datetime, until: datetime, token: str) -> GatewayPage:
        """List disputes; which payment each is about, and how it ended, only the dispute itself says."""
        found = await self._api.get(_DISPUTES, decode_disputes, params=disputes_query(since, until, token))
        whole = [await self._dispute(one.dispute_id) for one in found.items]
        return GatewayPage(
            objects=tuple(disputed(one) for one in whole), next=f"{_DISPUTES_LIST} {found.next}" if found.next else ""
        )

    async def _order(self, order_id: str) -> Order | None:
        """Return an order, or None where PayPal does not know it any more: unpaid ones lapse after hours."""
        try:
            return await self._known(order_id)
        except GatewayRefused as refusal:
            if refusal.code in NOT_FOUND:
                return None
            raise

    async def _known(self, order_id: str) -> Order:
        return await self._api.get(f"{_ORDERS}/{quote(order_id, safe='')}", _decode_order)

    async def _take(self, order: Order) -> GatewayObject:
        """Capture or authorise what the payer approved; if somebody else was faster, look again."""
        verb = "authorize" if order.intent == "AUTHORIZE" else "capture"
        path, key = f"{_ORDERS}/{quote(order.id, safe='')}/{verb}", f"{order.id}:take:{order.update_time}"
        try:
            taken = await self._api.post(path, _decode_order, {}, key=key)
        except GatewayRefused as refusal:
            if refusal.code in DONE:
                taken = await self._known(order.id)
            else:
                return _shown(order, untaken(order, refusal))
        return _shown(taken, facts_of(taken))

    async def _release(self, held: Payment, key: str) -> None:
        try:
            await self._api.post(f"/v2/payments/authorizations/{quote(held.id, safe='')}/void", nothing, {}, key=key)
        except GatewayRefused as refusal:
            if refusal.code not in RELEASED:
                raise

    async def _give_up(self, order: Order) -> None:
        """Mark an unpaid order, so that nobody takes it; one that PayPal will not change any more is left to lapse."""
        value = f"{order.unit.custom_id.partition('.')[0]}.{CANCELED}"
        change = {"op": "replace", "path": "/purchase_units/@reference_id=='default'/custom_id", "value": value}
        try:
            await self._api.patch(f"{_ORDERS}/{quote(order.id, safe='')}", [change])
        except GatewayRefused as refusal:
            if refusal.code in DONE:
                raise
            log.warning("unpaid order could not be marked", order=order.id, code=refusal.code)

    async def _disputes(self, order: Order) -> list[DisputeFact]:
        """Return the disputes of an order's capture; without the permission or an answer none, the next look finds them."""
        if order.capture is None:
            return []
        query = {"disputed_transaction_id": order.capture.id}
        try:
            async with asyncio.timeout(self._disputes_within):
                found = await self._api.get(_DISPUTES, decode_disputes, params=query)
                read = [dispute_fact(await self._whole(one), order.id) for one in found.items]
        except (GatewayRefused, GatewayNotAsked, GatewayUnknown, TimeoutError) as error:
            log.warning("disputes could not be read", order=order.id, error=str(error))
            return []
        return [fact for fact in read if fact is not None]

    async def _whole(self, dispute: Dispute) -> Dispute:
        """Lists leave out how a dispute ended."""
        return await self._dispute(dispute.dispute_id) if dispute.status == "RESOLVED" else dispute

    async def _dispute(self, dispute_id: str) -> Dispute:
        return await self._api.get(f"{_DISPUTES}/{quote(dispute_id, safe='')}", _decode_dispute)


def _order_body(intent: Intent, amount: Money, return_url: str) -> Mapping[str, object]:
    unit = {
        "reference_id": "default",
        "custom_id": str(intent.id),
        "invoice_id": str(intent.id),
        "amount": amount,
        **({"description": plain(intent.title, _TITLE)} if intent.title else {}),
    }
    experience = {
        "return_url": return_url,
        "cancel_url": urlsplit(return_url)._replace(query="").geturl(),
        "user_action": "PAY_NOW",
        "shipping_preference": "NO_SHIPPING",
    }
    return {
        "intent": "AUTHORIZE" if intent.subject_type == "ORDER" else "CAPTURE",
        "purchase_units": [unit],
        "payment_source": {"paypal": {"experience_context": experience}},
    }


def _shown(order: Order, facts: tuple[Fact, ...]) -> GatewayObject:
    return GatewayObject(
        id=order.id,
        redirect_url=order.pay_url,
        facts=facts,
        intent_id=names(order.unit.custom_id, order.unit.invoice_id)[0],
        created_at=read_time(order.create_time or None),
    )


def _shown_refund(refund: Payment) -> GatewayRefund:
    status = refund_status(refund)
    if status is None:
        raise GatewayUnknown(f"refund is {refund.status}")
    return GatewayRefund(id=refund.id, status=status)
