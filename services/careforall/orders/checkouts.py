"""Use cases of a checkout: from a cart to stock and price that are held, and from there to a paid order."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NoReturn, TypeVar
from uuid import UUID, uuid5

import msgspec

from careforall.contracts import addresses, carts, pricing
from careforall.kit import context, money
from careforall.kit.errors import IdempotencyKeyReused, InvalidInput, Unavailable
from careforall.kit.http.identity import Principal
from careforall.kit.idempotency import Call
from careforall.kit.ids import new_id
from careforall.kit.text import refuse_texts, text_error
from careforall.orders import pricing_of
from careforall.orders.asking import Asks, Away
from careforall.orders.domain import Item
from careforall.orders.driver import Driver
from careforall.orders.errors import (
    AccountsUnavailable,
    CartEmpty,
    CartNotActive,
    CartNotFound,
    CartsUnavailable,
    CheckoutEnded,
    CheckoutExpired,
    CheckoutNotFound,
    InventoryUnavailable,
    NothingToPay,
    OutOfStock,
    PaymentDeclined,
    PriceChanged,
    PricingUnavailable,
    ProductUnavailable,
)
from careforall.orders.goods import Goods
from careforall.orders.records import Card, Notice, Run, Sale, Wanted
from careforall.orders.saga_words import CART_BOUGHT, REPLACED, CancelAsked, PayAsked, Saga
from careforall.orders.schemas import NewCheckout, PayCheckout
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Fenced, Store

T = TypeVar("T", bound=msgspec.Struct)

NAMES = UUID("5f1d6f3c-7d0e-5a53-9a86-6c1f0d2b9c11")
"""Namespace of sagas that are named by their caller's key, so that a repeat finds the first."""
_AWAY = frozenset({"inventory_unavailable", "pricing_unavailable"})
"""Endings after which the same key may begin anew: nothing came of the first."""


