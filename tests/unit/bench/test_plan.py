"""What a load may be: this machine only, bounded, and split without overlap."""

import pytest

from careforall_bench.plan import Plan, PlanError, Repeat, require_loopback, split

SCRIPT = Repeat(paths=["/"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_accepted(host: str) -> None:
    assert Plan(host=host, port=1, script=SCRIPT, seconds=1).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "192.168.1.1", "8.8.8.8", "example.org", "localhost.example.org", ""])
def test_every_other_address_is_refused(host: str) -> None:
    with pytest.raises(PlanError, match="this machine only"):
        require_loopback(host)
    with pytest.raises(PlanError):
        Plan(host=host, port=1, script=SCRIPT, seconds=1)


@pytest.mark.parametrize(
    ("seconds", "connections", "count", "rate"),
    [(0, 1, 1, None), (301, 1, 1, None), (1, 0, 1, None), (1, 2000, 1, None), (1, 1, 0, None), (1, 1, 1, 0.0), (1, 1, 1, 1e9)],
)
def test_loads_without_bounds_are_refused(seconds: float, connections: int, count: int, rate: float | None) -> None:
    with pytest.raises(PlanError):
        Plan(host="::1", port=1, script=SCRIPT, seconds=seconds, connections=connections, count=count, rate=rate)


def test_an_open_loop_plans_its_conversations_from_rate_and_time() -> None:
    plan = Plan(host="::1", port=1, script=SCRIPT, seconds=2.5, rate=100)
    assert plan.planned == 250
    assert Plan(host="::1", port=1, script=SCRIPT, seconds=2.5, rate=100, count=7).planned == 7


def test_shares_of_several_processes_add_up_and_never_overlap() -> None:
    whole = Plan(host="::1", port=1, script=SCRIPT, seconds=1, connections=5, count=101, rate=30)
    shares = split(whole, 3)
    numbers = [number for share in shares for number in range(share.first, share.first + share.count)]
    assert sorted(numbers) == list(range(101))
    assert sum(share.connections for share in shares) == 5
    assert sum(share.rate or 0 for share in shares) == pytest.approx(30)


def test_more_processes_than_connections_are_refused() -> None:
    with pytest.raises(PlanError):
        split(Plan(host="::1", port=1, script=SCRIPT, seconds=1, connections=2), 3)
