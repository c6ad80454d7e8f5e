"""Plumbing shared by every service; it does not know the word "donation"."""
