"""How a webhook body that was kept is read again, once its intent has arrived.

When it came, its gateway's channel read it (`app.py`), and let nothing of the other mode pass: here a body of either mode is one.
"""

from collections.abc import Callable, Mapping

from careforall.payments.domain import GENERIC
from careforall.payments.gateways import generic, paypal_events, simulator
from careforall.payments.gateways.base import Told
from careforall.payments.gateways.stripe_facts import StripeFacts
from careforall.payments.gateways.stripe_money import places

READERS: Mapping[str, Callable[[bytes], Told]] = {
    GENERIC: generic.read_event,
    "simulator": simulator.read_event,
    "stripe": StripeFacts(livemode=None, places=places).read_event,
    "paypal": paypal_events.read_event,
}
