"""Simulator: plays another company, a payment gateway shaped like Stripe; owns that company's books and its webhooks.

It lives in a database of its own, imports nothing of payments, speaks HTTP only, and misbehaves on demand (see `switches`).
Events out: none on the bus, signed webhooks to `simulator_webhook_url`. Events in: none.
It is there in development alone: in production nobody may pay without money.
"""
