"""The hosts that play and show: streams, images, files, DRM licenses and viewer counts, with their tokens.

May import what ``resources`` may, ``resources`` and ``data``.
"""
