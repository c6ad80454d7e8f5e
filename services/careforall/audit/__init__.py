"""Audit: owns the append-only log of every event of the platform and the chain that proves it, and verifies all books.

Events in: every subject of every stream. Events out: none of its own but audit.admin_action.
"""
