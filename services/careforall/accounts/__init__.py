"""Accounts: owns people, their sessions, addresses and preferences, API keys and the keys that sign access tokens.

Events out: accounts.user_registered, accounts.email_verification_requested, accounts.email_verified,
accounts.password_reset_requested, accounts.preferences_changed, accounts.user_suspended, accounts.user_erased,
accounts.signed_in. Events in: none.
"""
