"""Business errors of the totals service."""

from careforall.kit.errors import Conflict, Overloaded


class CurrencyMismatch(Conflict):
    """A gift in another currency than its campaign cannot be added up; its event ends among the dead letters."""

    code = "currency_mismatch"
    title = "The gift has another currency than its campaign"


class TooManyStreams(Overloaded):
    """This process serves as many live streams as it may."""

    code = "too_many_streams"
    title = "Too many live streams here, please retry or poll"
