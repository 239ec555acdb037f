"""The ways to reach an emulator: an in-process transport, an HTTP server, and an RTMP server. No other folder imports them.

May import ``http``, ``rtmp``, ``media``, ``routing``, ``tls``, ``webhooks``, ``live``, and the emulator itself.
"""