class Checkouts:
    """Checkouts as buyers know them."""

    def __init__(self, goods: Goods, asks: Asks, store: Store, driver: Driver, settings: OrdersSettings) -> None:
        self._goods = goods
        self._asks = asks
        self._store = store
        self._driver = driver
        self._settings = settings

    async def initiate(self, buyer: Principal, new: NewCheckout, call: Call | None) -> tuple[Run, bool]:
        """Reserve stock and keep the price for a cart, both or neither; return also whether an earlier request did it.

        Raises:
            CartNotFound, CartNotActive, CartEmpty: About the cart.
            InvalidInput: An address is unknown, or a quantity above its limit.
            OutOfStock, ProductUnavailable: Nothing is held.
            InventoryUnavailable, PricingUnavailable: Nothing is held, and the cart is kept.
        """
        saga_id, known = await self._named(call)
        if known is not None:
            return self._initiated(await self._driver.settled(known.saga.id) or known), True
        sale = await self._sale(buyer, new)
        replaced = await self._make_way(sale, saga_id)
        sale = msgspec.structs.replace(sale, cart_holders=(*sale.cart_holders, *(one.saga.id for one in replaced)))
        if gone := await self._gone(sale):
            raise OutOfStock(skus=gone)
        try:
            run = await self._driver.start(
                Saga(id=saga_id, type="CHECKOUT"), sale, request_hash=call.fingerprint if call else None
            )
            run = await self._driver.follow(run, instead=replaced) or run
        except Fenced:
            return self._initiated(await self._fresh(saga_id)), True
        except Away as error:
            await self._give_up(saga_id, error)
        return self._initiated(run), False

    async def checkout(self, identifier: UUID, viewer: Principal) -> Run:
        """Return a checkout of one's own.

        Raises:
            CheckoutNotFound: Also where it is somebody else's.
        """
        run = await self._store.load(identifier)
        if run is None or run.saga.type != "CHECKOUT" or (run.sale.user_id != viewer.user_id and not viewer.is_admin):
            raise CheckoutNotFound
        return run

    async def pay(self, identifier: UUID, buyer: Principal, wanted: PayCheckout) -> tuple[Run, bool]:
        """Pay a checkout; two who do it at once get the same order. Return also whether this key had paid it before.

        Raises:
            PriceChanged, ProductUnavailable, OutOfStock, CheckoutExpired, CheckoutEnded: Nothing was charged.
            PaymentDeclined: Another means of payment may be tried.
            InventoryUnavailable, PricingUnavailable: Nothing was charged.
        """
        refuse_texts(text_error("/payment_token", wanted.payment_token, limit=200))
        run = await self.checkout(identifier, buyer)
        if run.sale.user_id != buyer.user_id:
            raise CheckoutNotFound
        known = run.sale.card_key == wanted.idempotency_key
        if run.saga.waits and not (run.saga.declined and known):
            return self._paid(await self._go_on(run, wanted)), False
        if not run.saga.ended:
            run = await self._driver.settled(identifier) or run
        return self._paid(run), known

    async def cancel(self, identifier: UUID, buyer: Principal) -> Run:
        """Give a checkout up: what is held for it is free again."""
        return await self._cancelled(await self.checkout(identifier, buyer), "cancelled")

    async def _cancelled(self, run: Run, reason: str) -> Run:
        try:
            run = await self._driver.take(run, CancelAsked(reason=reason))
            return await self._driver.follow(run) or run
        except (Fenced, Away):
            return await self._driver.settled(run.saga.id) or run

    async def _go_on(self, run: Run, wanted: PayCheckout) -> Run:
        card = Card(method=wanted.payment_method, token=wanted.payment_token, key=wanted.idempotency_key)
        sale = msgspec.structs.replace(run.sale, card=card if wanted.payment_token else None, decline="", redirect_url="")
        asked = PayAsked(card=sale.card is not None)
        rise: PriceChanged | None = None
        if run.sale.cart_id is not None and await self._store.bought(run.sale.cart_id):
            return await self._cancelled(run, CART_BOUGHT)
        if run.saga.stage == "ready":
            asked, sale, rise = await self._at_what_price(run.saga.id, sale, asked)
        try:
            moved = await self._driver.take(run, asked, sale)
            moved = await self._driver.follow(moved) or moved
        except Fenced:
            return await self._driver.settled(run.saga.id) or run
        except Away:
            return await self._fresh(run.saga.id)
        if rise is not None:
            raise rise
        if moved.saga.stage == "ready" and not asked.hold:
            raise self._changed(run, moved) or _who_was_away(run, moved)
        return moved

    def _changed(self, before: Run, after: Run) -> PriceChanged | None:
        """Return the refusal where the price could not be kept: a coupon was gone, or it rose just now."""
        shown, now = before.sale.amounts, after.sale.amounts
        if shown is None or now is None or (shown.total, shown.currency) == (now.total, now.currency):
            return None
        old, new = _shown(shown.total, before.sale), _shown(now.total, after.sale)
        return PriceChanged(old_total=old, new_total=new, currency=now.currency)

    async def _at_what_price(self, holder_id: UUID, sale: Sale, asked: PayAsked) -> tuple[PayAsked, Sale, PriceChanged | None]:
        """Apply the price rules: what was shown is charged, a drop is given, a rise after the lock is limited or asked about."""
        assert sale.amounts is not None
        question = pricing_of.question_of(sale, holder_id)
        quote = await self._query(pricing.QUOTE, question, pricing.Quote, PricingUnavailable)
        locked = pricing_of.is_locked(sale, datetime.now(UTC))
        if gone := pricing_of.unpriced(quote, sale):
            if locked and not pricing_of.is_gone(quote):
                return asked, sale, None
            _refuse_unpriced(pricing_of.why_unpriced(quote), gone)
        old, new = sale.amounts.total, quote.total
        elsewhere = quote.currency != sale.amounts.currency
        if locked and (elsewhere or new >= old):
            return asked, sale, None
        relock = PayAsked(card=asked.card, relock=True)
        prices = f"{_shown(new, sale)} instead of {_shown(old, sale)}"
        if new < old and not elsewhere:
            return relock, _noticed(sale, "price_dropped", f"It costs less by now: {prices}."), None
        if elsewhere or pricing_of.rises_too_much(old, new, self._settings.price_rise_percent):
            shown = money.show(new, quote.currency)
            changed = PriceChanged(old_total=_shown(old, sale), new_total=shown, currency=quote.currency)
            return PayAsked(card=False, relock=True, hold=True), sale, changed
        return relock, _noticed(sale, "price_rose", f"It costs a little more by now: {prices}.") if new > old else sale, None

    async def _sale(self, buyer: Principal, new: NewCheckout) -> Sale:
        asked = carts.ContentsAsked(cart_id=new.cart_id, user_id=buyer.user_id)
        cart = await self._query(carts.CONTENTS, asked, carts.Contents, CartsUnavailable)
        if cart.state is None:
            raise CartNotFound
        if cart.state != "ACTIVE":
            raise CartNotActive(state=cart.state)
        if not cart.lines:
            raise CartEmpty
        await self._refuse_bought(new.cart_id)
        wanted = pricing_of.summed([Wanted(sku=line.sku, quantity=line.quantity) for line in cart.lines])
        items = await self._goods.items([one.sku for one in wanted])
        pricing_of.check_wanted(wanted, items)
        shipping, billing, email = await self._addresses(buyer, new)
        lines, _ = pricing_of.listed(wanted, items)
        cause = context.current()
        return Sale(
            order_id=new_id(),
            intent_id=new_id(),
            user_id=buyer.user_id,
            email=email or buyer.email,
            gateway=self._settings.default_gateway,
            cart_id=new.cart_id,
            cart_holders=tuple(holder for line in cart.lines for holder in line.holders),
            late=all(items[one.sku].reservation_policy == "AT_PAYMENT" for one in wanted),
            wanted=wanted,
            coupons=tuple(cart.coupons),
            shipping_address=shipping,
            billing_address=billing,
            lines=lines,
            notices=tuple(_changed_prices(cart, items)),
            correlation_id=cause.correlation_id,
            traceparent=cause.traceparent,
        )

    async def _make_way(self, sale: Sale, saga_id: UUID) -> list[Run]:
        """Call off the checkouts of this cart that wait for their buyer, and return them: what they hold is still to be given up.

        One whose pay page may be open is left alone, and so is the one that the same key made a moment ago.
        """
        replaced: list[Run] = []
        for run in await self._store.waiting(sale.user_id):
            waits = run.saga.stage == "ready" or run.saga.declined
            if waits and run.sale.cart_id == sale.cart_id and run.saga.id != saga_id:
                try:
                    replaced.append(await self._driver.take(run, CancelAsked(reason=REPLACED)))
                except Fenced:
                    await self._driver.settled(run.saga.id)
        return replaced

    async def _gone(self, sale: Sale) -> list[str]:
        """Return what a sale cannot have: of what is held at once by a hint, of what is held later by what is available."""
        if not sale.late:
            return await self._asks.sold_out(sale)
        try:
            return await self._asks.short(sale)
        except Away as error:
            raise InventoryUnavailable from error

    async def _refuse_bought(self, cart_id: UUID) -> None:
        """Refuse a cart that became an order while carts was away, so that nothing in it is bought twice; it is cleared first."""
        if units := await self._store.bought(cart_id):
            try:
                await self._asks.clear(cart_id, units)
            except Away as error:
                raise CartsUnavailable from error
            raise CartNotActive(state="CONVERTED")

    async def _addresses(self, buyer: Principal, new: NewCheckout) -> tuple[addresses.Address, addresses.Address, str]:
        billing = new.billing_address_id or new.shipping_address_id
        asked = addresses.AddressesAsked(user_id=buyer.user_id, address_ids=[new.shipping_address_id, billing])
        told = await self._query(addresses.ADDRESSES, asked, addresses.Addresses, AccountsUnavailable)
        found = {one.address_id: one for one in told.addresses}
        for name, identifier in (("shipping_address_id", new.shipping_address_id), ("billing_address_id", billing)):
            if identifier not in found:
                raise InvalidInput.field(f"/{name}", "unknown_address", "you have no such address")
        return found[new.shipping_address_id], found[billing], told.email

    async def _named(self, call: Call | None) -> tuple[UUID, Run | None]:
        """Return the id of the saga of a key and the saga that has it; one that only met absent neighbours does not count."""
        if call is None:
            return new_id(), None
        again = 0
        while True:
            saga_id = uuid5(NAMES, f"{call.scope}|{call.key}|{again}")
            run = await self._store.load(saga_id)
            if run is None:
                return saga_id, None
            if run.request_hash != call.fingerprint:
                raise IdempotencyKeyReused
            if run.saga.ending not in _AWAY:
                return saga_id, run
            again += 1

    async def _give_up(self, saga_id: UUID, error: Away) -> NoReturn:
        """Somebody we need is away: free whatever may be held, and say so."""
        run = await self._fresh(saga_id)
        stock = run.saga.stage == "reserve"
        with contextlib.suppress(Fenced):
            await self._driver.take(run, CancelAsked(reason="inventory_unavailable" if stock else "pricing_unavailable"))
        raise (InventoryUnavailable if stock else PricingUnavailable) from error

    async def _fresh(self, saga_id: UUID) -> Run:
        run = await self._driver.settled(saga_id)
        if run is None:
            raise CheckoutNotFound
        return run

    async def _query(self, subject: str, asked: msgspec.Struct, kind: type[T], refusal: type[Unavailable]) -> T:
        try:
            return await self._asks.query(subject, asked, kind)
        except Away as error:
            raise refusal from error

    def _initiated(self, run: Run) -> Run:
        if run.saga.ended and not run.saga.has("capture"):
            _refuse(run)
        return run

    def _paid(self, run: Run) -> Run:
        if run.saga.ended and (run.saga.ending or not run.saga.has("capture")):
            _refuse(run)
        if run.saga.stage == "payer" and run.saga.declined:
            raise PaymentDeclined(
                f"Declined: {run.sale.decline or 'the gateway gave no reason'}. Try another means of payment.",
                decline_code=run.sale.decline,
                order_id=str(run.sale.order_id),
                order_number=run.sale.order_number,
            )
        return run


