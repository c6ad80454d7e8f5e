"""Alarms are counted from 0 on, so that the first of a kind is seen to rise."""

from typing import get_args

import pytest
from prometheus_client import REGISTRY

from careforall.payments import metrics
from careforall.payments.domain import AlarmKind


@pytest.mark.parametrize("kind", get_args(AlarmKind))
def test_a_kind_of_alarm_is_told_before_it_is_raised(kind: AlarmKind) -> None:
    before = REGISTRY.get_sample_value("payment_alarms_total", {"kind": kind})
    assert before is not None
    metrics.ALARMS[kind].inc()
    assert REGISTRY.get_sample_value("payment_alarms_total", {"kind": kind}) == before + 1
