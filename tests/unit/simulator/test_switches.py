"""Mishaps are seeded: the same seed and place, the same mishap."""

from careforall.simulator.switches import HELD_BACK_MS, Chances, Fate, Switches, call_fault, fate

EVENT = "payment_intent.succeeded"


def chances(switches: Switches, number: int = 1) -> Chances:
    return Chances(switches, f"{number}:1")


def test_an_honest_company_delivers_once_and_at_once() -> None:
    assert fate(chances(Switches()), EVENT) == Fate()


def test_everything_can_go_wrong_at_once() -> None:
    switches = Switches(duplicate=1.0, delay_ms=700, reorder=1.0, drop=1.0, bad_signature=1.0)
    found = fate(chances(switches), EVENT)
    assert (found.copies, found.bad_signatures, found.dropped) == (2, 1, True)
    assert 700 <= found.delay_ms <= 700 + HELD_BACK_MS


def test_a_seed_repeats_its_mishaps_and_another_does_not() -> None:
    def drawn(seed: int) -> list[bool]:
        switches = Switches(drop=0.5, seed=seed)
        return [fate(chances(switches, number), EVENT).dropped for number in range(64)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_chances_come_true_about_as_often_as_they_say() -> None:
    switches = Switches(decline_rate=0.3)
    hits = sum(chances(switches, number).hits("decline", switches.decline_rate) for number in range(2000))
    assert 500 < hits < 700


def test_mishaps_do_not_come_in_pairs() -> None:
    switches = Switches(drop=0.5, duplicate=0.5)
    found = {(plan.dropped, plan.copies) for plan in (fate(chances(switches, number), EVENT) for number in range(64))}
    assert len(found) == 4


def test_calls_are_answered_late_or_with_an_error() -> None:
    late = call_fault(chances(Switches(timeout_after_charge=1.0, timeout_ms=250)))
    assert (late.wait_ms, late.error) == (250, False)
    assert call_fault(chances(Switches(error_after_success=1.0))).error
