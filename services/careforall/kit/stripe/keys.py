"""Keys of Stripe by their mode, without the library: settings look at them before anything is opened."""

LIVE = ("sk_live_", "rk_live_")
TEST = ("sk_test_", "rk_test_")


def is_live(key: str) -> bool:
    """Whether a key belongs to Stripe's live mode, where money is real."""
    return key.startswith(LIVE)


def refuse_wrong_mode(key: str, environment: str) -> None:
    """Refuse a key that has no mode, or the wrong one for this environment.

    Raises:
        ValueError: Naming the variable.
    """
    if not key.startswith(LIVE + TEST):
        raise ValueError("CAREFORALL_STRIPE_SECRET_KEY is no secret key of Stripe: those begin with sk_ or rk_ and their mode")
    if key.startswith(LIVE) and environment == "development":
        raise ValueError("CAREFORALL_STRIPE_SECRET_KEY is a live key: development moves no real money, use a test key")
    if key.startswith(TEST) and environment == "production":
        raise ValueError("CAREFORALL_STRIPE_SECRET_KEY is a test key: production would take gifts nobody pays, use a live key")
