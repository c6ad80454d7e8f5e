"""What an endpoint's answer means for a message."""

from __future__ import annotations

from careforall.kit.outbound import Answer
from careforall.notifications.channels.webhook import judged
from careforall.notifications.domain import SENT, Outcome


def test_answers_tell_whether_to_try_again() -> None:
    assert judged(Answer(status=204)) == SENT
    assert judged(Answer(status=410)) == Outcome(error="answered 410", lasting=True)
    assert judged(Answer(status=302)).lasting
    assert not judged(Answer(status=500)).lasting
    assert judged(Answer(status=429, retry_after=120)) == Outcome(error="answered 429", retry_after=120.0)
    assert judged(Answer(status=429, retry_after=999999)).retry_after == 3600.0
