"""Which gateway an attempt goes to: the next one only where nothing payable can exist at another."""

from __future__ import annotations

import pytest

from careforall.kit.ids import new_id
from careforall.payments.domain import AttemptStatus
from careforall.payments.opening import next_gateway
from careforall.payments.records import Attempt


def attempt(gateway: str, status: AttemptStatus = "FAILED", gateway_object: str = "", number: int = 1) -> Attempt:
    return Attempt(intent_id=new_id(), number=number, gateway=gateway, status=status, gateway_object=gateway_object)


@pytest.mark.parametrize(
    ("tried", "order", "wanted"),
    [
        ([], ["b"], "a"),
        ([attempt("a")], [], "a"),
        ([attempt("a")], ["a", "b", "c"], "b"),
        ([attempt("a"), attempt("b", number=2)], ["a", "b", "c"], "c"),
        ([attempt("a"), attempt("b", number=2)], ["a", "b"], "a"),
        ([attempt("a", "UNKNOWN")], ["b"], "a"),
        ([attempt("a", gateway_object="pi_1")], ["b"], "a"),
        ([attempt("a", gateway_object="pi_1"), attempt("a", number=2)], ["b"], "a"),
        ([attempt("generic", gateway_object="x", number=0), attempt("a")], ["b"], "b"),
    ],
)
def test_the_next_gateway(tried: list[Attempt], order: list[str], wanted: str) -> None:
    assert next_gateway("a", tried, order) == wanted
