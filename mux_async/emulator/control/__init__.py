"""The emulator's own API below ``/_emulator``, the page at ``/`` and the handles that tests use.

May import every folder but ``data``, ``stub`` and ``frontends``.
"""
