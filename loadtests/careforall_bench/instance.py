"""The platform under measurement: starts an instance of its own through the command line, or uses one that runs already."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from msgspec import Struct

from careforall.kit.ids import new_id
from careforall.launch.state import InstanceFolder
from careforall_bench import processes
from careforall_bench.plan import Buyer

START_SECONDS = 180
POLL_SECONDS = 0.2
API = "/api/v1"
TOLD = 1500
"""Characters of what a command said that are passed on when it failed: its log goes away with the instance."""


class PlatformError(RuntimeError):
    """The platform did not do what the measurement needs."""


class Launched(Struct, frozen=True, kw_only=True):
    """An instance and how it is told what to do."""

    root: Path
    instance: str
    folder: Path
    mine: bool = True
    """Whether it was made for the measurement, and is forgotten again."""

    def up(self) -> float:
        """Start it; returns the seconds until it was ready."""
        begun = time.perf_counter()
        self.tell("up", "--detach", "--port", "0", "--no-demo")
        return time.perf_counter() - begun

    def down(self, *, purge: bool) -> None:
        """Stop it."""
        self.tell("down", *(["--purge"] if purge else []))

    def status(self) -> dict[str, Any]:
        """What `careforall status --json` says."""
        found: dict[str, Any] = json.loads(self.tell("status", "--json"))
        return found

    def tell(self, *words: str) -> str:
        """Run a command of the platform on this instance.

        Raises:
            PlatformError: it failed; the message is the command's own.
        """
        command = [sys.executable, "-m", "careforall", *words, "--instance", self.instance]
        answer = subprocess.run(  # noqa: S603 - our own command under our own interpreter
            command, cwd=self.root, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        if answer.returncode:
            raise PlatformError(f"careforall {' '.join(words)}: {(answer.stdout + answer.stderr).strip()[-TOLD:]}")
        return answer.stdout

    def processes(self) -> set[int]:
        """Everything that belongs to the instance: launcher, servers, services."""
        folder = InstanceFolder(self.folder)
        state = folder.read_state()
        roots = [entry.pid for entry in folder.read_running()]
        return processes.tree([*roots, *([state.launcher_pid] if state is not None and state.launcher_pid else [])])

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time that each server and service has used so far."""
        running = InstanceFolder(self.folder).read_running()
        return processes.cpu_seconds({entry.name: processes.tree([entry.pid]) for entry in running})


class Platform(Struct, frozen=True, kw_only=True):
    """A running platform as the scenarios see it."""

    launched: Launched
    host: str
    port: int
    token: str
    secret: str
    postgres: str
    nats: str

    def campaigns(self, number: int, *, currency: str) -> list[str]:
        """Open new campaigns and return their ids."""
        wanted = {"story": "Opened to be measured.", "goal": "1000000.00", "currency": currency, "status": "LIVE"}
        with self._client() as client:
            answers = [client.post("/campaigns", json={"title": f"Bench {index}", **wanted}) for index in range(number)]
        return [str(_good(answer)["id"]) for answer in answers]

    def put_stock(self, sku: str, on_hand: int) -> None:
        """Count a SKU's stock."""
        with self._client() as client:
            _good(client.put("/admin/inventory", json={"sku": sku, "on_hand": on_hand}))

    def products(self, number: int, *, stock: int) -> list[str]:
        """Offer new products of one SKU each, with so much stock, and return the SKUs."""
        skus = [f"BENCH-{new_id().hex[-12:].upper()}" for _ in range(number)]
        wanted = {"base_price": "20.00", "currency": "EUR", "status": "ACTIVE"}
        with self._client() as client:
            for sku in skus:
                _good(client.post("/admin/products", json={"name": f"Bench {sku}", "variants": [{"sku": sku}], **wanted}))
                _good(client.put("/admin/inventory", json={"sku": sku, "on_hand": stock}))
        return skus

    def buyers(self, number: int) -> list[Buyer]:
        """Sign up so many buyers with an address each."""
        with self._client() as client:
            return [_buyer(client) for _ in range(number)]

    def until_bought(self, buyer: Buyer, skus: Sequence[str], *, deadline: float) -> None:
        """Wait until every product can be put into a cart and taken to the till.

        Raises:
            PlatformError: It cannot.
        """
        until = time.monotonic() + deadline
        with self._client() as client:
            client.headers["Authorization"] = f"Bearer {buyer.authorization}"
            for sku in skus:
                while (refusal := _refusal(client, buyer, sku)) is not None:
                    if time.monotonic() > until:
                        raise PlatformError(f"{sku} cannot be bought after {deadline:.0f} s: {refusal}")
                    time.sleep(POLL_SECONDS)

    def counted(self, campaigns: Sequence[str]) -> int:
        """Gifts that the totals of these campaigns count."""
        with self._client() as client:
            answers = [client.get(f"/totals/campaigns/{campaign}?realtime=true") for campaign in campaigns]
        return sum(int(_good(answer)["total_donations"]) for answer in answers)

    def _client(self) -> httpx2.Client:
        base = f"http://{self.host}:{self.port}{API}"
        return httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {self.token}"}, timeout=30, trust_env=False)


def connect(launched: Launched) -> Platform:
    """Sign in to a running instance as its administrator."""
    status = launched.status()
    address = urlsplit(status["url"])
    host, port = address.hostname or "", address.port or 80
    login = status["logins"]["admin"]
    with httpx2.Client(timeout=30, trust_env=False) as client:
        answer = client.post(f"http://{host}:{port}{API}/auth/login", json=login)
    return Platform(
        launched=launched,
        host=host,
        port=port,
        token=str(_good(answer)["access_token"]),
        secret=status["webhook_secrets"]["generic"],
        postgres=status["dsn"]["postgres"],
        nats=status["dsn"]["nats"],
    )


def _buyer(client: httpx2.Client) -> Buyer:
    login = {"email": f"bench-{new_id().hex}@example.org", "password": secrets.token_urlsafe(12)}
    _good(client.post("/auth/signup", json=login))
    token = str(_good(client.post("/auth/login", json=login))["access_token"])
    address = {"type": "SHIPPING", "name": "Bench", "line1": "Main Street 1", "city": "Berlin", "country": "DE"}
    answer = client.post("/users/me/addresses", json=address, headers={"Authorization": f"Bearer {token}"})
    return Buyer(authorization=token, address=str(_good(answer)["id"]))


def _refusal(client: httpx2.Client, buyer: Buyer, sku: str) -> str | None:
    """Take one piece to the till, and give it back; what was said where that failed."""
    filled = client.post("/cart/items", json={"sku": sku, "quantity": 1})
    if not filled.is_success:
        return filled.text[:200]
    wanted = {"cart_id": filled.json()["cart_id"], "shipping_address_id": buyer.address}
    told = client.post("/checkout/initiate", json=wanted)
    if not told.is_success:
        return told.text[:200]
    _good(client.post(f"/checkout/{told.json()['checkout_id']}/cancel"))
    for item in filled.json()["items"]:
        _good(client.delete(f"/cart/items/{item['id']}"))
    return None


def _good(answer: httpx2.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise PlatformError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:400]}")
    found: dict[str, Any] = answer.json()
    return found


@contextmanager
def servers_of(launched: Launched) -> Iterator[dict[str, str]]:
    """URLs of an instance's servers by their role; one of our own runs only while the context is open."""
    try:
        if launched.mine:
            launched.up()
        yield launched.status()["dsn"]
    finally:
        if launched.mine:
            launched.down(purge=True)
