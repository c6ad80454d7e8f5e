"""A platform that acknowledges every gift and loses them all, for tests of whoever should notice."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Forgetful(BaseHTTPRequestHandler):
    """Acknowledges every gift and knows none of them afterwards; shows one product, which is sold out."""

    def do_GET(self) -> None:
        known = self.path.startswith(("/api/v1/campaigns", "/api/v1/products"))
        items = [{"id": str(uuid.uuid4()), "status": "LIVE", "currency": "EUR"}]
        shop = {"products": [{"id": "mug", "in_stock": True}], "variants": [{"sku": "MUG"}]}
        self._answer(200 if known else 404, {"items": items, **shop})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        gift = {"id": str(uuid.uuid4()), "payment_intent": {"id": str(uuid.uuid4())}, "receipt_token": "token"}
        sold_out = self.path.endswith("/cart/items")
        self._answer(409 if sold_out else 201 if self.path.endswith("/donations") else 200, gift)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def forgetful_platform() -> Iterator[str]:
    """Serve one on a free port and yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
