"""Totals: owns the exact totals of campaigns, folded from donation events, and every way to read them.

Events in: donations.completed, donations.refunded, donations.disputed, donations.snapshot, campaigns.created, campaigns.updated,
campaigns.ended.
Events out: none of its own. Queries answered: query.totals.campaign. Hints: hint.<instance>.totals carries fresh totals.
"""
