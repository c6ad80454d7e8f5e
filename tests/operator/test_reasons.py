"""Conditions: every reason that is documented is used, and none is set that is not documented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from careforall_operator import conditions
from careforall_operator.conditions import REASONS, condition, kept

SOURCES = Path(conditions.__file__).parent
NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize("reason", sorted({reason for _, reasons in REASONS.values() for reason in reasons}))
def test_a_documented_reason_is_used(reason: str) -> None:
    texts = (path.read_text() for path in SOURCES.rglob("*.py") if path.name != "conditions.py")
    assert any(f'"{reason}"' in text for text in texts)


def test_an_undocumented_reason_cannot_be_set() -> None:
    with pytest.raises(conditions.UnknownReason, match="Ready/BecauseISaySo"):
        condition("Ready", "True", "BecauseISaySo", "", at=NOW, generation=1)


def test_an_answer_keeps_its_time_until_it_changes() -> None:
    before = condition("Ready", "False", "BelowDesired", "", at=NOW, generation=1)
    later = NOW + timedelta(hours=1)
    same = condition("Ready", "False", "Stalled", "", at=later, generation=2)
    other = condition("Ready", "True", "Serving", "", at=later, generation=2)
    assert kept([before], [same])[0].last_transition_time == NOW
    assert kept([before], [same])[0].reason == "Stalled"
    assert kept([before], [other])[0].last_transition_time == later
