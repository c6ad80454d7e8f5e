"""``careforall simulate``: lets the simulated gateway pay, decline, cancel, refund, dispute, storm or shuffle one intent.

It speaks HTTP to a running platform, as a payer's browser and a gateway's staff would, and tells each step.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

import httpx2
import msgspec
import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.kit import money
from careforall.kit.ids import parse_id
from careforall.launch.errors import LaunchError, MissingError, UsageError

WAIT_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
LONGEST_WAIT_S = 60
_REDIRECTS = range(300, 400)
_NOT_FOUND, _TOO_MANY, _UNAVAILABLE = 404, 429, 503
_PAYABLE = "requires_payment_method"


class Action(enum.Enum):
    """What to let the gateway do."""

    SUCCESS = "success"
    FAILED = "failed"
    DECLINE = "decline"
    REFUND = "refund"
    DISPUTE = "dispute"
    STORM = "storm"
    SHUFFLE = "shuffle"


BUTTONS = {Action.SUCCESS: "pay", Action.DECLINE: "decline", Action.FAILED: "cancel"}
PAID = frozenset({"succeeded", "requires_capture"})


class GatewayEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook and how it arrived."""

    id: str
    type: str
    state: str
    attempts: int
    last_outcome: str


class GatewayIntent(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's view of an intent."""

    id: str
    amount: int
    amount_refunded: int
    currency: str
    status: str
    hosted_url: str


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's view of an intent with its webhooks."""

    payment_intent: GatewayIntent
    events: list[GatewayEvent]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform answered to a storm."""

    sent: int
    answers: dict[str, int]


def simulate(
    action: Annotated[Action, typer.Argument(help="What the gateway does; `failed` ends the intent, `decline` one attempt.")],
    intent: Annotated[str, typer.Argument(metavar="ID", help="Id of the payment intent, as the donation or order tells it.")],
    amount: Annotated[str | None, typer.Option(help="Refund this much, such as 10.00; all that is left if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random order of `shuffle`: the same seed, the same order.")] = 0,
    times: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Copies of each event in a storm (10), or rounds of a shuffle (5).")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="A platform elsewhere instead of one of this clone.")] = None,
    instance: Instance = "default",
) -> None:
    """Let the simulated gateway pay, decline, end, refund or dispute an intent, or send its webhooks in storms.

    It waits for the intent to arrive, opens its pay page, presses the button, and waits until every webhook has been taken.
    Exit status 1 when the gateway refuses or a webhook is not taken, 3 when no platform runs.
    """
    if parse_id(intent) is None:
        raise UsageError(f"{intent!r} is no payment intent: give the id in payment_intent.id of the donation or order.")
    if amount is not None and action is not Action.REFUND:
        raise UsageError(f"--amount goes with refund, not with {action.value}.")
    base = (url or _running(instance)).rstrip("/")
    with httpx2.Client(base_url=base, timeout=60, trust_env=False) as client:
        session = Session(client, intent)
        try:
            run(session, action, amount=amount, seed=seed, times=times)
        except httpx2.TransportError as error:
            raise MissingError(f"Nobody answers at {base}: {error or type(error).__name__}.") from error


def run(session: Session, action: Action, *, amount: str | None, seed: int, times: int | None) -> None:
    """Do the action and wait for its webhooks."""
    print(f"intent    {session.intent}")
    if action in BUTTONS:
        session.press(BUTTONS[action])
    elif action is Action.REFUND:
        session.refund(amount)
    elif action is Action.DISPUTE:
        session.make_paid()
        session.control("dispute", {})
    elif action is Action.STORM:
        session.make_paid()
        session.send("storm", {"times": times or 10})
    else:
        session.make_paid(declined_first=True)
        session.send("shuffle", {"times": times or 5, "seed": seed})
    session.await_webhooks()


class Session:
    """One intent of ours at the simulated gateway.

    Args:
        client: Speaks to the platform.
        intent: Our id of the intent.
    """

    def __init__(self, client: httpx2.Client, intent: str) -> None:
        self._client = client
        self.intent = intent
        self._gateway_id = ""
        self._told: set[str] = set()

    def press(self, button: str) -> None:
        """Open the pay page as the payer does, and press a button of the gateway's page."""
        hosted = self._open()
        shown = self._ask("GET", hosted)
        _expect(shown, "the gateway's page")
        before = self._story()
        if before.payment_intent.status != _PAYABLE:
            raise LaunchError(f"The gateway has it as {before.payment_intent.status}: nothing can be pressed any more.")
        answer = self._ask("POST", f"{hosted}/{button}")
        if answer.status_code not in _REDIRECTS:
            raise LaunchError(f"The gateway refused to {button}: {_reason(answer)}")
        print(f"pressed   {button}")
        print(f"returned  to {answer.headers['location']}")
        self._check_pressed(button)

    def refund(self, amount: str | None) -> None:
        """Refund as the gateway's staff would, paying first where nobody has."""
        story = self.make_paid()
        wanted: dict[str, object] = {} if amount is None else {"amount": _minor(amount, story.payment_intent.currency)}
        self.control("refund", wanted)

    def make_paid(self, *, declined_first: bool = False) -> Story:
        """Pay unless somebody has; `declined_first` lets one attempt fail before, so that there is more to tell."""
        story = self._find()
        if story is None or story.payment_intent.status == _PAYABLE:
            if declined_first:
                self.press("decline")
            self.press("pay")
            story = self._story()
        return story

    def control(self, verb: str, body: dict[str, object]) -> None:
        """Use the gateway's back door."""
        answer = self._ask("POST", f"/simulator/control/{self._gateway_id}/{verb}", json=body)
        _expect(answer, verb)
        found = _story(answer).payment_intent
        print(f"gateway   {verb}: {found.status}, refunded {_shown(found.amount_refunded, found.currency)}")

    def send(self, verb: str, body: dict[str, object]) -> None:
        """Let the gateway send the intent's webhooks in an unruly way, once the ruly ones have arrived."""
        self.await_webhooks()
        answer = self._ask("POST", f"/simulator/control/{self.intent}/{verb}", json=body, timeout=600)
        _expect(answer, verb)
        sent = msgspec.json.decode(answer.content, type=Sent)
        counts = ", ".join(f"{count} x {text}" for text, count in sorted(sent.answers.items()))
        print(f"{verb:<9} {sent.sent} webhooks sent, answered {counts}")
        if any(not text.startswith("2") for text in sent.answers):
            raise LaunchError("Not every webhook was taken.")

    def await_webhooks(self) -> None:
        """Wait until every webhook of the intent has been taken, and tell of each."""
        for _ in tries():
            waiting = [event for event in self._tell_events() if event.state == "PENDING"]
            if not waiting:
                return
        raise LaunchError(f"{waiting[0].type} has not been taken: {waiting[0].last_outcome or 'not sent'}")

    def _open(self) -> str:
        """Wait for the intent, open its pay page and return the path of the gateway's page."""
        for _ in tries():
            answer = self._ask("POST", f"/pay/{self.intent}")
            location = answer.headers.get("location", "")
            if answer.status_code in _REDIRECTS and "/simulator/pay/" in location:
                self._gateway_id = location.partition("/simulator/pay/")[2].partition("?")[0]
                print(f"opened    {location}")
                return f"/simulator/pay/{self._gateway_id}"
            if answer.status_code not in {_NOT_FOUND, _UNAVAILABLE}:
                raise LaunchError(f"The pay page does not lead to the simulated gateway: {location or _reason(answer)}")
        raise LaunchError(f"The intent has not arrived: {_reason(answer)}")

    def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Ask the platform, waiting as long as it says where a rate limit is used up."""
        while (answer := self._client.request(method, path, **request)).status_code == _TOO_MANY:
            pause = min(max(int(answer.headers.get("retry-after", "1")), 1), LONGEST_WAIT_S)
            print(f"waiting   {pause} s for the rate limit")
            time.sleep(pause)
        return answer

    def _find(self) -> Story | None:
        answer = self._ask("GET", f"/simulator/control/{self.intent}")
        if answer.status_code == _NOT_FOUND:
            return None
        _expect(answer, "the gateway's view")
        story = _story(answer)
        self._gateway_id = story.payment_intent.id
        return story

    def _story(self) -> Story:
        answer = self._ask("GET", f"/simulator/control/{self._gateway_id}")
        _expect(answer, "the gateway's view")
        return _story(answer)

    def _tell_events(self) -> list[GatewayEvent]:
        found = self._find()
        events = found.events if found else []
        for event in events:
            if event.id not in self._told and event.state != "PENDING":
                self._told.add(event.id)
                print(f"webhook   {event.type} {event.state.lower()} ({event.last_outcome or 'never sent'})")
        return events

    def _check_pressed(self, button: str) -> None:
        status = self._story().payment_intent.status
        print(f"gateway   {status}")
        if button == "pay" and status not in PAID:
            self.await_webhooks()
            raise LaunchError("The gateway declined the payment (its switch decline_rate is on).")


def tries() -> Iterator[None]:
    """Let the caller look again and again, less and less often, until the time is up."""
    deadline = time.monotonic() + WAIT_S
    pause = FIRST_PAUSE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_S)


def _running(instance: str) -> str:
    """Return where the platform answers: the instance of this clone, or the one this process belongs to."""
    return service_variables(instance)["CAREFORALL_PUBLIC_URL"]


def _minor(amount: str, currency: str) -> int:
    code = currency.upper()
    try:
        return money.cents(money.parse_amount(amount, code), code)
    except money.MoneyError as error:
        raise UsageError(f"--amount {amount}: {error}.") from error


def _shown(minor: int, currency: str) -> str:
    code = currency.upper()
    exact: Decimal = money.from_cents(minor, code)
    return f"{money.show(exact, code)} {code}"


def _story(answer: httpx2.Response) -> Story:
    return msgspec.json.decode(answer.content, type=Story)


def _expect(answer: httpx2.Response, what: str) -> None:
    if not answer.is_success:
        raise LaunchError(f"The gateway refused ({what}): {_reason(answer)}")


def _reason(answer: httpx2.Response) -> str:
    try:
        body: Any = answer.json()
    except ValueError:
        return f"status {answer.status_code}"
    found = body.get("error", body) if isinstance(body, dict) else {}
    text = found.get("message") or found.get("detail") if isinstance(found, dict) else None
    return f"status {answer.status_code}, {text}" if text else f"status {answer.status_code}"
