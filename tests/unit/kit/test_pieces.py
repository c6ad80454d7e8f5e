"""Small pieces of the kit: ids, cursors, secrets, settings, problems, crash points, hot routes, versions, the breaker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from careforall.kit import crash, secrets
from careforall.kit.cache import Breaker
from careforall.kit.errors import Forbidden, IdempotencyKeyReused, InvalidInput, NotFound, Unauthorized, Unavailable
from careforall.kit.http import problem
from careforall.kit.http.answers import wanted_version
from careforall.kit.http.hot import HotRequest, HotResponse, HotRoute, HotTable
from careforall.kit.http.lists import cursor_of, page, path_id, read_cursor
from careforall.kit.idempotency import checked_key, fingerprint
from careforall.kit.ids import NIL, born_at, new_id, parse_id
from careforall.kit.settings import Settings, SettingsError, load

SECRET = "s" * 32
SOME = "01931d2e-7a6b-7c3d-8e4f-5a6b7c8d9e0f"


class Gift(msgspec.Struct, forbid_unknown_fields=True):
    """Input for the problem documents."""

    amount: int
    tags: list[int] = []
    inner: Gift | None = None


# ids


def test_ids_are_sorted_by_time_and_say_when_they_were_born() -> None:
    before = datetime.now(UTC)
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    born = born_at(ids[0])
    assert born is not None
    assert before - timedelta(milliseconds=1) <= born <= datetime.now(UTC)


def test_other_kinds_of_uuid_have_no_time() -> None:
    assert born_at(uuid4()) is None


@pytest.mark.parametrize(
    ("milliseconds", "year"), [("000000000000", 1970), ("e677d21fdbff", 9999), ("e677d21fdc00", 0), ("f" * 12, 0)]
)
def test_ids_of_times_past_all_dates_have_none(milliseconds: str, year: int) -> None:
    born = born_at(UUID(f"{milliseconds}7fffbfffffffffffffff"))
    assert (born.year if born else 0) == year


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "x" * 36,
        str(NIL),
        f"{{{uuid4()}}}",
        uuid4().hex,
        f" {uuid4()}",
        f"{uuid4()}\n",
        f"urn:uuid:{uuid4()}",
        "../../etc",
    ],
)
def test_malformed_and_nil_ids_name_nothing(text: str) -> None:
    assert parse_id(text) is None
    with pytest.raises(NotFound):
        path_id(text)


def test_an_upper_case_id_is_the_same_id() -> None:
    identifier = new_id()
    assert parse_id(str(identifier).upper()) == identifier


# lists


@given(st.uuids())
def test_a_cursor_leads_back_to_its_id(identifier: UUID) -> None:
    assert read_cursor(cursor_of(identifier)) == identifier


@given(st.text(max_size=40))
def test_a_forged_cursor_is_refused_or_an_id_and_never_an_error_of_ours(text: str) -> None:
    try:
        found = read_cursor(text)
    except InvalidInput:
        return
    assert isinstance(found, UUID)


def test_a_forged_cursor_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput) as refused:
        read_cursor("forged")
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/cursor", "invalid_cursor")]


def test_a_full_page_has_a_next_one_and_a_short_page_has_none() -> None:
    last = new_id()
    assert page([1, 2], limit=2, last=last).next_cursor == cursor_of(last)
    assert page([1], limit=2, last=last).next_cursor is None
    assert page([], limit=2, last=None).next_cursor is None


# secrets


def test_keys_of_different_purposes_and_roots_differ() -> None:
    keys = {secrets.derive(root, purpose) for root in (SECRET, "t" * 32) for purpose in ("receipt token", "donor key")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("other", ["", "ä", "\ud800"[:0], "x" * 64])
def test_signatures_compare_whatever_characters_they_hold(other: str) -> None:
    signature = secrets.sign(b"key", b"message")
    assert secrets.same(signature, signature)
    assert not secrets.same(signature, other)


# settings


def test_settings_come_from_the_environment_and_a_service_s_own_variable_wins() -> None:
    found = load(
        Settings,
        {
            "CAREFORALL_POSTGRES_URL": "postgresql://h:1/postgres?ssl=off",
            "CAREFORALL_SECRET_KEY": SECRET,
            "CAREFORALL_POOL_SIZE": "4",
            "CAREFORALL_DONATIONS_POOL_SIZE": "9",
            "CAREFORALL_HOT_PATHS": "false",
        },
        service="donations",
    )
    assert (found.pool_size, found.hot_paths) == (9, False)
    assert found.dsn("donations") == "postgresql://h:1/careforall_donations?ssl=off"


ENOUGH = {"CAREFORALL_POSTGRES_URL": "postgresql://h", "CAREFORALL_SECRET_KEY": SECRET}


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"CAREFORALL_SECRET_KEY": SECRET}, "CAREFORALL_POSTGRES_URL is missing"),
        ({"CAREFORALL_POSTGRES_URL": "x"}, "CAREFORALL_SECRET_KEY is missing"),
        ({"CAREFORALL_POSTGRES_URL": "x", "CAREFORALL_SECRET_KEY": "short"}, "32 characters"),
        *(
            ({**ENOUGH, f"CAREFORALL_{name}": text}, name if says is None else says)
            for name, text, says in (
                ("POOL_SIZE", "many", None),
                ("POOL_SIZE", "0", None),
                ("DONATIONS_POOL_SIZE", "-1", None),
                ("RATE_PER_ADDRESS", "0", None),
                ("TRUSTED_PROXIES", "-1", None),
                ("DRAIN_SECONDS", "nan", None),
                ("ENVIRONMENT", "test", None),
                ("POSTGRES_URL", "db.example.org:5432", "postgres_url"),
                ("REDIS_URL", "http://cache", "redis_url"),
                ("PUBLIC_URL", "give.example.org", "public_url"),
                ("OTLP_URL", "collector:4318", "otlp_url"),
                ("LOG_LEVEL", "verbose", "log_level"),
                ("CORS_ORIGINS", "https://a.example.org, www.example.org", "cors_origins names www.example.org"),
                ("CORS_ORIGINS", "https://a.example.org/", "cors_origins"),
            )
        ),
    ],
)
def test_settings_nobody_can_rely_on_are_refused_by_name(environment: Mapping[str, str], word: str) -> None:
    with pytest.raises(SettingsError, match=word) as refused:
        load(Settings, environment, service="donations")
    assert SECRET not in str(refused.value)


def test_an_address_may_end_with_a_slash_and_links_have_one() -> None:
    found = load(Settings, {**ENOUGH, "CAREFORALL_PUBLIC_URL": "https://give.example.org/"}, service="donations")
    assert found.public_url == "https://give.example.org"


# problems


def rendered(error: Exception) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    status, headers, body = problem.render(problem.as_problem(error), "request-1")
    return status, dict(headers), msgspec.json.decode(body)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (b"{}", "/amount", "required_field"),
        (b'{"amount":1,"is_admin":true}', "/is_admin", "unknown_field"),
        (b'{"amount":"x"}', "/amount", "invalid_value"),
        (b'{"amount":1,"tags":[1,"x"]}', "/tags/1", "invalid_value"),
        (b'{"amount":1,"inner":{"amount":2,"tags":["x"]}}', "/inner/tags/0", "invalid_value"),
        (b'{"amount":1,"inner":{}}', "/inner/amount", "required_field"),
        (b"[]", "", "invalid_value"),
        (b"null", "", "invalid_value"),
    ],
)
def test_a_validation_error_points_at_its_field(body: bytes, pointer: str, code: str) -> None:
    with pytest.raises(msgspec.ValidationError) as invalid:
        msgspec.json.decode(body, type=Gift)
    status, _, document = rendered(invalid.value)
    assert (status, document["status"], document["code"]) == (422, 422, "invalid_value")
    assert [(error["pointer"].replace("...", "1"), error["code"]) for error in document["errors"]] == [(pointer, code)]


def test_a_document_has_the_shape_of_rfc_9457_and_says_whether_a_retry_makes_sense() -> None:
    status, headers, document = rendered(Unavailable("later"))
    assert (status, headers[b"content-type"], headers[b"retry-after"]) == (503, b"application/problem+json", b"1")
    assert {"type", "title", "status", "code", "detail", "request_id", "retryable"} <= set(document)
    assert document["retryable"]
    assert rendered(Forbidden())[2]["retryable"] is False


def test_a_401_tells_how_to_sign_in() -> None:
    assert rendered(Unauthorized())[1][b"www-authenticate"].startswith(b"Bearer")


def test_a_defect_of_ours_is_a_500_that_tells_nothing_about_itself() -> None:
    status, _, document = rendered(ZeroDivisionError("password=hunter2"))
    assert (status, document["code"]) == (500, "internal_error")
    assert "hunter2" not in str(document)


# idempotency


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\nb", "a\x00", "\x7f"])
def test_unusable_idempotency_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        checked_key(key)


@pytest.mark.parametrize("key", ["k", "x" * 255, "a b", '"quoted"', "226c0afc-ba85-4681-bc03-1489e6288f9f"])
def test_usable_idempotency_keys_are_taken_as_they_are(key: str) -> None:
    assert checked_key(key) == key
    assert checked_key(None) is None


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_the_parts_of_a_fingerprint_do_not_run_into_each_other(left: list[str], right: list[str]) -> None:
    assert (fingerprint(*left) == fingerprint(*right)) == (left == right)


def test_another_body_is_told_as_422() -> None:
    assert rendered(IdempotencyKeyReused())[:1] == (422,)


# versions


@pytest.mark.parametrize(
    ("body", "if_match", "wanted"),
    [
        (msgspec.UNSET, None, None),
        (3, None, 3),
        (msgspec.UNSET, '"3"', 3),
        (msgspec.UNSET, 'W/"3"', 3),
        (msgspec.UNSET, "3", 3),
        (3, '"3"', 3),
        (3, "*", 3),
        (msgspec.UNSET, "*", None),
    ],
)
def test_a_version_may_come_in_the_body_or_as_if_match(body: Any, if_match: str | None, wanted: int | None) -> None:
    assert wanted_version(body, if_match) == wanted


@pytest.mark.parametrize(
    ("body", "if_match"), [(3, '"4"'), (msgspec.UNSET, '"x"'), (msgspec.UNSET, '""'), (msgspec.UNSET, '"-1"')]
)
def test_a_version_that_is_none_or_contradicts_itself_is_refused(body: Any, if_match: str) -> None:
    with pytest.raises(InvalidInput):
        wanted_version(body, if_match)


@pytest.mark.parametrize("text", ["٣", "²", "9" * 5000])
def test_digits_that_are_no_version_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        wanted_version(msgspec.UNSET, f'"{text}"')


# crash points


def test_an_unknown_crash_point_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown crash point 'nowhere'"):
        crash.arm("nowhere")


@pytest.mark.parametrize(("spec", "passes"), [("relay.after_mark", 1), ("relay.after_mark:3", 3)])
def test_an_armed_point_kills_the_process_on_its_pass_and_others_do_not(spec: str, passes: int) -> None:
    program = (
        f"from careforall.kit import crash; crash.arm({spec!r})\n"
        "for number in range(1, 9):\n"
        "    crash.point('relay.after_claim'); print(number, flush=True); crash.point('relay.after_mark')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, len(ended.stdout.split())) == (-9, passes), ended.stderr


# hot routes


async def _answer(_: HotRequest) -> HotResponse:
    return HotResponse(status=200, body=b"")


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/gifts", "exact"),
        ("GET", "/gifts", None),
        ("POST", "/gifts/", None),
        ("GET", "/totals/1", "one"),
        ("GET", "/totals/", None),
        ("GET", "/totals/1/stream", None),
        ("GET", "/totals", None),
        ("POST", "/gifts/1/thank", "thank"),
        ("POST", "/gifts/1/2/thank", None),
        ("POST", "/gifts//thank", None),
        ("POST", "/gifts/thank", None),
        ("POST", "/gifts/1", None),
        ("GET", "/gifts/1/thank", None),
    ],
)
def test_a_hot_route_is_found_by_method_and_path_only(method: str, path: str, found: str | None) -> None:
    exact = HotRoute(method="POST", path="/gifts", template="exact", service="s", handler=_answer)
    one = HotRoute(method="GET", path="/totals/", template="one", service="s", handler=_answer, prefix=True)
    thank = HotRoute(method="POST", path="/gifts/", template="thank", service="s", handler=_answer, prefix=True, suffix="/thank")
    route = HotTable([exact, one, thank]).find({"method": method, "path": path, "query_string": b""})
    assert (route.template if route else None) == found


@pytest.mark.parametrize(
    ("reads", "query", "found"),
    [
        (frozenset(), b"", True),
        (frozenset(), b"a=1", False),
        (frozenset({b"a"}), b"a=1&a", True),
        (frozenset({b"a"}), b"a=1&b=2", False),
        (frozenset({b"a"}), b"%61=1", False),
        (None, b"a=1&b", True),
    ],
)
def test_a_hot_route_answers_what_it_reads_in_full(reads: frozenset[bytes] | None, query: bytes, *, found: bool) -> None:
    route = HotRoute(method="GET", path="/gifts", template="gifts", service="s", handler=_answer, query=reads)
    assert (HotTable([route]).find({"method": "GET", "path": "/gifts", "query_string": query}) is route) is found


def test_a_hot_route_tells_the_segment_it_leaves_open() -> None:
    route = HotRoute(method="POST", path="/gifts/", template="thank", service="s", handler=_answer, prefix=True, suffix="/thank")
    assert route.segment("/gifts/7a/thank") == "7a"


# the breaker


def test_a_breaker_opens_after_three_failures_in_a_row_and_lets_one_probe_through_a_pause() -> None:
    breaker = Breaker("test", pause=0.0)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.closed
        breaker.failed()
    slow = Breaker("slow", pause=60.0)
    for _ in range(3):
        slow.failed()
    assert not slow.closed
    assert breaker.closed, "its pause is over: a probe"
    breaker.succeeded()
    assert breaker.closed


def test_a_breaker_logs_when_it_opens_and_closes_and_nothing_between() -> None:
    breaker = Breaker("gateway_x", pause=0.0)
    with capture_logs() as lines:
        for _ in range(5):
            breaker.failed()
        for _ in range(2):
            breaker.succeeded()
    assert [(line["event"], line["log_level"], line["breaker"]) for line in lines] == [
        ("breaker opened", "warning", "gateway_x"),
        ("breaker closed", "info", "gateway_x"),
    ]
