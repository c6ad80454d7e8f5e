"""What goes wrong, and how often."""

from __future__ import annotations

import msgspec


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Chances of trouble; the weights say which trouble strikes when one does."""

    steps_between_troubles: float = 250.0
    crash: float = 60.0
    cut_session: float = 8.0
    failover: float = 4.0
    lose_standby: float = 12.0
    forget_window: float = 8.0
    redeliver: float = 10.0
    wipe_stream: float = 3.0
    lose_node: float = 3.0

    unknown_commit: float = 0.03
    publish_lost: float = 0.03
    publish_ack_lost: float = 0.04
    ack_lost: float = 0.05
    reorder: float = 0.2
    answer_lost: float = 0.04
    webhook_dropped: float = 0.05
    webhook_doubled: float = 0.3
    key_reused: float = 0.04
    body_changed: float = 0.04

    def weights(self) -> tuple[float, ...]:
        """Return the weights in the order of `TROUBLES`."""
        return tuple(getattr(self, name) for name in TROUBLES)


TROUBLES = ("crash", "cut_session", "failover", "lose_standby", "forget_window", "redeliver", "wipe_stream", "lose_node")

CALM = Faults(
    steps_between_troubles=1e12,
    unknown_commit=0,
    publish_lost=0,
    publish_ack_lost=0,
    ack_lost=0,
    reorder=0,
    answer_lost=0,
    webhook_dropped=0,
    webhook_doubled=0,
    key_reused=0,
    body_changed=0,
)
"""Nothing goes wrong any more: how a run is brought to rest."""

RELAY_STORM = Faults(
    steps_between_troubles=700,
    crash=0,
    cut_session=0,
    failover=0,
    lose_standby=0,
    forget_window=0,
    redeliver=0,
    wipe_stream=0,
    lose_node=1,
    publish_lost=0,
    publish_ack_lost=0,
)
"""A machine that held a stream and a relay's session is lost now and then, and nothing else heals what that broke."""

BAD_WIRES = Faults(
    publish_lost=0.2, publish_ack_lost=0.2, ack_lost=0.2, answer_lost=0.3, reorder=0.6, unknown_commit=0.15, webhook_doubled=0.6
)
"""Nothing crashes more often, but little is answered."""

BAD_GATEWAY = Faults(webhook_doubled=0.6, webhook_dropped=0.2, key_reused=0.2, body_changed=0.2)
"""Webhooks as bad as they get."""
