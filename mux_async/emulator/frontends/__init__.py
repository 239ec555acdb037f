"""The ways to reach an emulator: an in-process transport and an HTTP server. Nothing else in the emulator imports them."""
