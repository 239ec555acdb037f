"""Webhooks that the emulator sends: events, deliveries with their retries, and the sender. The endpoints' API is in `resources`.

May import ``faults``, ``http`` and ``state``.
"""
