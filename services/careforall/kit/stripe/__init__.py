"""What every service that deals with Stripe needs alike: its library's client, keys, and proof of webhooks.

`api` and `signature` import the library, which takes half a second: import them only where Stripe is set up.
"""
