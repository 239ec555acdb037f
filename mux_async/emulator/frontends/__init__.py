"""The ways to reach an emulator: an in-process transport and an HTTP server. No other folder imports them.

May import ``http``, ``routing``, ``tls``, ``webhooks``, and the emulator itself.
"""
