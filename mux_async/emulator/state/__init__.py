"""The state of an emulated account: records, identifiers, scheduled steps, upload sessions, the state file, and JSON serialization.

May import ``http``, ``media`` and ``faults``.
"""
