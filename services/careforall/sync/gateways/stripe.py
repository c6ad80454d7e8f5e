"""Stripe as a target: customers by its own library, its errors as outcomes, its events as what was told.

Whom an object mirrors, and in which version, is noted in its metadata: that is how an echo of our own change is known.
"""

from collections.abc import Awaitable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import stripe
from stripe.params import CustomerCreateParams, CustomerUpdateParams

from careforall.kit.errors import Malformed
from careforall.kit.ids import parse_id
from careforall.kit.stripe.api import StripeApi, body_of, is_spent
from careforall.sync.domain import Call, Content, Done, Gone, Later, Outcome, Refused, Spent, Told

NOTE_ID = "careforall_customer_id"
NOTE_VERSION = "careforall_version"
NOTES = "careforall_"
_HEARD = frozenset({"customer.created", "customer.updated", "customer.deleted"})
_CONFLICT, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 409, 404, 429, 500
_PAGE = 100
_LONGEST_ERROR = 300

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\A[!-~]+\Z")]


class Thing(msgspec.Struct, frozen=True):
    """A customer as Stripe writes it; a deleted one is only named."""

    id: Name
    deleted: bool = False
    email: str | None = None
    name: str | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def notes(self) -> Mapping[str, str]:
        """Its metadata, ours and others'."""
        return self.metadata or {}


class _Things(msgspec.Struct, frozen=True):
    data: list[Thing]
    has_more: bool = False


class _Subject(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Event(msgspec.Struct, frozen=True):
    id: Name
    type: Annotated[str, msgspec.Meta(max_length=100)]
    created: Annotated[int, msgspec.Meta(ge=0, le=10**11)]
    data: _Subject
    livemode: bool = False


_event = msgspec.json.Decoder(_Event).decode
_thing = msgspec.json.Decoder(Thing).decode
_things = msgspec.json.Decoder(_Things).decode


class StripeTarget:
    """Asks Stripe.

    Args:
        key: Secret or restricted key.
        base: Where the API answers instead of Stripe's own address; empty for that one.
        seconds: Deadline of one call.
    """

    name = "stripe"

    def __init__(self, key: str, *, base: str, seconds: float) -> None:
        self._stripe = StripeApi(key, base=base, seconds=seconds)
        self._customers = self._stripe.v1.customers

    async def make(self, customer_id: UUID, call: Call, external_id: str | None) -> Outcome:
        """Create, change or delete a customer."""
        key = call.key(customer_id)
        if call.content is None:
            return await self._named(self._customers.delete_async(external_id or "", {}))
        if external_id is None:
            return await self._named(self._customers.create_async(_new(customer_id, call), {"idempotency_key": key}))
        return await self._named(self._customers.update_async(external_id, _changed(customer_id, call), {"idempotency_key": key}))

    async def look(self, customer_id: UUID, call: Call) -> Outcome:
        """Walk the customers of the mail that was sent for the one with our note."""
        after = ""
        while True:
            wanted: Any = {"email": call.content.email if call.content else "", "limit": _PAGE}
            page = await _asked(self._customers.list_async(wanted | ({"starting_after": after} if after else {})))
            if not isinstance(page, str):
                return page
            found = _things(page)
            for one in found.data:
                if one.notes.get(NOTE_ID) == str(customer_id):
                    return Done(external_id=one.id)
            if not found.has_more or not found.data:
                return Spent(error="the call came to nothing and its key is spent")
            after = found.data[-1].id

    async def close(self) -> None:
        """Close connections."""
        await self._stripe.close()

    async def _named(self, call: Awaitable[stripe.StripeObject]) -> Outcome:
        answer = await _asked(call)
        if not isinstance(answer, str):
            return answer
        try:
            return Done(external_id=_thing(answer).id)
        except msgspec.MsgspecError:
            return Later(error="unreadable answer")


async def _asked(call: Awaitable[stripe.StripeObject]) -> str | Outcome:
    """Return the answer as it came, or what its error means."""
    try:
        return await body_of(call)
    except stripe.StripeError as error:
        return outcome_of(error)
    except (ValueError, TypeError, AttributeError) as error:
        return Later(error=f"unreadable answer ({type(error).__name__})")


def outcome_of(error: stripe.StripeError) -> Outcome:
    """Return what an error means: who is at fault decides whether the same call is made again."""
    return next(outcome for holds, outcome in _outcomes(error, error.http_status or 0) if holds)


def _outcomes(error: stripe.StripeError, status: int) -> Iterator[tuple[bool, Outcome]]:
    """Yield what may be the case and what then follows; the first that holds counts."""
    told = f"{status or 'no answer'}: {error.code or type(error).__name__}"
    wait = _seconds(error.headers)
    ours = isinstance(error, stripe.AuthenticationError | stripe.PermissionError)
    yield ours, Later(error=f"{told}; Stripe does not accept our key for customers", counted=False)
    yield isinstance(error, stripe.IdempotencyError) or is_spent(error), Spent(error=told)
    yield status == _TOO_MANY, Later(error=told, retry_after=wait, counted=False)
    yield status in {0, _CONFLICT} or status >= _SERVER_ERROR, Later(error=told, retry_after=wait)
    yield status == _NOT_FOUND and error.code == "resource_missing", Gone()
    yield True, Refused(error=_plain(f"{told}; {error.user_message or ''}"))


def read_event(body: bytes, *, livemode: bool) -> Told:
    """Return what an event says.

    Raises:
        Malformed: If it is no event of Stripe's.
    """
    try:
        event = _event(body)
        heard = event.type in _HEARD
        thing = _thing(event.data.object) if heard else Thing(id="-")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("This is no event of Stripe's.") from None
    flaw = "other_event" if not heard else "other_mode" if event.livemode != livemode else ""
    return Told(
        event_id=event.id,
        event_type=event.type if event.type.isprintable() else "unprintable",
        external_id=thing.id,
        at=datetime.fromtimestamp(event.created, tz=UTC),
        deleted=event.type == "customer.deleted",
        customer_id=parse_id(thing.notes.get(NOTE_ID, "")),
        noted_version=_version(thing.notes.get(NOTE_VERSION, "")),
        content=_content(thing),
        flaw=flaw,
    )


def _content(thing: Thing) -> Content:
    own = {name: value for name, value in thing.notes.items() if not name.startswith(NOTES)}
    return Content(email=(thing.email or "").lower(), name=thing.name or "", metadata=own)


def _version(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - as `If-Match`


def _new(customer_id: UUID, call: Call) -> CustomerCreateParams:
    assert call.content is not None
    wanted: CustomerCreateParams = {"email": call.content.email, "metadata": _noted(customer_id, call)}
    if call.content.name:
        wanted["name"] = call.content.name
    return wanted


def _changed(customer_id: UUID, call: Call) -> CustomerUpdateParams:
    assert call.content is not None
    metadata = {**_noted(customer_id, call), **dict.fromkeys(call.removed, "")}
    return {"email": call.content.email, "name": call.content.name, "metadata": metadata}


def _noted(customer_id: UUID, call: Call) -> dict[str, str]:
    assert call.content is not None
    return {**call.content.metadata, NOTE_ID: str(customer_id), NOTE_VERSION: str(call.version)}


def _seconds(headers: Mapping[str, str] | None) -> float:
    given = (headers or {}).get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0.0  # noqa: PLR2004 - a day at most


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:_LONGEST_ERROR]).rstrip("; ")
