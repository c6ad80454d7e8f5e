"""The whole platform in one scheduler: who there is, what may happen to them, and how everything comes to rest."""

from __future__ import annotations

from random import Random
from uuid import UUID

from careforall.kit import consumer as kit
from careforall_testing.simulation.broker import Stream
from careforall_testing.simulation.calling import Door
from careforall_testing.simulation.consuming import Consumer, Effect, Inbox
from careforall_testing.simulation.database import Database, DatabaseGone, UnknownCommit
from careforall_testing.simulation.faults import CALM, TROUBLES, Faults
from careforall_testing.simulation.gateway import Gateway
from careforall_testing.simulation.giving import Gift, Giving
from careforall_testing.simulation.notifying import Notifying
from careforall_testing.simulation.paying import Incoming, Paying
from careforall_testing.simulation.people import People
from careforall_testing.simulation.relaying import Outbox, Relay
from careforall_testing.simulation.scheduler import Process, Scheduler, Steps, Violation
from careforall_testing.simulation.totalling import Totalling
from careforall_testing.simulation.truth import differs
from careforall_testing.simulation.variants import Protocol

_CAMPAIGNS = (UUID(int=1), UUID(int=2))
_DONORS, _PAYERS, _COURIERS, _TWO = 5, 2, 3, 2
_LOOK_EVERY = 400
_REST_WITHIN = 20_000
_LONGEST_DOWN = 0.8


class NotAtRest(Violation):
    """Something goes on for ever, as whatever waits for a lost event does."""


