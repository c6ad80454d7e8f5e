"""HTTP shapes of the ledger. Amounts are decimal strings: above zero received, below zero given."""

from datetime import datetime
from uuid import UUID

import msgspec

from careforall.kit import money
from careforall.payments.ledger import Entry, EntryKind, Line
from careforall.payments.repository_ledger import Balance
from careforall.payments.schemas import AmountOut


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one account receives, or gives where the amount is below zero."""

    account: str
    amount: AmountOut
    currency: str


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of money; its lines add up to zero. `occurred_at` is the gateway's word, days are those of `booked_at`."""

    id: UUID
    payment_id: UUID
    campaign_id: UUID | None
    kind: EntryKind
    cause: str
    livemode: bool
    occurred_at: datetime
    booked_at: datetime | None
    lines: list[LedgerLine]


class AccountBalance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account received less what it gave."""

    account: str
    currency: str
    livemode: bool
    balance: AmountOut


class Balances(msgspec.Struct, frozen=True, kw_only=True):
    """Balances of one moment; over all accounts they add up to zero in each currency."""

    items: list[AccountBalance]


def entry_out(entry: Entry) -> LedgerEntry:
    """Show an entry."""
    return LedgerEntry(
        id=entry.id,
        payment_id=entry.payment_id,
        campaign_id=entry.campaign_id,
        kind=entry.kind,
        cause=entry.cause_key,
        livemode=entry.livemode,
        occurred_at=entry.occurred_at,
        booked_at=entry.booked_at,
        lines=[_line_out(line) for line in entry.lines],
    )


def balances_out(balances: list[Balance]) -> Balances:
    """Show balances."""
    return Balances(
        items=[
            AccountBalance(
                account=one.account,
                currency=one.currency,
                livemode=one.livemode,
                balance=money.show(one.amount, one.currency),
            )
            for one in balances
        ]
    )


def _line_out(line: Line) -> LedgerLine:
    return LedgerLine(account=line.account, amount=money.show(line.amount, line.currency), currency=line.currency)
