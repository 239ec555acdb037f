"""The browser, the system and the kind of device that a ``User-Agent`` header names.

Players in browsers leave that to the collector. Only what viewers commonly use is recognised; the rest is ``None``.
"""

from __future__ import annotations

import re
from functools import lru_cache

import attrs

_BROWSERS = (  # of two that match, the first: most name others for compatibility
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/([\d.]+)"), "Blink"),
    ("Opera", re.compile(r"OPR/([\d.]+)"), "Blink"),
    ("Samsung Internet", re.compile(r"SamsungBrowser/([\d.]+)"), "Blink"),
    ("Firefox", re.compile(r"(?:Firefox|FxiOS)/([\d.]+)"), "Gecko"),
    ("Chrome", re.compile(r"(?:HeadlessChrome|Chrome|CriOS)/([\d.]+)"), "Blink"),
    ("Safari", re.compile(r"Version/([\d.]+).*Safari/"), "WebKit"),
)
_SYSTEMS = (
    ("Windows", re.compile(r"Windows NT ([\d.]+)")),
    ("iOS", re.compile(r"iPhone OS ([\d_]+)")),
    ("iPadOS", re.compile(r"iPad; CPU OS ([\d_]+)")),
    ("Android", re.compile(r"Android ([\d.]+)")),
    ("OS X", re.compile(r"Mac OS X ([\d_.]+)")),
    ("Chrome OS", re.compile(r"CrOS \S+ ([\d.]+)")),
    ("Linux", re.compile(r"Linux()")),
)
_CATEGORIES = (
    ("tv", re.compile(r"\bTV\b|SmartTV|SMART-TV|AppleTV|BRAVIA|Roku")),
    ("tablet", re.compile(r"iPad|Android(?!.*Mobile)")),
    ("phone", re.compile(r"iPhone|Mobile")),
    ("desktop", re.compile(r"Windows NT|Macintosh|CrOS|X11")),
)


@attrs.frozen
class UserAgent:
    """What a header names."""

    browser: str | None = None
    browser_version: str | None = None
    engine: str | None = None
    system: str | None = None
    system_version: str | None = None
    category: str | None = None


@lru_cache(256)
def read_user_agent(header: str) -> UserAgent:
    """Read a ``User-Agent`` header."""
    browser, version, engine = next(
        ((name, found[1], engine) for name, pattern, engine in _BROWSERS if (found := pattern.search(header))),
        (None, None, None),
    )
    system, release = next(((name, found[1]) for name, pattern in _SYSTEMS if (found := pattern.search(header))), (None, ""))
    return UserAgent(
        browser,
        version,
        engine,
        system,
        release.replace("_", ".").removesuffix(".0") or None,
        next((name for name, pattern in _CATEGORIES if pattern.search(header)), None),
    )
