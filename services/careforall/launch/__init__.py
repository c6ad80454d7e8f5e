"""The launcher behind ``careforall up``: servers, services, their life and their end on one machine.

Called by `careforall.cli` and by the test fixtures. It knows processes, ports and files, and nothing of donations.
It never reads the environment: what it needs from there arrives as arguments.
"""
