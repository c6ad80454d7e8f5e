"""The use cases of carts; what handlers, queries, consumers and jobs call."""

from uuid import UUID

import msgspec

from careforall.carts import repository, view
from careforall.carts.changing import Changing, Done, Owner, Wanted
from careforall.carts.clearing import Clearing
from careforall.carts.domain import Add, AddCoupon, Cart, Hold, Merge, Remove, RemoveCoupon, SetQuantity
from careforall.carts.errors import CartClosed, CartNotFound
from careforall.carts.holding import Holding
from careforall.carts.projection import Projection
from careforall.carts.reading import Reading
from careforall.carts.schemas import CartOut
from careforall.carts.settings import CartsSettings
from careforall.contracts.carts import CartLine, Clear, Contents, ContentsAsked
from careforall.contracts.pricing import COUPONS_OF, CouponsAsked, CouponsTold
from careforall.contracts.products import learning
from careforall.kit import json
from careforall.kit.cache import Cache
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Problem, UnknownOutcome
from careforall.kit.idempotency import Call
from careforall.kit.ids import new_id
from careforall.kit.learning import Learning
from careforall.kit.service import Ask

_ABANDONED = 500


class CartsService:
    """Everything carts can do."""

    def __init__(self, database: Database, settings: CartsSettings, *, cache: Cache, ask: Ask) -> None:
        self._database = database
        self._settings = settings
        self.projection = Projection()
        self.changing = Changing(database, settings)
        self._reading = Reading(database, cache)
        self.clearing = Clearing(database, settings, self._reading)
        self._learning = learning(database, ask, present=self._reading.goods, keep=self.projection.products)
        self._coupons = Learning(
            ask,
            COUPONS_OF,
            CouponsTold,
            present=self._reading.coupons,
            question=lambda codes: CouponsAsked(codes=codes),
            fold=self._keep_coupons,
        )
        self._holding = Holding(ask, seconds=settings.cart_hold_seconds)

    async def show(self, owner: Owner) -> CartOut:
        """Return an owner's cart; a user without one gets an empty one.

        Raises:
            CartNotFound: There is no such cart of a guest.
            CartClosed: It is not active any more.
        """
        cart = await self._reading.cart(owner)
        if cart is None and owner.user_id is not None:
            return view.nothing()
        cart = _open(cart, owner)
        shelf = await self._reading.goods([item.sku for item in cart.items])
        return view.shown(cart, shelf, now=self._reading.now(), days=self._days(cart))

    async def add(self, owner: Owner, sku: str, quantity: int, call: Call | None) -> Done:
        """Put goods in, held at once where their policy asks for it."""
        await self._learning.ensure([sku])
        goods = (await self._reading.goods([sku])).get(sku)
        cart, hold = None, None
        if goods is not None and goods.reservation_policy == "AT_CART":
            cart = None if owner.fresh else await self._reading.stored(owner)
            present = sum(item.quantity for item in cart.items if item.sku == sku) if cart else 0
            hold = await self._holding.for_more(goods, cart, present + quantity)
        return await self._held(
            Wanted(id=new_id(), owner=owner, change=Add(sku=sku, quantity=quantity, hold=hold), call=call), hold
        )

    async def set_quantity(self, owner: Owner, item_id: UUID, quantity: int, version: int | None) -> Done:
        """Set how many of an item there are; what is held too much is given back."""
        cart = _open(await self._reading.stored(owner), owner)
        sku = cart.item(item_id).sku
        goods = (await self._reading.goods([sku])).get(sku)
        hold = await self._holding.for_more(goods, cart, quantity)
        change = SetQuantity(item_id=item_id, quantity=quantity, hold=hold)
        done = await self._held(Wanted(id=new_id(), owner=owner, change=change, version=version), hold)
        await self._give_back_unneeded(cart, done)
        return done

    async def remove(self, owner: Owner, item_id: UUID, version: int | None) -> Done:
        """Take an item out and give back what is held of it."""
        cart = _open(await self._reading.stored(owner), owner)
        done = await self._written(Wanted(id=new_id(), owner=owner, change=Remove(item_id=item_id), version=version))
        await self._give_back_unneeded(cart, done)
        return done

    async def add_coupon(self, owner: Owner, code: str, call: Call | None) -> Done:
        """Put a coupon on."""
        code = code.upper()
        await self._coupons.ensure([code])
        return await self._written(Wanted(id=new_id(), owner=owner, change=AddCoupon(code=code), call=call))

    async def remove_coupon(self, owner: Owner, code: str) -> Done:
        """Take a coupon off."""
        return await self._written(Wanted(id=new_id(), owner=owner, change=RemoveCoupon(code=code.upper())))

    async def merge(self, user_id: UUID, guest_cart_id: UUID) -> Done:
        """Take a guest's cart over; one that was taken over before changes nothing."""
        wanted = Wanted(id=new_id(), owner=Owner(user_id=user_id), change=Merge(guest_cart_id=guest_cart_id))
        done = await self._written(wanted)
        await self._reading.forget(Owner(cart_id=guest_cart_id))
        return done

    async def merge_if_guest(self, user_id: UUID, guest_cart_id: UUID) -> None:
        """Take over the guest's cart whose id still comes with a request of somebody who has signed in; others are left alone."""
        guest = await self._reading.cart(Owner(cart_id=guest_cart_id))
        if guest is not None and guest.user_id is None and guest.state == "ACTIVE":
            await self.merge(user_id, guest_cart_id)

    async def merge_at_login(self, connection: Connection, user_id: UUID, guest_cart_id: UUID) -> None:
        """Take over the guest's cart that was sent with a login, in the transaction of the message that tells of it."""
        if await self.changing.merge_now(connection, user_id, guest_cart_id) is not None:
            self._reading.forget_soon(Owner(user_id=user_id), Owner(cart_id=guest_cart_id))

    async def answer_contents(self, payload: bytes) -> bytes:
        """Answer `query.carts.contents` from PostgreSQL."""
        asked = msgspec.json.decode(payload, type=ContentsAsked)
        cart = await self._reading.stored(Owner(cart_id=asked.cart_id))
        if cart is None or cart.user_id != asked.user_id:
            return json.encode(Contents())
        holders = {item.sku: [hold.holder_id for hold in cart.holds if hold.sku == item.sku] for item in cart.items}
        lines = [
            CartLine(sku=item.sku, quantity=item.quantity, price_at_addition=item.price_at_addition, holders=holders[item.sku])
            for item in cart.items
        ]
        return json.encode(Contents(state=cart.state, version=cart.version, lines=lines, coupons=list(cart.coupons)))

    async def answer_clear(self, payload: bytes) -> bytes:
        """Answer `ask.carts.clear`."""
        return json.encode(await self.clearing.clear(msgspec.json.decode(payload, type=Clear)))

    async def abandon(self) -> None:
        """Abandon carts that nobody has changed for long."""

        async def work(connection: Connection) -> int:
            return await repository.abandon(
                connection,
                guest_days=self._settings.guest_cart_days,
                user_days=self._settings.user_cart_days,
                limit=_ABANDONED,
            )

        while await self._database.run(work) == _ABANDONED:
            pass

    async def drain(self) -> None:
        """Wait until everything accepted is answered, and what it changed is out of the cache."""
        await self.changing.drain()
        await self.clearing.drain()
        await self._reading.drain()

    async def _held(self, wanted: Wanted, hold: Hold | None) -> Done:
        """Write a change; where it is refused or was written before, what was held for it is given back.

        Where nobody knows whether it was written, the hold stays until it ends by itself.
        """
        try:
            done = await self._written(wanted)
        except Problem as refusal:
            if hold is not None and not isinstance(refusal, UnknownOutcome):
                await self._holding.give_back([hold])
            raise
        if hold is not None and (done.cart is None or hold not in done.cart.holds):
            await self._holding.give_back([hold])
        return done

    async def _written(self, wanted: Wanted) -> Done:
        done = await self.changing.submit(wanted)
        if done.cart is not None:
            await self._reading.keep(wanted.owner, done.cart)
        return done

    async def _give_back_unneeded(self, before: Cart, done: Done) -> None:
        if done.cart is not None and before.holds:
            kept = set(done.cart.holds)
            await self._holding.give_back([hold for hold in before.holds if hold not in kept])

    async def _keep_coupons(self, told: CouponsTold) -> None:
        coupons = [(one.coupon.code, one.coupon.coupon_id, one.coupon.active, one.version) for one in told.coupons]
        await self._database.run(lambda connection: self.projection.coupons(connection, coupons))

    def _days(self, cart: Cart) -> int:
        return view.owner_days(cart.user_id, guest=self._settings.guest_cart_days, user=self._settings.user_cart_days)


def _open(cart: Cart | None, owner: Owner) -> Cart:
    if cart is None or cart.user_id != owner.user_id:
        raise CartNotFound
    if cart.state != "ACTIVE":
        raise CartClosed(state=cart.state)
    return cart
