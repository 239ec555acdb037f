"""The hosts for playback: streams, images, files, DRM licenses and viewer counts, and the tokens that they check.

May import ``http``, ``validation``, ``media``, ``state``, ``resources`` and ``data``.
"""