def _refuse(run: Run) -> NoReturn:
    """Say why a checkout ended without an order that is paid."""
    match run.saga.ending:
        case "out_of_stock":
            raise OutOfStock(skus=list(run.sale.short))
        case "unknown_sku" | "product_unavailable" | "price_refused" | "not_shipped_there" | "too_large":
            _refuse_unpriced(run.saga.ending, run.sale.short)
        case "nothing_to_pay":
            raise NothingToPay
        case "expired":
            raise CheckoutExpired
        case "inventory_unavailable":
            raise InventoryUnavailable
        case "pricing_unavailable":
            raise PricingUnavailable
        case _:
            raise CheckoutEnded(reason=run.saga.ending)


def _refuse_unpriced(reason: str, skus: Sequence[str]) -> NoReturn:
    """Say why there is no price."""
    if reason == "not_shipped_there":
        raise InvalidInput.field("/shipping_address_id", reason, "we do not ship there")
    if reason == "too_large":
        raise pricing_of.too_large("/cart_id")
    raise ProductUnavailable(f"Not sold any more: {', '.join(skus)}.", skus=list(skus))


def _who_was_away(before: Run, after: Run) -> Unavailable:
    """Return who did not answer, so that the checkout is where it was: stock is asked about after the price."""
    asked = {step for step in ("lock", "pin") if after.saga.attempts.get(step, 0) > before.saga.attempts.get(step, 0)}
    return PricingUnavailable() if asked == {"lock"} else InventoryUnavailable()


def _noticed(sale: Sale, code: str, message: str) -> Sale:
    kept = tuple(notice for notice in sale.notices if notice.code != code)
    return msgspec.structs.replace(sale, notices=(*kept, Notice(code=code, message=message)))


def _shown(amount: Decimal, sale: Sale) -> str:
    assert sale.amounts is not None
    return money.show(amount, sale.amounts.currency)


def _changed_prices(cart: carts.Contents, items: Mapping[str, Item]) -> list[Notice]:
    return [
        Notice(
            code="price_changed", message=f"The price of {line.sku} has changed since it was put into the cart.", subject=line.sku
        )
        for line in cart.lines
        if items[line.sku].price != line.price_at_addition
    ]
