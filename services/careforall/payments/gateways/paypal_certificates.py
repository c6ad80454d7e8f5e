"""PayPal's signing certificates, fetched from the address a webhook names.

Anybody may send such an address. Only https addresses of PayPal's own hosts, written plainly, are ever called; no redirect is
followed, a certificate is small, and its chain must end in a trusted root at this moment and name a host of PayPal. Good ones are
kept until they expire, bad addresses for some seconds, and each address is called by one at a time.
"""

import asyncio
import contextlib
import re
import ssl
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakValueDictionary

import httpx2
import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

log = structlog.get_logger(__name__)

_PAYPAL = re.compile(r"https://(?:[a-z0-9-]{1,63}\.){0,5}paypal\.com/[A-Za-z0-9/_.-]{1,200}")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SANDBOX = ".sandbox.paypal.com/"
_OK = 200
_MAX_SIZE = 64 * 1024
_MAX_CHAIN = 8
_AT_ONCE = 4
_BAD_FOR = 10.0
_KEPT_AT_MOST = 256


class _Kept(msgspec.Struct, frozen=True):
    """A certificate's key until its chain expires, or None for an address that was bad."""

    key: RSAPublicKey | None
    until: float


class BadCertificate(Exception):
    """What an address gave is no certificate of PayPal's that can be relied on now."""


class Certificates:
    """Fetches, checks and keeps certificates.

    Args:
        roots: The roots that may stand behind them, and behind the hosts they come from.
        live: Whether certificates of the sandbox are refused.
        loopback: One more host:port for tests; empty allows PayPal's hosts only.
        seconds: Deadline of one fetch.
    """

    def __init__(self, roots: Sequence[x509.Certificate], *, live: bool, loopback: str = "", seconds: float = 4.0) -> None:
        self._roots = Store(list(roots))
        self._tls = ssl.create_default_context(cadata="".join(one.public_bytes(Encoding.PEM).decode() for one in roots))
        self._live = live
        self._loopback = re.compile(rf"https://{re.escape(loopback)}/[A-Za-z0-9/_.-]{{1,200}}") if loopback else None
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}
        self._flights: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def key(self, url: str, now: float) -> RSAPublicKey | None:
        """Return the key of the certificate at an address, or None where it must not be called or cannot be relied on."""
        if not self.allows(url):
            log.warning("webhook names a foreign certificate address")
            return None
        flight = self._flights.setdefault(url, asyncio.Lock())
        async with flight:
            kept = self._kept.get(url)
            if kept is None or kept.until <= now:
                kept = await self._fetched(url, now)
                self._keep(url, kept)
        return kept.key

    def allows(self, url: str) -> bool:
        """Whether an address may be called: https, a host of PayPal, and nothing else that a parser could misread."""
        if self._loopback is not None and self._loopback.fullmatch(url):
            return True
        return _PAYPAL.fullmatch(url) is not None and not (self._live and _SANDBOX in url)

    async def _fetched(self, url: str, now: float) -> _Kept:
        try:
            async with asyncio.timeout(self._seconds), self._places:
                chain = _parsed(await self._read(url))
            key = self._checked(chain, now)
        except (httpx2.HTTPError, TimeoutError, BadCertificate) as error:
            log.warning("certificate of a webhook is not good", url=url, error=f"{type(error).__name__}: {error}")
            return _Kept(None, now + _BAD_FOR)
        return _Kept(key, min(one.not_valid_after_utc.timestamp() for one in chain))

    async def _read(self, url: str) -> bytes:
        headers = {"Accept-Encoding": "identity"}
        async with (
            httpx2.AsyncClient(verify=self._tls, timeout=self._seconds, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != _OK:
                raise BadCertificate(f"status {response.status_code}")
            found = bytearray()
            async for part in response.aiter_raw():
                found += part
                if len(found) > _MAX_SIZE:
                    raise BadCertificate("too large")
        return bytes(found)

    def _checked(self, chain: Sequence[x509.Certificate], now: float) -> RSAPublicKey:
        """Return the key of the first certificate, once the rest of the chain leads from it to a root."""
        name = self._name(chain[0])
        verifier = PolicyBuilder().store(self._roots).time(datetime.fromtimestamp(now, tz=UTC)).build_server_verifier(name)
        try:
            verifier.verify(chain[0], list(chain[1:]))
        except VerificationError as error:
            raise BadCertificate(str(error)) from error
        key = chain[0].public_key()
        if not isinstance(key, RSAPublicKey):
            raise BadCertificate("not an RSA key")
        return key

    def _name(self, certificate: x509.Certificate) -> x509.DNSName:
        """Return the host of PayPal's that a certificate was made for."""
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError) as error:
            raise BadCertificate("names no host") from error
        for name in names.get_values_for_type(x509.DNSName):
            if name.endswith(".paypal.com") and not (self._live and name.endswith(_SANDBOX.rstrip("/"))):
                return x509.DNSName(name)
        raise BadCertificate("names no host of PayPal")

    def _keep(self, url: str, kept: _Kept) -> None:
        """Keep a result; where made-up addresses fill the memory, bad ones go and good ones stay."""
        if len(self._kept) >= _KEPT_AT_MOST:
            self._kept = {address: one for address, one in self._kept.items() if one.key is not None}
        self._kept[url] = kept


def roots(path: str = "") -> list[x509.Certificate]:
    """Return the roots of a PEM file, or those of this machine.

    Raises:
        ValueError: There are none; the message names the setting.
    """
    found = _roots_in(Path(path)) if path else _roots_of_machine()
    if not found:
        raise ValueError("paypal_trust_anchor must name a PEM file: no root certificates are known otherwise")
    return found


def _roots_of_machine() -> list[x509.Certificate]:
    paths = ssl.get_default_verify_paths()
    for place in (paths.cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"):
        if place and (found := _roots_in(Path(place))):
            return found
    return []


def _roots_in(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a file; those that break today's rules are no roots to us."""
    try:
        written = _CERTIFICATE.findall(path.read_bytes())
    except OSError:
        return []
    found = []
    for pem in written:
        with warnings.catch_warnings(), contextlib.suppress(ValueError, CryptographyDeprecationWarning):
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            found.append(x509.load_pem_x509_certificate(pem))
    return found


def _parsed(pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadCertificate("not a certificate") from error
    if len(found) > _MAX_CHAIN:
        raise BadCertificate("too many certificates")
    return found
