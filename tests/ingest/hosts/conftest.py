"""Servers that workers of many hosts share."""

from __future__ import annotations

from tests._servers import database, limits

__all__ = ["database", "limits"]
