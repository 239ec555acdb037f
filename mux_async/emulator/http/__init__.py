"""HTTP messages of the emulator: requests, responses and error responses, as plain values. Imports no other folder of the emulator."""
