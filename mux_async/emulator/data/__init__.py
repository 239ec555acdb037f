"""The Data API: generated views, and metrics computed from them, so that all numbers agree with each other.

May import ``http``, ``validation``, ``state`` and ``routing``.
"""
