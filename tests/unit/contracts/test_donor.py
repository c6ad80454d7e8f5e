"""How a donor is recognised without a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall.contracts.donor import DonorKeys, normalised

KEYS = DonorKeys("s" * 32)


@pytest.mark.parametrize("twin", ["Jos\u00e9@Example.org", "jose\u0301@example.org", "JOSE\u0301@EXAMPLE.ORG"])
def test_rule_14_the_forms_of_one_mail_are_one_donor(twin: str) -> None:
    assert KEYS.of(twin) == KEYS.of("jos\u00e9@example.org")


def test_rule_14_the_key_tells_neither_the_mail_nor_is_it_the_same_elsewhere() -> None:
    assert "donor1" not in KEYS.of("donor1@example.org")
    assert KEYS.of("donor1@example.org") != DonorKeys("t" * 32).of("donor1@example.org")
    assert KEYS.of("donor1@example.org") != KEYS.of("donor2@example.org")


@given(st.text(max_size=40))
def test_normalising_ascii_twice_changes_nothing_more(mail: str) -> None:
    ascii_mail = mail.encode("ascii", "ignore").decode()
    assert normalised(normalised(ascii_mail)) == normalised(ascii_mail)
