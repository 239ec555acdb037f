"""Webhook deliveries: their schedule, attempts and results (facts/BEHAVIOUR.md, section 7).

Nothing here sends. When a delivery is due, its id is put into the outbox; the sender takes it from there (`take_due`), sends it, and
reports the response (`settle`). A delivery without a report counts as timed out, so that nothing is lost when a sender ends.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from hashlib import sha256
from random import Random

import attrs

from mux_async.emulator.faults._faults import WebhookFault
from mux_async.emulator.state._records import Delivery, DeliveryAttempt, WebhookEndpoint, WebhookEvent
from mux_async.emulator.state._state import Environment, State

DUE = "webhook.due"
OVERDUE = "webhook.overdue"
_ENDED = frozenset({"delivered", "failed", "lost", "dropped"})
_GRACE = 1.0
"""Seconds beyond the time limit before an attempt without a report fails: the carrier enforces the limit itself."""


@attrs.frozen
class WebhookRequest:
    """One attempt, ready to be sent: POST *body* with *headers* to *url*, and report the status.

    Attributes:
        delivery_id: To report by.
        endpoint_id: Of the endpoint.
        event_id: Of the event.
        event_type: Of the event.
        url: Of the endpoint.
        headers: With the signature, made for this attempt.
        body: The envelope, byte for byte what was signed.
        attempt: 1 for the first.
        timeout: Seconds to wait for the answer.
    """

    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    url: str
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempt: int
    timeout: float


def sign_webhook(secret: str, at: int, body: bytes) -> str:
    """Return the value of ``Mux-Signature`` (facts/BEHAVIOUR.md, section 7.4).

    Args:
        secret: Used as text.
        at: Epoch seconds.
        body: The raw bytes that are sent.
    """
    digest = hmac.new(secret.encode(), b"%d." % at + body, sha256).hexdigest()
    return f"t={at},v1={digest}"


def plan_deliveries(state: State, environment: Environment, event: WebhookEvent) -> None:
    """Schedule the deliveries of *event* to every enabled endpoint of its environment: all events go to all endpoints."""
    for endpoint in environment.webhooks.values():
        if not endpoint.enabled:
            continue
        random = Random(f"{state.settings.seed}/{event.id}/{endpoint.id}")  # noqa: S311 - which faults happen, no secret
        fault = state.webhook_faults.pick(event, endpoint.address, random) or WebhookFault()
        for _ in range(fault.copies):
            # Not on the time scale: faults are in seconds of the receiver.
            at = state.now + fault.delay + random.random() * fault.jitter
            delivery = Delivery(state.id_generator.uuid("delivery"), event, environment.id, endpoint.id, endpoint.address)
            state.deliveries[delivery.id] = delivery
            if fault.lose:
                delivery.status = "lost"
            else:
                delivery.next_at = at
                state.scheduler.add(at, DUE, environment.id, delivery.id)
    _forget_old(state)


def _forget_old(state: State) -> None:
    while len(state.deliveries) > state.settings.max_events:
        oldest = next(iter(state.deliveries.values()))
        if oldest.status not in _ENDED:
            return
        del state.deliveries[oldest.id]


def run_delivery_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """Run a planned step: a delivery is due, or an attempt was not reported on."""
    del environment
    delivery_id, _, attempt = subject.partition("/")
    delivery = state.deliveries.get(delivery_id)
    if delivery is None:
        return
    if name == DUE:
        if delivery.status == "waiting":
            state.outbox.append(delivery.id)
    elif delivery.status == "sending" and len(delivery.attempts) + 1 == int(attempt):
        settle(state, delivery.id, None, "no answer in time")


def take_due(state: State, busy: Collection[str] | None = None) -> list[WebhookRequest]:
    """Take the deliveries that are due, in order; each is to be reported on with `settle`.

    Endpoints in *busy* get none now, and every other at most one; the rest waits. ``None`` takes all.
    """
    taken: list[WebhookRequest] = []
    waiting: list[str] = []
    occupied = set(busy or ())
    for delivery_id in state.outbox:
        delivery = state.deliveries.get(delivery_id)
        if delivery is None or delivery.status != "waiting":
            continue
        if delivery.endpoint_id in occupied:
            waiting.append(delivery_id)
            continue
        endpoint = state.environment_by_id(delivery.environment_id).webhooks.get(delivery.endpoint_id)
        if endpoint is None or not endpoint.enabled:
            delivery.status, delivery.next_at = "dropped", None
            continue
        taken.append(_begin(state, endpoint, delivery))
        if busy is not None:
            occupied.add(endpoint.id)
    state.outbox[:] = waiting
    return taken


def _begin(state: State, endpoint: WebhookEndpoint, delivery: Delivery) -> WebhookRequest:
    delivery.status, delivery.next_at = "sending", None
    delivery.address, delivery.began_at = endpoint.address, state.now
    attempt, timeout = len(delivery.attempts) + 1, state.settings.webhook_retries.timeout
    state.scheduler.add(state.now + timeout + _GRACE, OVERDUE, delivery.environment_id, f"{delivery.id}/{attempt}")
    event, body = delivery.event, delivery.event.body.encode()
    signature = sign_webhook(endpoint.secret, int(state.now), body)
    headers = {"Content-Type": "application/json", "Mux-Signature": signature, "User-Agent": "Mux"}
    return WebhookRequest(delivery.id, endpoint.id, event.id, event.type, endpoint.address, headers, body, attempt, timeout)


def settle(state: State, delivery_id: str, status: int | None, error: str | None = None) -> Delivery | None:
    """Record how an attempt ended, and plan the next one unless it was answered 2xx or the time for retries is over.

    Returns the delivery; ``None`` if it was not being sent (any more).
    """
    delivery = state.deliveries.get(delivery_id)
    if delivery is None or delivery.status != "sending":
        return None
    began = state.now if delivery.began_at is None else delivery.began_at
    delivery.attempts.append(DeliveryAttempt(began, status, error))
    delivery.began_at = None
    if status is not None and 200 <= status < 300:
        delivery.status = "delivered"
        return delivery
    rules, scale = state.settings.webhook_retries, state.settings.time_scale
    # The exponent is bounded because a year of retries would make a number too large to be a float.
    pause = min(rules.longest, rules.first * 2.0 ** min(len(delivery.attempts) - 1, 64)) / scale
    if state.now + pause > delivery.event.at + rules.until / scale:
        delivery.status = "failed"
        return delivery
    delivery.status, delivery.next_at = "waiting", state.now + pause
    state.scheduler.add(delivery.next_at, DUE, delivery.environment_id, delivery.id)
    return delivery
