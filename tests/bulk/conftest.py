"""Servers that the workers of a bulk change share."""

from __future__ import annotations

from tests._servers import database, limits

__all__ = ["database", "limits"]
