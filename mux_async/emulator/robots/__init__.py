"""Robots: jobs, their outputs and effects on assets, and directives.

May import ``http``, ``media``, ``state``, ``routing``, ``webhooks`` and ``resources``.
"""
