"""How each gateway's webhook bodies are read; used when an event arrives and again when an early one is applied."""

from collections.abc import Callable, Mapping

from careforall.payments.domain import GENERIC
from careforall.payments.gateways import generic, paypal_events, simulator
from careforall.payments.gateways.base import Told

READERS: Mapping[str, Callable[[bytes], Told]] = {
    GENERIC: generic.read_event,
    "simulator": simulator.read_event,
    "paypal": paypal_events.read_event,
}
