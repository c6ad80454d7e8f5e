"""What ``up`` and ``status`` say about a running platform: addresses, logins, and what to try next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from careforall.launch.credentials import Credentials
from careforall.launch.plan import ADMIN_EMAIL, DONOR_EMAIL, Plan
from careforall.launch.ports import LOOPBACK
from careforall.launch.state import State


def base_url(state: State) -> str:
    """Where the platform answers."""
    return f"http://{LOOPBACK}:{state.port}" if state.port else ""


def flag_of(instance: str) -> str:
    """What names an instance in a command to copy."""
    return "" if instance == "default" else f" --instance {instance}"


def page_urls(state: State, plan: Plan) -> dict[str, str]:
    """Addresses of the pages people open; empty while nothing runs."""
    base = base_url(state)
    return {name: f"{base}{path}" if base else "" for name, path in plan.pages.items()}


def status_document(
    *, state: State, credentials: Mapping[str, Any], plan: Plan, data: Path, services: Mapping[str, str], ready: bool
) -> dict[str, Any]:
    """The document of ``careforall status --json``; scripts lean on its shape."""
    return {
        "instance": state.instance,
        "url": base_url(state),
        "ready": ready,
        "data_dir": str(data),
        "services": dict(services),
        "urls": page_urls(state, plan),
        "logins": {
            "admin": {"email": ADMIN_EMAIL, "password": credentials.get("admin_password", "")},
            "donor": {"email": DONOR_EMAIL, "password": credentials.get("donor_password", "")},
        },
        "webhook_secrets": {
            "generic": credentials.get("webhook_secret", ""),
            "simulator": credentials.get("simulator_secret", ""),
        },
        "dsn": {role: state.dsn.get(role, "") for role in ("postgres", "nats", "redis")},
    }


def summary_lines(*, state: State, credentials: Credentials, plan: Plan, data: Path, campaign: str) -> list[str]:
    """What to print when the platform is ready; ``campaign`` is the id of one that takes donations."""
    base = base_url(state)
    flag = flag_of(state.instance)
    gift = json.dumps({"campaign_id": campaign, "amount": "25.00", "donor_email": DONOR_EMAIL})
    return [
        "",
        f"CareForAll is ready at {base}",
        "",
        *(f"  {name:<10} {url}" for name, url in page_urls(state, plan).items()),
        "",
        f"  admin      {ADMIN_EMAIL}  {credentials.admin_password}",
        *([f"  donor      {DONOR_EMAIL}  {credentials.donor_password}"] if state.demo_loaded else []),
        f"  data       {data}",
        "",
        "Try next:",
        f"  curl -s {base}/api/v1/campaigns",
        f"  curl -s -X POST {base}/api/v1/donations -H 'Content-Type: application/json' \\",
        "    -H 'Idempotency-Key: first-gift' \\",
        f"    -d '{gift}'",
        f"  ./careforall simulate success ID{flag}    (the payment_intent.id of the answer)",
        f"  ./careforall status{flag}   ./careforall logs -f{flag}   ./careforall verify{flag}",
        "",
    ]
