"""Paying an intent as people do: its page, the simulated gateway's page, a card that may be declined, and back again."""

from __future__ import annotations

from careforall.drills.asking import Asker
from careforall.drills.polling import eventually

TRIES = 6
"""How often a declined payer tries again."""
_LEADS_SOMEWHERE_S = 60.0
_HOSTED = "/simulator/pay/"
_PAID = (b"your payment arrived", b"Payment authorised", b"Payment returned")


async def pay(asker: Asker, intent: str) -> bool:
    """Pay at the gateway's page, again where one is declined; false for somebody who gave up.

    Raises:
        NotInTime: The page led nowhere.
    """
    for _ in range(TRIES):
        hosted = await at_the_gateway(asker, intent)
        if not hosted:
            return True
        answered = await asker.ask("press", "POST", f"{hosted}/pay")
        back = answered.headers.get("location", "")
        await asker.ask("return", "GET", f"/pay/{intent}?return=1")
        if "redirect_status=succeeded" in back:
            return True
    return False


async def at_the_gateway(asker: Asker, intent: str) -> str:
    """Open the pay page until it leads to the gateway, and return the path there; empty where it is paid already."""
    path = ""

    async def there() -> bool:
        nonlocal path
        answered = await asker.ask("pay", "POST", f"/pay/{intent}")
        where = answered.headers.get("location", "")
        path = _HOSTED + where.partition(_HOSTED)[2].partition("?")[0] if _HOSTED in where else ""
        return bool(path) or (bool(where) and await _is_paid(asker, intent))

    await eventually(there, within_s=_LEADS_SOMEWHERE_S, every_s=0.3, what="the gateway's page")
    return path


async def _is_paid(asker: Asker, intent: str) -> bool:
    """Whether our own page says so."""
    page = await asker.ask("read", "GET", f"/pay/{intent}")
    return any(sentence in page.body for sentence in _PAID)
