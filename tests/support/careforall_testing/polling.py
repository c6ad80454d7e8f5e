"""Waiting for a condition with a deadline; the only way tests wait for another process, server or task."""

from careforall.drills.polling import eventually

__all__ = ["eventually"]
