"""Live streams, spaces and web inputs, and the encoders that send to them. May import what ``resources`` may, and ``resources``."""
