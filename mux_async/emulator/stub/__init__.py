"""Responses without state: any valid request gets an example that fits the API description. Example webhook events as well.

May import ``http``, ``validation``, ``state``, ``webhooks`` and ``playback``.
"""
