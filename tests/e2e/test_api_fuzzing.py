"""Schemathesis on the live OpenAPI document: whatever is sent to whatever route, nothing breaks and the document is right.

The same seed gives the same requests; it is printed with every failure. Event streams are left out: they never end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.openapi.checks import UndefinedStatusCode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from careforall_testing.journey import PASSWORD, Journey
from careforall_testing.sizes import sizes

SEED = int(os.environ.get("CAREFORALL_TEST_SEED", "31"))
EXAMPLES = sizes().fuzz_examples
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = r"/stream$"
ENDS_THE_CALLER = r"(/users/me/erase|/auth/logout)$"
"""Would sign the caller out for the rest of the run; sent without a token only."""

pytestmark = pytest.mark.timeout(170 + 10 * EXAMPLES)


@pytest.fixture(scope="module")
async def staff(journey: Journey) -> dict[str, str]:
    """The headers of an administrator that nobody else needs."""
    made = await journey.platform.cli("admin", "create", "--email", "admin31@example.org", "--password", PASSWORD)
    assert made.status == 0, made.err
    return await journey.sign_in("admin31@example.org")


@pytest.mark.parametrize("part", ["admin", "people", "money"])
async def test_no_request_of_staff_breaks_anything(journey: Journey, staff: dict[str, str], part: str) -> None:
    schema = await described(journey)
    await fuzz(part_of(schema.exclude(path_regex=ENDS_THE_CALLER), part), staff)


async def test_no_request_of_a_stranger_breaks_anything(journey: Journey) -> None:
    await fuzz(await described(journey), {})


async def described(journey: Journey) -> Any:
    """The live document without what never ends."""
    url = f"{journey.platform.first.url}/openapi.json"
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, url)
    return schema.exclude(path_regex=ENDLESS)


def part_of(schema: Any, part: str) -> Any:
    """A third of the document, so that workers can share it."""
    admin, people = r"^/api/v1/admin/", r"^/api/v1/(auth|users|api-keys|audit|notifications)"
    if part == "admin":
        return schema.include(path_regex=admin)
    return schema.include(path_regex=people) if part == "people" else schema.exclude(path_regex=f"{admin}|{people}")


async def fuzz(schema: Any, headers: Mapping[str, str]) -> None:
    """Send generated requests to every operation, and collect what went wrong before complaining."""
    failures = await asyncio.to_thread(_failures, schema, headers)
    assert not failures, f"seed {SEED}:\n" + "\n".join(failures)


def _failures(schema: Any, headers: Mapping[str, str]) -> list[str]:
    operations = [found.ok() for found in schema.get_all_operations()]
    assert operations
    with requests.Session() as session:
        session.trust_env = False
        return [failure for operation in operations for failure in _of_operation(operation, session, headers)]


def _of_operation(operation: Any, session: requests.Session, headers: Mapping[str, str]) -> list[str]:
    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        case.call_and_validate(session=session, headers=dict(headers), checks=CHECKS, timeout=20)

    try:
        send()
    except Unsatisfiable:
        return []
    except (AssertionError, BaseExceptionGroup, UndefinedStatusCode, requests.RequestException) as error:
        return [f"{operation.label}: {_told(error)}"]
    return []


def _told(error: BaseException) -> str:
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    return " | ".join(str(part)[:1500] for part in parts)
