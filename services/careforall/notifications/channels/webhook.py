"""Messages to integrators by HTTP, signed as Standard Webhooks prescribes, never into our own network."""

import time
from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from careforall.kit.outbound import WEBHOOK_HEADERS, Answer, ForbiddenTarget, NoAnswer, Outbound, UnknownHost
from careforall.kit.signatures import decoded, standard_headers
from careforall.notifications.channels.base import Letter, each
from careforall.notifications.domain import SENT, Channel, Outcome

_TIMEOUT = 10.0
_AT_ONCE = 8
_MAX_RETRY_AFTER = 3600.0
_BODY = msgspec.json.Encoder(order="sorted")


class WebhookCarrier:
    """Calls endpoints of integrators."""

    channel: Channel = "WEBHOOK"
    provider = "webhook"
    batch = 64

    def __init__(self, *, secret: str | bytes, allow_private: bool = False) -> None:
        self._secret = secret if isinstance(secret, bytes) else decoded(secret)
        self._allow_private = allow_private

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Deliver the messages."""
        async with Outbound(seconds=_TIMEOUT, allow_private=self._allow_private) as outbound:
            return await each(letters, lambda letter: self._post(outbound, letter), at_once=_AT_ONCE)

    async def _post(self, outbound: Outbound, letter: Letter) -> Outcome:
        message = letter.message
        body = _BODY.encode({"id": str(message.id), "template": message.template, "data": message.payload})
        signed = standard_headers([self._secret], identifier=str(message.id), at=time.time(), body=body)
        try:
            return judged(await outbound.post(message.recipient, body, {**WEBHOOK_HEADERS, **signed}))
        except ForbiddenTarget as error:
            return Outcome(error=str(error), lasting=True)
        except (NoAnswer, UnknownHost) as error:
            return Outcome(error=str(error))


def judged(answer: Answer) -> Outcome:
    """Translate an answer: 2xx is delivered, 410 and other 4xx are for ever, the rest may pass."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return SENT
    error = f"answered {status}"
    if (
        status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        wait = min(answer.retry_after, _MAX_RETRY_AFTER) if answer.retry_after is not None else None
        return Outcome(error=error, retry_after=wait)
    return Outcome(error=error, lasting=True)
