"""Which ``once`` keys were used: in this process, and in the store that processes share. See `_records`."""
