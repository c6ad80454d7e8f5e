"""Sync: owns customers and their mirror images at other companies (Stripe), and carries each change out once.

Events out: customer.created, customer.updated, customer.deleted, customer.snapshot. Events in: accounts.user_erased.
"""
