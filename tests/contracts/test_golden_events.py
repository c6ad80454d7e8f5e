"""Golden events: the bytes of every event version ever released still decode, and today's code still writes the same bytes.

A new event or a new field: run `UPDATE_GOLDEN=1 pytest tests/contracts` and look at what changed. Bytes of an older release are
never edited: a consumer may meet them for as long as streams and outboxes are kept (rule 7).
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import types
import typing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

import careforall.contracts
from careforall.contracts import streams
from careforall.kit.consumer import Consumer, Decoder, Refusal
from careforall.kit.envelope import Event, decode_envelope, seal
from careforall.kit.ids import new_id

GOLDEN = Path(__file__).with_name("golden")
ID = UUID("01931d2e-7a6b-7c3d-8e4f-5a6b7c8d9e0f")
MOMENT = datetime(2027, 1, 31, 12, tzinfo=UTC)
SAMPLES: dict[Any, Any] = {UUID: ID, datetime: MOMENT, Decimal: Decimal("25.00"), str: "text", int: 7, bool: True, float: 1.5}


def events() -> dict[str, type[Event]]:
    """Every event of the contracts by subject and version."""
    found: dict[str, type[Event]] = {}
    for module in pkgutil.iter_modules(careforall.contracts.__path__):
        for kind in vars(importlib.import_module(f"careforall.contracts.{module.name}")).values():
            if isinstance(kind, type) and issubclass(kind, Event) and kind.SUBJECT:
                name = f"{kind.SUBJECT}.v{kind.VERSION}"
                assert found.setdefault(name, kind) is kind, f"two events are called {name}"
    return found


EVENTS = events()


def sample(annotation: Any) -> Any:
    """A value of a type, the same every time."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in SAMPLES or origin is typing.Literal:
        return SAMPLES[annotation] if annotation in SAMPLES else arguments[0]
    if origin in {typing.Union, types.UnionType}:
        return sample(arguments[0])
    if origin in {list, tuple, dict}:
        return {"key": sample(arguments[1])} if origin is dict else origin([sample(arguments[0])])
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return filled(annotation)
    return "anything"


def filled(kind: type[msgspec.Struct]) -> Any:
    """An instance with every field set."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: sample(hints[name]) for name in kind.__struct_fields__})


def sealed(kind: type[Event]) -> bytes:
    """An event as it travels."""
    return seal(
        filled(kind),
        subject=kind.SUBJECT,
        event_id=ID,
        aggregate_id=ID,
        aggregate_version=3,
        source="golden",
        correlation_id="request-1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        occurred_at=MOMENT,
    )


async def _ignore(*_: Any) -> None:
    """Stands for a handler: only decoding is under test."""


def decoded(kind: type[Event], data: bytes) -> Any:
    """What a consumer of this event makes of bytes."""
    consumer = Consumer(name="golden", stream="GOLDEN", events=(kind,), handler=_ignore)
    fresh = msgspec.json.decode(data) | {"event_id": str(new_id())}
    return Decoder(consumer).decode(msgspec.json.encode(fresh), deliveries=1)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_today_s_code_writes_the_golden_bytes(name: str) -> None:
    file, data = GOLDEN / f"{name}.json", sealed(EVENTS[name])
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_bytes(data + b"\n")
    assert file.exists(), "a new event: UPDATE_GOLDEN=1 pytest tests/contracts"
    assert file.read_bytes() == data + b"\n"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_rule_07_golden_bytes_of_every_release_still_decode(file: Path) -> None:
    kind = EVENTS.get(file.stem)
    assert kind is not None, "an event that was released is gone: consumers may still meet it"
    message = decoded(kind, file.read_bytes())
    assert not isinstance(message, Refusal), message
    assert message.event == filled(kind)
    assert (message.aggregate_version, message.correlation_id) == (3, "request-1")


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_rule_07_unknown_fields_are_ignored_in_payload_and_envelope(name: str) -> None:
    data = json.loads(sealed(EVENTS[name]))
    data["field_of_tomorrow"] = {"a": [1]}
    data["payload"]["field_of_tomorrow"] = "x"
    message = decoded(EVENTS[name], json.dumps(data).encode())
    assert not isinstance(message, Refusal), message
    assert message.event == filled(EVENTS[name])


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_rule_07_bytes_from_before_the_optional_fields_decode_with_their_defaults(name: str) -> None:
    kind = EVENTS[name]
    data = json.loads(sealed(kind))
    required = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    data["payload"] = {field: data["payload"][field] for field in required}
    for optional in ("saga_id", "traceparent"):
        data.pop(optional, None)
    assert not isinstance(decoded(kind, json.dumps(data).encode()), Refusal)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_rule_07_an_unknown_version_is_parked_first_and_a_dead_letter_afterwards(name: str) -> None:
    data = json.loads(sealed(EVENTS[name])) | {"version": 99, "event_id": str(new_id())}
    decoder = Decoder(Consumer(name="golden", stream="GOLDEN", events=(EVENTS[name],), handler=_ignore))
    first, second = (decoder.decode(json.dumps(data).encode(), deliveries=times) for times in (1, 2))
    assert isinstance(first, Refusal)
    assert isinstance(second, Refusal)
    assert (first.park, second.park) == (True, False)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_amounts_travel_as_text_and_never_as_floats(name: str) -> None:
    payload = json.loads(sealed(EVENTS[name]))["payload"]
    assert not [field for field, value in payload.items() if isinstance(value, float)]


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_has_a_stream_that_keeps_it(name: str) -> None:
    prefix = EVENTS[name].SUBJECT.partition(".")[0]
    keepers = [stream.name for stream in streams.ALL if f"{prefix}.>" in stream.subjects]
    assert len(keepers) == 1


def test_rule_06_streams_keep_less_than_the_inbox_remembers_and_more_than_the_outbox_keeps() -> None:
    assert all(3 < stream.max_age_days < 30 for stream in streams.ALL)


def test_rule_06_an_envelope_needs_its_id() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_envelope(b"{}")
