"""PayPal's webhook signatures by a certificate authority of our own, with its certificates served over https on loopback.

signer = Signer(); headers = signer.sign(body, webhook_id="WH-1", url=...)
"""

from __future__ import annotations

import base64
import ipaddress
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from careforall.launch.ports import LOOPBACK
from careforall_testing.certificates import Authority, tls_of
from careforall_testing.loopback import Answered, Asked, listening

SIGNING_HOST = "messageverificationcerts.sandbox.paypal.com"
PATH = "/v1/notifications/certs/CERT-360caa42-fca2a594-5da7b0cf"


class Signer:
    """Signs webhooks as PayPal does.

    Args:
        host: What its certificate is made for.
        days: How long that is good; negative ones are over.
    """

    def __init__(self, authority: Authority | None = None, *, host: str = SIGNING_HOST, days: int = 30) -> None:
        self.authority = authority or Authority()
        between = self.authority.intermediate()
        self.leaf = self.authority.issue(between, host, days=days)
        self.chain = self.leaf.pem + between.pem

    def sign(
        self, body: bytes, *, webhook_id: str, url: str, at: str = "", transmission_id: str = "", algorithm: str = "SHA256withRSA"
    ) -> dict[str, str]:
        """The headers of a delivery; `at` is the signed time, now if not given."""
        stamp = at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = transmission_id or str(uuid4())
        signed = f"{name}|{stamp}|{webhook_id}|{zlib.crc32(body)}".encode()
        return {
            "Content-Type": "application/json",
            "PayPal-Transmission-Id": name,
            "PayPal-Transmission-Time": stamp,
            "PayPal-Transmission-Sig": base64.b64encode(self.leaf.key.sign(signed, PKCS1v15(), hashes.SHA256())).decode(),
            "PayPal-Cert-Url": url,
            "PayPal-Auth-Algo": algorithm,
        }


class CertificateHost:
    """A host that answers with a certificate, or with whatever a test makes it answer; it counts its calls."""

    def __init__(self, answer: bytes) -> None:
        self.answer = Answered(body=answer)
        self.asked: list[str] = []
        self.url = ""

    @property
    def address(self) -> str:
        """host:port."""
        return self.url.removeprefix("https://")

    @asynccontextmanager
    async def serving(self, authority: Authority) -> AsyncIterator[CertificateHost]:
        """Serve over https with a certificate of the authority."""
        address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
        async with listening(self._answering, tls=tls_of(authority, address)) as url:
            self.url = url
            yield self

    async def _answering(self, asked: Asked) -> Answered:
        self.asked.append(asked.path)
        return self.answer