class World:
    """Everything there is in a run."""

    def __init__(self, seed: int, protocol: Protocol, faults: Faults) -> None:
        self.faults = faults
        self.scheduler = Scheduler(Random(seed), mean_steps_between_troubles=faults.steps_between_troubles)
        self.scheduler.trouble = self._trouble
        self._protocol = protocol
        self.databases = [self._database(name) for name in ("donations", "payments", "totals", "notifications")]
        donations, payments, totals, notifications = self.databases
        self.donations_stream, self.payments_stream = self._stream("DONATIONS"), self._stream("PAYMENTS")
        self.giving = Giving(self.scheduler, donations, protocol)
        self.paying = Paying(self.scheduler, payments, protocol)
        self.totalling = Totalling(totals, protocol)
        self.notifying = Notifying(notifications)
        self.gateway = Gateway(self.scheduler.random, self._faults, lambda: self.scheduler.now)
        self.consumers: list[tuple[Consumer, Inbox, Stream, Outbox]] = []
        self._ours: list[Process] = []
        self.people = self._settle_in()

    def run(self, steps: int) -> None:
        """Let everything happen for so many steps."""
        self.scheduler.run(steps)

    def rest(self) -> None:
        """Stop trouble and new gifts, and let everything come to an end.

        Raises:
            NotAtRest: It does not.
        """
        self.faults = CALM
        self.scheduler.trouble = None
        self.people.closing = True
        limit = 2 * self.scheduler.step + _REST_WITHIN
        while not self._at_rest():
            if self.scheduler.step >= limit:
                raise NotAtRest(f"not at rest: {', '.join(self._restless())}")
            self.scheduler.run(_LOOK_EVERY)

    def _settle_in(self) -> People:
        giving: Door[Gift, tuple[UUID, UUID]] = Door(self.scheduler, self._faults, self.giving.accept, 4)
        intake: Door[Incoming, int] = Door(self.scheduler, self._faults, self.paying.take, 4)
        people = People(self.scheduler, self.gateway, giving, intake, _CAMPAIGNS)
        for number in range(1, _TWO + 1):
            self._ours.append(self.scheduler.spawn(f"donations api {number}", giving.serve))
            self._ours.append(self.scheduler.spawn(f"payments api {number}", intake.serve))
        self._spawn_relays()
        self._spawn_consumers()
        self._ours.append(self.scheduler.spawn("reconciler", self._reconcile))
        for name, begin, count in (
            ("donor", people.donate, _DONORS),
            ("payer", people.pay, _PAYERS),
            ("courier", people.deliver, _COURIERS),
        ):
            for number in range(1, count + 1):
                self.scheduler.spawn(f"{name} {number}", begin)
        return people

    def _spawn_relays(self) -> None:
        donations, payments = self.databases[:2]
        for database, outbox, stream in (
            (donations, self.giving.outbox, self.donations_stream),
            (payments, self.paying.outbox, self.payments_stream),
        ):
            for number in range(1, _TWO + 1):
                relay = Relay(self.scheduler, database, outbox, stream, self._protocol)
                self._ours.append(self.scheduler.spawn(f"{database.name} relay {number}", relay.run))

    def _spawn_consumers(self) -> None:
        donations, payments, totals, notifications = self.databases
        out, paid = self.giving.outbox, self.paying.outbox
        heard, told = self.donations_stream, self.payments_stream
        self._spawn_consumer(self.paying.consumer, heard, out, payments, self.paying.inbox, self.paying.on_donations)
        self._spawn_consumer(self.giving.consumer, told, paid, donations, self.giving.inbox, self.giving.on_payments)
        self._spawn_consumer(self.totalling.consumer, heard, out, totals, self.totalling.inbox, self.totalling.on_donations)
        self._spawn_consumer(
            self.notifying.consumer, heard, out, notifications, self.notifying.inbox, self.notifying.on_donations
        )

    def _spawn_consumer(
        self, definition: kit.Consumer, stream: Stream, outbox: Outbox, database: Database, inbox: Inbox, effect: Effect
    ) -> None:
        for number in range(1, _TWO + 1):
            consumer = Consumer(self.scheduler, definition, stream, database, inbox, effect, self._protocol)
            self._ours.append(self.scheduler.spawn(f"{consumer.name} {number}", consumer.run))
        self.consumers.append((consumer, inbox, stream, outbox))

    def _reconcile(self) -> Steps[None]:
        """Ask the gateway about payments now and then, and in the end about each that is not as it says."""
        while True:
            yield 0.3
            known = list(self.gateway.payments.values())
            asked = known if self.people.closing else self.scheduler.random.sample(known, min(1, len(known)))
            for payment in asked:
                if not payment.askable or not differs(payment, self.paying.intents.rows.get(payment.payment_id)):
                    continue
                try:
                    yield from self.paying.record(payment.payment_id, self.gateway.facts(payment))
                except (DatabaseGone, UnknownCommit):
                    self.scheduler.note("reconciler tries again")

    def _trouble(self) -> None:
        """Strike once."""
        random = self.scheduler.random
        name = random.choices(TROUBLES, self.faults.weights())[0]
        match name:
            case "crash":
                self.scheduler.crash(random.choice(self._ours), random.random() * _LONGEST_DOWN)
            case "cut_session":
                random.choice(self.databases).cut_session()
            case "failover":
                random.choice(self.databases).failover()
            case "lose_standby":
                random.choice(self.databases).lose_standby()
            case "lose_node":
                database, stream = random.choice(
                    ((self.databases[0], self.donations_stream), (self.databases[1], self.payments_stream))
                )
                stream.wipe()
                database.cut_session()
            case _:
                self._trouble_broker(name, random.choice((self.donations_stream, self.payments_stream)))
        self.scheduler.note(name)

    @staticmethod
    def _trouble_broker(name: str, stream: Stream) -> None:
        match name:
            case "forget_window":
                stream.forget_window()
            case "redeliver":
                stream.redeliver()
            case _:
                stream.wipe()

    def _at_rest(self) -> bool:
        return not self._restless()

    def _restless(self) -> list[str]:
        """Name what is still moving."""
        found = [
            ("requests and letters under way", bool(self.people.busy or self.gateway.letters)),
            ("payments that differ from the gateway", any(self._differs())),
        ]
        for outbox, stream in ((self.giving.outbox, self.donations_stream), (self.paying.outbox, self.payments_stream)):
            found.append((f"outbox of {stream.name}", bool(outbox.pending.rows) or outbox.stream_known != stream.created))
        for consumer, _, stream, _ in self.consumers:
            durable = stream.durables.get(consumer.name)
            found.append((f"consumer {consumer.name}", durable is None or not durable.idle))
        return [name for name, moving in found if moving]

    def _differs(self) -> list[bool]:
        return [
            payment.askable and differs(payment, self.paying.intents.rows.get(payment_id))
            for payment_id, payment in self.gateway.payments.items()
        ]

    def _database(self, name: str) -> Database:
        return Database(name, self.scheduler, self._faults)

    def _stream(self, name: str) -> Stream:
        return Stream(name, self.scheduler, self._faults)

    def _faults(self) -> Faults:
        return self.faults
