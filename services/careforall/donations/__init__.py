"""Donations: owns campaigns and donations with their history.

Events out: campaigns.created, campaigns.updated, campaigns.ended, donations.created, donations.completed, donations.failed,
donations.refunded, donations.disputed, donations.snapshot. Events in: payments.captured, payments.failed, payments.voided,
payments.refunded, payments.disputed, payments.snapshot, accounts.email_verified, accounts.user_erased.
"""
