"""Live streams, spaces and web inputs, and the encoders that send to them.

May import ``http``, ``validation``, ``media``, ``state``, ``routing``, ``webhooks`` and ``resources``.
"""
