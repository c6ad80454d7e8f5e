"""What kopf calls: every handler only wakes the worker that is concerned. Passes decide by what they read, not by what changed.

No timers, daemons or delete handlers: with those kopf sets finalizers, and an uninstall could hang on an operator that is gone.
"""

from careforall_operator.handlers import database, drill, life, platform, services, views

__all__ = ["database", "drill", "life", "platform", "services", "views"]
