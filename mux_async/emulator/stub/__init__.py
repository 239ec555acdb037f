"""Answers without state: any valid request gets an example that fits the API description. May import: ``http``, ``validation``, ``state``,
``playback``.
"""
