"""Rehearsed failures: a drill puts a platform under load, breaks something, and counts afterwards what was lost or doubled.

Used by `careforall drill` on running instances, and by the tests, which break more than a running instance lets them.
"""
