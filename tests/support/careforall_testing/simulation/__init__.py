"""A seeded simulation of messages and payments: production decisions on a fake clock, database, broker and gateway.

One scheduler, one thread, one random generator: whatever a seed finds, the same seed finds again. Processes are generators that
stop at every place where the real ones could be interrupted; the scheduler picks who goes on, and strikes them between steps.

What is production code: the rules of donations, payments and totals, their event builders, the mapping of their consumers, the
decoder and the envelope. What is a model that mirrors production step by step: relay, inbox, consumer, group commit and intake.
"""
