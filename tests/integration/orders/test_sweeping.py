"""Who drives a saga, and looking for those that nobody drives any more, four times a second, however many buyers wait."""

from __future__ import annotations

import pytest

from careforall.orders import repository_sagas
from careforall.orders.saga_words import CancelAsked, PaidByHand, PayAsked, SagaEvent
from careforall_testing.offline_shop import offline_shop
from careforall_testing.servers import ServerUrls

_MORE = """
INSERT INTO saga_state (id, type, status, current_step, payload, code_version, user_id, lease_until, turn)
SELECT gen_random_uuid(), s.type, s.status, s.current_step, s.payload, s.code_version, s.user_id, s.lease_until, gen_random_uuid()
FROM saga_state AS s, generate_series(1, 500)
WHERE s.id = $1
"""
_READ = "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'saga_state_due'"


async def test_whoever_looks_for_sagas_that_are_due_reads_none_that_wait(servers: ServerUrls) -> None:
    async with offline_shop(servers) as shop:
        await shop.stock("MUG", 3)
        at_the_till = await shop.checkout(MUG=1)
        async with shop.orders.connection() as connection:
            await connection.execute(_MORE, at_the_till.saga.id)
            await connection.execute("ANALYZE saga_state")
            assert await repository_sagas.claim_due(connection, 10, 64) == []
            await connection.execute("SELECT pg_stat_force_next_flush()")
            [read] = await connection.fetch(_READ)
            assert (read["idx_scan"] > 0, read["idx_tup_read"]) == (True, 0)
            await connection.execute("UPDATE saga_state SET lease_until = now() WHERE id = $1", at_the_till.saga.id)
            [due] = await repository_sagas.claim_due(connection, 10, 64)
    assert due.saga.id == at_the_till.saga.id


@pytest.mark.parametrize("asked", [CancelAsked(reason="too late"), PaidByHand()])
async def test_who_asks_for_what_cannot_be_now_does_not_stop_a_saga(servers: ServerUrls, asked: SagaEvent) -> None:
    async with offline_shop(servers) as shop:
        await shop.stock("MUG", 3)
        driven = await shop.driver.take(await shop.checkout(MUG=1), PayAsked(card=False))
        assert driven.saga.stage == "pin"
        assert await shop.driver.take(driven, asked) is driven
        assert (await shop.driver.drive(driven, patient=True)).saga.stage == "payer"
