"""Validation of request bodies and query strings, and the API description (``spec.json``) that it follows.

May import ``http``.
"""
