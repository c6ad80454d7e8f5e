"""Named places where a process may kill itself with SIGKILL, so that tests can die exactly between two effects.

Armed by the command line from `CAREFORALL_CRASH_AT=name:pass`; unarmed a point costs one comparison.
"""

import os
import signal

SAGA_STEPS = (
    *("reserve", "lock", "pin", "authorise", "confirm", "capture", "redeem"),
    *("cancel", "refund", "release", "restock", "free"),
)
"""The steps of the checkout saga; each can die before its effect, after it, and after its outcome is recorded."""
SAGA_POINTS = frozenset(
    f"saga.{step}.{place}" for step in SAGA_STEPS for place in ("before_effect", "after_effect", "after_record")
)
"""Those of the checkout's crash matrix."""
POINTS = SAGA_POINTS | frozenset(
    {
        "batch.before_commit",
        "batch.after_commit",
        "relay.after_claim",
        "relay.after_ack_before_mark",
        "relay.after_mark",
        "consumer.before_commit",
        "consumer.after_commit_before_ack",
        "consumer.after_ack",
        "webhook.before_commit",
        "webhook.after_commit",
        "refund.before_gateway",
        "refund.after_gateway_before_record",
        "refund.after_record",
        "reconcile.after_ask_before_apply",
        "reconcile.after_apply",
        "reconcile.after_slice",
        "sync.after_lease",
        "sync.after_call_before_settle",
        "sync.after_post_before_settle",
        "import.before_commit",
        "import.after_commit",
        "notifications.after_claim",
        "notifications.after_send_before_mark",
    }
)
"""Every registered point; the kill loop and the crash matrix visit each of them."""


class _Armed:
    name: str | None = None
    passes_left = 0


def arm(spec: str) -> None:
    """Arm one point, written `name` or `name:3` for the third pass.

    Raises:
        ValueError: If the point is not registered.
    """
    name, _, count = spec.partition(":")
    if name not in POINTS:
        raise ValueError(f"unknown crash point {name!r}; known: {', '.join(sorted(POINTS))}")
    _Armed.name, _Armed.passes_left = name, int(count or 1)


def point(name: str) -> None:
    """Die here with SIGKILL when this point is armed and its last pass is reached."""
    if _Armed.name != name:
        return
    _Armed.passes_left -= 1
    if _Armed.passes_left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
