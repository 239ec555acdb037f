"""Robots: jobs, their invented outputs and effects on assets, and directives. May import what ``resources`` may, and ``resources``."""
