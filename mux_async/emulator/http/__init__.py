"""HTTP messages: requests, responses, error responses, and addresses of this machine.

Imports no other folder of the emulator.
"""
