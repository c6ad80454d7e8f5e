"""Refusals of the donations service.

Problem
+-- CampaignNotFound      404 campaign_not_found
+-- CampaignNotOpen       409 campaign_not_open
+-- DonationNotFound      404 donation_not_found
+-- IllegalTransition     409 illegal_transition
"""

from careforall.kit.errors import Conflict, NotFound


class CampaignNotFound(NotFound):
    """There is no such campaign."""

    code = "campaign_not_found"
    title = "There is no such campaign"


class CampaignNotOpen(Conflict):
    """The campaign takes no donations now."""

    code = "campaign_not_open"
    title = "The campaign takes no donations now"


class DonationNotFound(NotFound):
    """There is no such donation, or it is somebody else's."""

    code = "donation_not_found"
    title = "There is no such donation"


class IllegalTransition(Conflict):
    """The state machine has no such step."""

    code = "illegal_transition"
    title = "A donation cannot take this step"
