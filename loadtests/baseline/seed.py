"""The seed design the platform is compared with; `careforall bench` starts it with its settings on standard input.

Nothing here is tuned, for better or worse: it is what the first hour of work on such a service yields.
"""

import json
import socket
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, EmailStr, Field
from sqlalchemy import JSON, DateTime, Engine, Numeric, String, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker


class Base(DeclarativeBase):
    """Declarative base of the seed design's tables."""


class Donation(Base):
    """A gift."""

    __tablename__ = "donations"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    campaign_id: Mapped[str] = mapped_column(String(64), index=True)
    donor_email: Mapped[str] = mapped_column(String(254), index=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
    payment_intent_id: Mapped[str] = mapped_column(String(64), unique=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(128), unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))


class OutboxRow(Base):
    """An event waiting to be published."""

    __tablename__ = "outbox"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    event_type: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class WebhookEvent(Base):
    """A message of the gateway, kept so that a repeat is known."""

    __tablename__ = "webhook_events"
    event_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    payment_intent_id: Mapped[str] = mapped_column(String(64), index=True)
    status: Mapped[str] = mapped_column(String(16))


class DonationIn(BaseModel):
    """A gift as posted."""

    campaign_id: str
    donor_email: EmailStr
    amount: Decimal = Field(gt=0)
    currency: str = "USD"


class IntentOut(BaseModel):
    """The payment a gift waits for."""

    id: str


class DonationOut(BaseModel):
    """A gift as answered."""

    id: uuid.UUID
    campaign_id: str
    status: str
    amount: Decimal
    currency: str
    payment_intent: IntentOut
    created_at: datetime


class TotalsOut(BaseModel):
    """What a campaign has raised."""

    campaign_id: str
    total_amount: Decimal
    total_donations: int


class WebhookIn(BaseModel):
    """A message of the gateway; the seed design does not check its signature."""

    event_id: str
    payment_intent_id: str
    status: str


def build(dsn: str) -> FastAPI:
    """The application on its own database."""
    engine = create_engine(dsn, pool_size=20, max_overflow=10)
    Base.metadata.create_all(engine)
    app = FastAPI()
    add_routes(app, engine)
    return app


def add_routes(app: FastAPI, engine: Engine) -> None:
    """Routes whose handlers are async but whose session blocks, as the seed design has it."""
    sessions = sessionmaker(engine)

    @app.post("/donations", status_code=201)
    async def donate(gift: DonationIn, idempotency_key: Annotated[str | None, Header()] = None) -> DonationOut:
        with sessions() as session:
            return donate_in(session, gift, idempotency_key)

    @app.get("/totals/campaigns/{campaign_id}")
    async def totals(campaign_id: str) -> TotalsOut:
        with sessions() as session:
            return totals_in(session, campaign_id)

    @app.post("/webhook")
    async def webhook(message: WebhookIn) -> dict[str, str]:
        with sessions() as session:
            return webhook_in(session, message)


def donate_in(session: Session, gift: DonationIn, key: str | None) -> DonationOut:
    """Look for the key, add gift and event, commit once."""
    known = session.scalar(select(Donation).where(Donation.idempotency_key == key)) if key is not None else None
    if known is not None:
        return donation_out(known)
    donation = Donation(**gift.model_dump(), id=uuid.uuid4(), payment_intent_id=str(uuid.uuid4()), idempotency_key=key)
    payload = {"id": str(donation.id), **gift.model_dump(mode="json")}
    session.add(donation)
    session.add(OutboxRow(event_type="donations.created", payload=payload))
    session.commit()
    session.refresh(donation)
    return donation_out(donation)


def donation_out(donation: Donation) -> DonationOut:
    """A gift's row as its answer."""
    return DonationOut(
        id=donation.id,
        campaign_id=donation.campaign_id,
        status=donation.status,
        amount=donation.amount,
        currency=donation.currency,
        payment_intent=IntentOut(id=donation.payment_intent_id),
        created_at=donation.created_at,
    )


def totals_in(session: Session, campaign_id: str) -> TotalsOut:
    """Sum the campaign's completed gifts."""
    completed = (Donation.campaign_id == campaign_id, Donation.status == "COMPLETED")
    amounts = select(func.coalesce(func.sum(Donation.amount), 0), func.count()).where(*completed)
    total, count = session.execute(amounts).one()
    return TotalsOut(campaign_id=campaign_id, total_amount=total, total_donations=count)


def webhook_in(session: Session, message: WebhookIn) -> dict[str, str]:
    """Look for the event, complete the gift, commit once."""
    if session.get(WebhookEvent, message.event_id) is not None:
        return {"status": "ignored"}
    gift = session.scalar(select(Donation).where(Donation.payment_intent_id == message.payment_intent_id))
    if gift is None:
        raise HTTPException(status_code=404, detail="unknown payment")
    gift.status = "COMPLETED" if message.status == "SUCCESS" else "FAILED"
    session.add(WebhookEvent(**message.model_dump()))
    session.add(OutboxRow(event_type="donations.completed", payload={"id": str(gift.id)}))
    session.commit()
    return {"status": "processed"}


def main() -> None:
    """Serve on a free loopback port; settings are one JSON line on standard input, the port one line on output."""
    settings = json.loads(sys.stdin.readline())
    app = build(settings["dsn"])
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
