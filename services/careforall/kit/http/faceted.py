"""What a visitor asks of a list with facets, out of the query string: the same words in every such list."""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from litestar import Request
from litestar.params import QueryParameter

from careforall.kit.errors import InvalidInput
from careforall.kit.faceted import Sort, Wanted
from careforall.kit.http.lists import MAX_LIMIT, CursorQuery
from careforall.kit.money import LIMIT
from careforall.kit.text import can_be_shown

MAX_DEPTH = 10_000
"""Products that page numbers reach; cursors lead on."""
_NAMES = {"category", "brand", "min_price", "max_price", "rating", "in_stock", "sort", "page", "size", "cursor", "q"}
_MEANT = {"limit": "size", "per_page": "size", "page_size": "size", "offset": "page"}
"""What other lists call it: as the name of an attribute it would quietly find nothing."""
_PREFIX = "attr."
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MOST_GROUPS = 10
_MOST_VALUES = 50
_LONGEST = 100
_LONGEST_NUMBER = 24
_BEST = 5

CategoryQuery = Annotated[str, QueryParameter(max_length=_LONGEST, description="Slug; those below it count too.")]
BrandQuery = Annotated[list[str] | None, QueryParameter(description="May be given several times: any of them.")]
RatingQuery = Annotated[str | None, QueryParameter(max_length=_LONGEST_NUMBER, description="At least so good, 0 to 5.")]
StockQuery = Annotated[bool | None, QueryParameter(description="Only what is in stock, or only what is not.")]
SortQuery = Annotated[Sort, QueryParameter(description="The order; `relevance` is for searches.")]
PageQuery = Annotated[int, QueryParameter(ge=0, description="From 0.")]
SizeQuery = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Products per page.")]
AmountQuery = Annotated[str | None, QueryParameter(max_length=_LONGEST_NUMBER, description='Such as "25.00".')]


def wanted_in(order: Sort) -> Callable[..., Wanted]:
    """Return what reads the query string of a list, which comes in this order unless another is asked for."""

    def wanted(
        request: Request[Any, Any, Any],
        category: CategoryQuery = "",
        brand: BrandQuery = None,
        min_price: AmountQuery = None,
        max_price: AmountQuery = None,
        rating: RatingQuery = None,
        in_stock: StockQuery = None,
        sort: SortQuery = order,
        page: PageQuery = 0,
        size: SizeQuery = 20,
        cursor: CursorQuery = None,
    ) -> Wanted:
        """Return what is asked for. Every other parameter names an attribute: `color=red`, or `attr.size=M` where names meet.

        Raises:
            InvalidInput: Naming the parameter at fault.
        """
        lowest, highest = _number("min_price", min_price, LIMIT), _number("max_price", max_price, LIMIT)
        _check(lowest, highest, page=page, size=size, cursor=cursor)
        return Wanted(
            category=_text("category", category),
            brands=tuple(sorted({_text("brand", one) for one in brand or []})),
            min_price=lowest,
            max_price=highest,
            rating=_number("rating", rating, Decimal(_BEST)),
            in_stock=in_stock,
            terms=attributes_of(request, besides=_NAMES),
            sort=sort,
            page=page,
            size=size,
            cursor=cursor,
        )

    return wanted


def attributes_of(request: Request[Any, Any, Any], *, besides: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Return the attributes a query names, grouped by name, each as `name=value`; `besides` are not attributes.

    Raises:
        InvalidInput: `unknown_parameter`, or a value that cannot be one.
    """
    taken, groups = set(besides), dict[str, set[str]]()
    for given, value in request.query_params.multi_items():
        if given in taken:
            continue
        if _MEANT.get(given) in taken:
            raise InvalidInput.field(
                f"/{given}", "unknown_parameter", f"it is `{_MEANT[given]}` here; an attribute is `attr.{given}`"
            )
        name = given.removeprefix(_PREFIX)
        if not _ATTRIBUTE.fullmatch(name):
            raise InvalidInput.field(f"/{name[:_LONGEST]}", "unknown_parameter", "no filter and no attribute has this name")
        groups.setdefault(name, set()).add(f"{name}={_text(name, value)}")
    if len(groups) > _MOST_GROUPS or sum(map(len, groups.values())) > _MOST_VALUES:
        raise InvalidInput.field("/", "too_many", f"at most {_MOST_GROUPS} attributes and {_MOST_VALUES} values")
    return tuple(tuple(sorted(groups[name])) for name in sorted(groups))


def _check(lowest: Decimal | None, highest: Decimal | None, *, page: int, size: int, cursor: str | None) -> None:
    """Refuse parameters that contradict each other."""
    if lowest is not None and highest is not None and lowest > highest:
        raise InvalidInput.field("/max_price", "below_minimum", "max_price is below min_price")
    if page and cursor is not None:
        raise InvalidInput.field("/page", "invalid_value", "give a page or a cursor")
    if (page + 1) * size > MAX_DEPTH:
        raise InvalidInput.field("/page", "too_deep", f"pages reach {MAX_DEPTH} products; go on with next_cursor")


def _text(name: str, value: str) -> str:
    if len(value) > _LONGEST or not can_be_shown(value):
        raise InvalidInput.field(f"/{name}", "invalid_value", f"at most {_LONGEST} printable characters")
    return value


def _number(name: str, value: str | None, most: Decimal) -> Decimal | None:
    if value is None:
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= most or "_" in value:
        raise InvalidInput.field(f"/{name}", "invalid_value", f"a number from 0 to {most}")
    return number
