"""Faults that a test orders: failed requests, lost or late webhooks, processing that errors.

May import ``http`` and ``validation``.
"""
