"""Live streams, spaces and web inputs, and the encoders that send to them.

May import ``http``, ``media``, ``state``, ``routing``, ``webhooks`` and ``resources``.
"""
