"""Sync: owns customers and their mirror images at other companies (Stripe), and carries each change out once.

It also tells integrators what happens: keeps public events for 30 days, to be read again, and sends webhooks to their endpoints.

Events out: customer.created, customer.updated, customer.deleted, customer.snapshot. Events in: accounts.user_erased, and all that
integrators may hear (`contracts/public.py`).
"""
