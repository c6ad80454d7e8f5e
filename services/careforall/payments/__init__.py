"""Payments: owns payment intents with their attempts, transitions, refunds and the gateways' webhook events.

Events out: payments.intent_created, payments.authorized, payments.captured, payments.attempt_failed, payments.failed,
payments.refunded, payments.voided. Events in: donations.created.
"""
