"""Idempotency keys, behind ``once=``: setting a key, searching for what it made, and which call may send."""
