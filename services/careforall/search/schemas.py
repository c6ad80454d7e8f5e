"""HTTP shapes of search."""

from html import escape

import msgspec

from careforall.contracts.listing import Facets, ListedProduct, Pagination, facets, listed, pagination
from careforall.kit.faceted import Wanted
from careforall.search.index import END, START, Found, Hit


class Highlight(msgspec.Struct, frozen=True, kw_only=True):
    """HTML, safe to show: everything is escaped except `<mark>` around what was found."""

    name: str
    description: str


class FoundProduct(ListedProduct, frozen=True, kw_only=True):
    """A product of a list, with what was found in it."""

    highlight: Highlight


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what was found. With `did_you_mean` nothing holds the words as typed; this is what was searched for instead."""

    query: str
    did_you_mean: str | None
    products: list[FoundProduct]
    pagination: Pagination
    facets: Facets


class Suggestions(msgspec.Struct, frozen=True, kw_only=True):
    """Names and words that begin as typed."""

    suggestions: list[str]


def answer(query: str, meant: str | None, wanted: Wanted, found: Found) -> SearchAnswer:
    """Return what was found as the API shows it."""
    return SearchAnswer(
        query=query,
        did_you_mean=meant,
        products=[_shown(hit) for hit in found.hits],
        pagination=pagination(wanted, found.matches, found.counts),
        facets=facets(found.counts, {hit.product.currency for hit in found.hits}),
    )


def _shown(hit: Hit) -> FoundProduct:
    plain = msgspec.structs.asdict(listed(hit.product, hit.match, image_url=hit.product.image_url))
    return FoundProduct(**plain, highlight=Highlight(name=_marked(hit.name), description=_marked(hit.description)))


def _marked(text: str) -> str:
    return escape(text).replace(START, "<mark>").replace(END, "</mark>")
