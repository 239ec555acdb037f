"""The emulator's own API below ``/_emulator``, the page at ``/``, and the handles that tests use.

May import ``http``, ``validation``, ``faults``, ``state``, ``routing``, ``webhooks``, ``resources``, ``live``, ``robots`` and ``playback``.
"""
