"""Measures the platform and its baselines in one run; started by `careforall bench`, never imported by services."""
