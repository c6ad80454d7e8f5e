"""Builds the outbox rows of this service; one place, so that every event names its aggregate alike."""

from careforall.accounts.domain import Preferences, User
from careforall.contracts.accounts import PreferencesChanged
from careforall.kit import outbox
from careforall.kit.context import NOBODY, current
from careforall.kit.envelope import Event
from careforall.kit.outbox import Outgoing

SOURCE = "accounts"


def about(user: User, event: Event) -> Outgoing:
    """Return an event about a user as of the user's version."""
    return outbox.outgoing(event, aggregate_id=user.id, aggregate_version=user.version, source=SOURCE, cause=current())


def preferences(user: User, wanted: Preferences) -> PreferencesChanged:
    """Return the event that tells what a person wants to hear."""
    return PreferencesChanged(
        user_id=user.id, email=user.email, language=wanted.language, channels=wanted.channels, topics=wanted.topics
    )


def snapshot(user: User, wanted: Preferences) -> Outgoing:
    """Return a person's preferences once more, for a projection that starts anew."""
    return outbox.outgoing(
        preferences(user, wanted), aggregate_id=user.id, aggregate_version=user.version, source=SOURCE, cause=NOBODY
    )
