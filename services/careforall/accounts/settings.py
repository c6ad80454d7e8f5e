"""Settings of the accounts service; times in seconds unless the name says otherwise."""

from careforall.kit.settings import Settings


class AccountsSettings(Settings, frozen=True, kw_only=True):
    """How long things live, and how much password work is done at once."""

    access_token_seconds: int = 600
    refresh_idle_seconds: int = 86_400
    """A refresh token not used for this long is worth nothing."""
    refresh_grace_seconds: int = 10
    """Within this time a used refresh token gives its successor again, because the first answer may have been lost."""
    session_days: int = 30
    """After this many days one signs in again, however busy the session is."""
    verification_hours: int = 48
    reset_minutes: int = 30
    signing_key_days: int = 30
    """Age at which a signing key is followed by a new one."""
    signing_key_notice_seconds: int = 600
    """How long a new key is published before it signs, so that every verifier knows it by then."""
    password_workers: int = 0
    """Passwords hashed at once; 0 takes half of the cores."""
    password_queue: int = 32
    """Password checks that may wait; more are refused with 429."""
