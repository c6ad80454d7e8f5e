"""What an order costs: from a quote of pricing for checkouts, from our own copy of the catalog for direct orders. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts import pricing
from careforall.kit import money
from careforall.kit.errors import FieldError, InvalidInput
from careforall.orders.domain import Amounts, Item, Line
from careforall.orders.errors import OutOfStock, ProductUnavailable
from careforall.orders.records import Notice, Sale, Wanted


def question(sale: Sale) -> pricing.QuoteAsked:
    """Return what is to be priced, and where it goes."""
    return pricing.QuoteAsked(**_asked(sale))


def question_of(sale: Sale, holder_id: UUID) -> pricing.HeldQuoteAsked:
    """Return the same for a sale whose coupons are held already."""
    return pricing.HeldQuoteAsked(**_asked(sale), holder_id=holder_id)


def _asked(sale: Sale) -> dict[str, Any]:
    where = sale.shipping_address
    return {
        "lines": [pricing.QuotedLine(sku=one.sku, quantity=one.quantity) for one in sale.wanted],
        "coupons": list(sale.coupons),
        "user_id": sale.user_id,
        "member": True,  # nobody goes to the till without an account
        "country": where.country if where else "",
        "region": where.region if where else "",
        "postal_code": where.postal_code if where else "",
    }


def unpriced(quote: pricing.Quote, sale: Sale) -> tuple[str, ...]:
    """Return the SKUs for which there is no price any more; with any of them there is no price at all.

    What is refused beside a price are coupons, which may be called as a SKU is.
    """
    wanted = {one.sku for one in sale.wanted}
    if wanted <= {line.sku for line in quote.lines}:
        return ()
    refused = {one.subject for one in quote.refused if one.subject in wanted}
    return tuple(sorted(refused or wanted))


def is_gone(quote: pricing.Quote) -> bool:
    """Whether something of a sale is not sold any more, which a price that is promised does not change."""
    return any(one.code in {"unknown_sku", "inactive"} for one in quote.refused)


def why_unpriced(quote: pricing.Quote) -> str:
    """Return the code of what stands in the way of a price."""
    codes = {one.code for one in quote.refused}
    return next((code for code in ("not_shipped_there", "too_large") if code in codes), "product_unavailable")


def priced(sale: Sale, quote: pricing.Quote) -> Sale:
    """Return the sale at the quoted price; a coupon that does not count is noticed."""
    product_of = {line.sku: line.product_id for line in sale.lines}
    lines = tuple(
        Line(
            number=number,
            sku=line.sku,
            product_id=product_of.get(line.sku),
            seller_id=line.seller_id,
            name=line.name,
            quantity=line.quantity,
            unit_price=line.unit_price,
            total=line.total,
        )
        for number, line in enumerate(quote.lines)
    )
    refused = tuple(
        Notice(code=one.code, message=f"The coupon {one.subject} does not count: {_why(quote, one)}.", subject=one.subject)
        for one in quote.refused
    )
    kept = tuple(one for one in sale.notices if one.subject not in sale.coupons)
    return msgspec.structs.replace(
        sale,
        lines=lines,
        amounts=Amounts(
            currency=quote.currency,
            subtotal=quote.subtotal,
            discount=quote.discount,
            shipping=quote.shipping,
            tax=quote.tax,
            total=quote.total,
        ),
        explanation=tuple(quote.explanation),
        locked_until=quote.locked_until,
        notices=kept + refused,
    )


def _why(quote: pricing.Quote, refused: pricing.Refused) -> str:
    """Return in words why a coupon does not count."""
    rule = f"coupon:{refused.subject}"
    return next((one.reason for one in quote.explanation if one.rule == rule), refused.code)


def unpromised(sale: Sale, quote: pricing.Quote) -> Sale:
    """Return the sale at a quoted price of which the buyer knows nothing yet, nor of the one that was looked at before."""
    kept = tuple(one for one in sale.notices if one.code not in {"price_dropped", "price_rose"})
    return priced(msgspec.structs.replace(sale, notices=kept), quote)


def is_locked(sale: Sale, now: datetime) -> bool:
    """Whether the price that the buyer was shown is still promised."""
    return sale.locked_until is not None and now < sale.locked_until


def asks_again(sale: Sale, quote: pricing.Quote, now: datetime, percent: float) -> bool:
    """Whether a buyer who pays the price of a sale has to agree to a quote first."""
    assert sale.amounts is not None
    shown = sale.amounts
    if quote.currency != shown.currency:
        return True
    return quote.total > shown.total if is_locked(sale, now) else rises_too_much(shown.total, quote.total, percent)


def rises_too_much(old: Decimal, new: Decimal, percent: float) -> bool:
    """Whether a price rose by more than a buyer need not be asked about."""
    return new > old * (1 + Decimal(str(percent)) / 100)


def summed(wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """Return the wants with those of equal SKUs added up, in the order of their first mention."""
    quantity_of: dict[str, int] = {}
    for one in wanted:
        quantity_of[one.sku] = quantity_of.get(one.sku, 0) + one.quantity
    return tuple(Wanted(sku=sku, quantity=quantity) for sku, quantity in quantity_of.items())


def check_wanted(wanted: Sequence[Wanted], items: Mapping[str, Item], *, at: str = "/items") -> None:
    """Refuse what cannot be ordered at all, before anything is reserved.

    Raises:
        InvalidInput: `unknown_sku`, `quantity_limit` or `mixed_currencies`, naming each line.
        ProductUnavailable: Some are not sold any more.
        OutOfStock: Staff says that some are sold out.
    """
    errors: list[FieldError] = []
    for index, one in enumerate(wanted):
        item = items.get(one.sku)
        if item is None:
            errors.append(FieldError(pointer=f"{at}/{index}/sku", code="unknown_sku", message=f"there is no SKU {one.sku}"))
        elif one.quantity > item.max_per_order:
            message = f"at most {item.max_per_order} of {one.sku} in one order"
            errors.append(FieldError(pointer=f"{at}/{index}/quantity", code="quantity_limit", message=message))
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)
    missing = {one.sku for one in wanted if not items[one.sku].active}
    sold_out = {sku for sku in missing if items[sku].sold_out}
    if gone := sorted(missing - sold_out):
        raise ProductUnavailable(f"Not sold any more: {', '.join(gone)}.", skus=gone)
    if sold_out:
        raise OutOfStock(skus=sorted(sold_out))
    if len({items[one.sku].currency for one in wanted}) > 1:
        raise InvalidInput.field(at, "mixed_currencies", "order products of one currency at a time")


def listed(wanted: Sequence[Wanted], items: Mapping[str, Item]) -> tuple[tuple[Line, ...], Amounts]:
    """Return lines and amounts at the prices of the catalog."""
    lines = tuple(_listed_line(number, one, items[one.sku]) for number, one in enumerate(wanted))
    currency = items[wanted[0].sku].currency
    total = sum((line.total for line in lines), Decimal(0))
    return lines, Amounts(currency=currency, subtotal=total, total=total)


def too_large(at: str) -> InvalidInput:
    """Return the refusal of what costs more than amounts may be."""
    return InvalidInput.field(at, "too_large", f"all of it together must cost less than {money.LIMIT}")


def _listed_line(number: int, one: Wanted, item: Item) -> Line:
    places = Decimal(1).scaleb(-money.exponent(item.currency))
    unit = item.price.quantize(places)
    return Line(
        number=number,
        sku=one.sku,
        product_id=item.product_id,
        seller_id=item.seller_id,
        name=item.name,
        quantity=one.quantity,
        unit_price=unit,
        total=unit * one.quantity,
    )
