"""What a service tells of its own history: one event for each step from state to state, for as long as outboxes are kept."""

from collections.abc import Sequence

from careforall.audit.verification.report import Invariant


def first_id(moment: str) -> str:
    """Return the expression of the lowest UUIDv7 (RFC 9562) of a moment, itself an expression."""
    return f"(lpad(to_hex((1000 * extract(epoch FROM {moment}))::bigint), 12, '0') || '70008000000000000000')::uuid"


def one_event_for_each_step(*, service: str, history: str, owner: str, at: str, states: Sequence[str]) -> Invariant:
    """Return the invariant of a table of steps.

    Args:
        service: Whose it is, and how the types of its events begin.
        history: The table, with `version`, `from_status` and `to_status`.
        owner: The column that names whose steps they are.
        at: The column that says when.
        states: How the types of the events of a step end.
    """
    types = ", ".join(f"'{service}.{state}'" for state in states)
    sql = f"""
WITH told AS (
    SELECT aggregate_id, (convert_from(payload, 'UTF8')::json ->> 'aggregate_version')::integer AS version, count(*) AS times
    FROM outbox
    WHERE event_type IN ({types})
      AND id >= {first_id("greatest($1::timestamptz - interval '10 minutes', 'epoch')")}
    GROUP BY 1, 2
)
SELECT {owner}::text || ':' || steps.version AS key,
       format('%s events tell of %s to %s', coalesce(times, 0), from_status, to_status) AS detail
FROM {history} AS steps
LEFT JOIN told ON told.aggregate_id = {owner} AND told.version = steps.version
WHERE {at} >= greatest($1, clock_timestamp() - interval '71 hours') AND from_status <> to_status AND coalesce(times, 0) <> 1
LIMIT 1000
"""  # noqa: S608 - names of tables and columns, written here and in its neighbours
    return Invariant(name=f"{service}.one_event_for_each_step", service=service, sql=sql)
