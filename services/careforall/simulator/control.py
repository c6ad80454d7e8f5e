"""The back door under /simulator/control for demos and tests: make payments succeed or fail, and make the company misbehave.

The command `careforall simulate` uses it. It is mounted on development instances alone (see `app`).
"""

from collections.abc import Mapping
from typing import Literal

from litestar import Router, get, post
from litestar.status_codes import HTTP_200_OK

from careforall.simulator import actions
from careforall.simulator.actions import Action
from careforall.simulator.refusals import refusal
from careforall.simulator.schemas import Doing, SentOut, Shuffling, Storming, StoryOut
from careforall.simulator.service import Simulator, Story
from careforall.simulator.switches import Switches

Verb = Literal["success", "failed", "decline", "refund", "dispute"]


@get("/switches")
async def read_switches(service: Simulator) -> Switches:
    """Return how the company misbehaves."""
    return await service.switches()


@post("/switches", status_code=HTTP_200_OK)
async def turn_switches(data: Switches, service: Simulator) -> Switches:
    """Make the company misbehave in exactly this way; what is not given is off."""
    return await service.turn(data)


@get("/{reference:str}")
async def tell(reference: str, service: Simulator) -> StoryOut:
    """Return an intent, by its id or by ours, with its events."""
    return _story(await service.story(reference), service)


@post("/{reference:str}/{verb:str}", status_code=HTTP_200_OK)
async def act(reference: str, verb: Verb, service: Simulator, data: Doing | None = None) -> StoryOut:
    """Do something to an intent, named by its id or by ours."""
    return _story(await service.control(reference, _action(verb, data or Doing())), service)


@post("/{reference:str}/storm", status_code=HTTP_200_OK)
async def storm(reference: str, service: Simulator, data: Storming | None = None) -> SentOut:
    """Send every event of an intent many times at once."""
    return _sent(await service.storm(reference, (data or Storming()).times))


@post("/{reference:str}/shuffle", status_code=HTTP_200_OK)
async def shuffle(reference: str, service: Simulator, data: Shuffling | None = None) -> SentOut:
    """Send the events of an intent in random orders, several rounds."""
    wanted = data or Shuffling()
    return _sent(await service.shuffle(reference, rounds=wanted.times, seed=wanted.seed))


def router() -> Router:
    """Mount the back door."""
    return Router(
        "/simulator/control",
        route_handlers=[read_switches, turn_switches, tell, act, storm, shuffle],
        exception_handlers={Exception: refusal},
        include_in_schema=False,
    )


def _action(verb: Verb, doing: Doing) -> Action:
    match verb:
        case "success":
            return actions.succeed
        case "failed":
            return actions.abandon
        case "decline":
            return actions.decline
        case "refund":
            return actions.refund_from_outside(doing.amount)
        case "dispute":
            return actions.dispute(doing.outcome)


def _story(story: Story, service: Simulator) -> StoryOut:
    return StoryOut(payment_intent=service.show(story.intent), events=story.events)


def _sent(answers: Mapping[str, int]) -> SentOut:
    return SentOut(sent=sum(answers.values()), answers=dict(answers))
