"""API resources, one module each: assets, uploads, signing keys, usage, and the others that have no folder of their own.

May import ``http``, ``validation``, ``media``, ``faults``, ``state``, ``routing`` and ``webhooks``.
"""
