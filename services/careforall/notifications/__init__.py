"""Notifications: owns messages to people and integrators, the in-app inbox and the local mailbox.

Events in: donations.created, donations.completed, donations.failed, donations.refunded, accounts.user_registered,
accounts.email_verification_requested, accounts.email_verified, accounts.password_reset_requested,
accounts.preferences_changed, accounts.user_erased.
Events out: none of its own but notifications.admin_action.
"""
