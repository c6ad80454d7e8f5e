"""The protocol as it is, and as it could wrongly be: a simulation that cannot find these mistakes proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """The choices on which correctness hangs. The defaults are what production does."""

    inbox: Literal["in_the_effect", "before_the_effect", "after_the_effect", "absent"] = "in_the_effect"
    inbox_repeat: Literal["touched", "read"] = "touched"
    batch_copies: Literal["merged", "kept"] = "merged"
    relay_marks: Literal["acknowledged", "sent"] = "acknowledged"
    relay_claim: Literal["writes", "reads"] = "writes"
    relay_fence: Literal["stream", "absent"] = "stream"
    acknowledge: Literal["after_commit", "before_commit"] = "after_commit"
    unknown_commit: Literal["same_ids", "new_ids"] = "same_ids"
    totals: Literal["differences", "amounts"] = "differences"
    versions: Literal["newer", "any"] = "newer"
    webhook_keys: Literal["stored_with_effect", "forgotten"] = "stored_with_effect"
    new_intents: Literal["announced", "unannounced"] = "announced"


CORRECT = Protocol()

BROKEN: Mapping[str, Protocol] = {
    "inbox before the effect": Protocol(inbox="before_the_effect"),
    "inbox after the effect": Protocol(inbox="after_the_effect"),
    "dedupe by the broker only": Protocol(inbox="absent"),
    "repeats read the inbox without touching it": Protocol(inbox_repeat="read"),
    "copies within one batch are kept": Protocol(batch_copies="kept"),
    "marked when sent, not when acknowledged": Protocol(relay_marks="sent"),
    "claimed by reading": Protocol(relay_claim="reads"),
    "acknowledged before the commit": Protocol(acknowledge="before_commit"),
    "unknown commit repeated under new ids": Protocol(unknown_commit="new_ids"),
    "totals add amounts instead of differences": Protocol(totals="amounts"),
    "an older version is accepted": Protocol(versions="any"),
    "webhook keys are not stored": Protocol(webhook_keys="forgotten"),
    "new intents are not announced to the webhook intake": Protocol(new_intents="unannounced"),
    "a relay marks for a stream that is gone": Protocol(relay_fence="absent"),
}
"""Mistakes by name, each of which a run must find."""
