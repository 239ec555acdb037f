"""The values that generated views are composed of: locations, devices, titles, errors, CDNs. Data only.

Network numbers and place names are real, so that dashboards built against the emulator look real; domains are those that RFC 2606
reserves for examples.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Location:
    """Where a viewer is, by the names of a view's fields. ``weight`` is its share of the viewers, relative to the others."""

    weight: int
    country_code: str | None = None
    country_name: str | None = None
    continent_code: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    metro: str | None = None
    asn: int | None = None
    asn_name: str | None = None


LOCATIONS = (
    Location(14, "US", "United States", "NA", "California", "San Francisco", 37.7749, -122.4194, "807", 7922, "Comcast"),
    Location(10, "US", "United States", "NA", "New York", "New York", 40.7128, -74.006, "501", 701, "Verizon"),
    Location(8, "US", "United States", "NA", "Texas", "Austin", 30.2672, -97.7431, "635", 7018, "AT&T"),
    Location(5, "CA", "Canada", "NA", "Ontario", "Toronto", 43.6532, -79.3832, None, 577, "Bell Canada"),
    Location(5, "BR", "Brazil", "SA", "São Paulo", "São Paulo", -23.5505, -46.6333, None, 26599, "Telefônica Brasil"),
    Location(9, "GB", "United Kingdom", "EU", "England", "London", 51.5072, -0.1276, None, 2856, "BT"),
    Location(9, "DE", "Germany", "EU", "Berlin", "Berlin", 52.52, 13.405, None, 3320, "Deutsche Telekom"),
    Location(6, "FR", "France", "EU", "Île-de-France", "Paris", 48.8566, 2.3522, None, 3215, "Orange"),
    Location(4, "NL", "Netherlands", "EU", "North Holland", "Amsterdam", 52.3676, 4.9041, None, 1136, "KPN"),
    Location(7, "IN", "India", "AS", "Maharashtra", "Mumbai", 19.076, 72.8777, None, 55836, "Reliance Jio"),
    Location(6, "JP", "Japan", "AS", "Tokyo", "Tokyo", 35.6762, 139.6503, None, 2516, "KDDI"),
    Location(3, "AU", "Australia", "OC", "New South Wales", "Sydney", -33.8688, 151.2093, None, 1221, "Telstra"),
    Location(2, "ZA", "South Africa", "AF", None, None, -26.2041, 28.0473, None, 3741, "Telkom SA"),
)


@attrs.frozen
class Device:
    """What a viewer watches on, and the player there. Most attributes have the names of a view's fields.

    Attributes:
        weight: Share of the viewers, relative to the others.
        connections: Types of connection, equally frequent; empty for players that do not report one.
        page_type: Of the web page around the player; ``None`` in an app, where no page is loaded.
    """

    weight: int
    viewer_device_category: str | None
    viewer_device_manufacturer: str | None
    viewer_device_model: str | None
    viewer_device_name: str | None
    viewer_os_family: str | None
    viewer_os_version: str | None
    viewer_os_architecture: str | None
    viewer_application_name: str | None
    viewer_application_version: str | None
    viewer_application_engine: str | None
    player_name: str | None
    player_software: str | None
    player_software_version: str | None
    player_mux_plugin_name: str | None
    player_mux_plugin_version: str | None
    connections: tuple[str, ...]
    page_type: str | None
    player_width: int | None
    player_height: int | None
    viewer_user_agent: str | None


DEVICES = (
    Device(
        24, "desktop", "Unknown", "Unknown", "PC", "Windows", "10", "x86_64", "Chrome", "141.0", "Blink", "Main web player",
        "mux-player", "3.6.1", "mux-player", "3.6.1", (), "watchpage", 1280, 720, "Mozilla/5.0 (Windows NT 10.0) Chrome/141.0",
    ),
    Device(
        14, "desktop", "Apple", "Macintosh", "Mac", "OS X", "15.1", "arm64", "Safari", "18.1", "WebKit", "Main web player",
        "mux-player", "3.6.1", "mux-player", "3.6.1", (), "watchpage", 1440, 810, "Mozilla/5.0 (Macintosh) Safari/605.1",
    ),
    Device(
        8, "desktop", "Unknown", "Unknown", "PC", "Linux", "6.8", "x86_64", "Firefox", "143.0", "Gecko", "Blog player",
        "Video.js", "8.23.4", "videojs-mux", "4.21.0", (), "watchpage", 854, 480, "Mozilla/5.0 (X11; Linux) Firefox/143.0",
    ),
    Device(
        7, "desktop", "Unknown", "Unknown", "PC", "Windows", "11", "x86_64", "Edge", "141.0", "Blink", "Blog player",
        "HLS.js", "1.6.13", "mux-embed", "5.14.0", (), "watchpage", 1280, 720, "Mozilla/5.0 (Windows NT 10.0) Edg/141.0",
    ),
    Device(
        20, "phone", "Apple", "iPhone15,4", "iPhone 15", "iOS", "18.1", "arm64", "Example for iOS", "7.2.0", None, "iOS app",
        "AVPlayer", "18.1", "mux-stats-sdk-avplayer", "4.7.1", ("wifi", "cellular"), None, 852, 393, "AppleCoreMedia/1.0",
    ),
    Device(
        15, "phone", "Google", "Pixel 8", "Pixel 8", "Android", "15", "arm64", "Example for Android", "7.1.4", None, "Android app",
        "Media3 ExoPlayer", "1.8.0", "mux-stats-sdk-media3", "1.9.2", ("wifi", "cellular"), None, 915, 412, "ExoPlayerLib/1.8",
    ),
    Device(
        4, "tablet", "Apple", "iPad14,3", "iPad Pro", "iPadOS", "18.1", "arm64", "Safari", "18.1", "WebKit", "Main web player",
        "mux-player", "3.6.1", "mux-player", "3.6.1", ("wifi",), "watchpage", 1194, 672, "Mozilla/5.0 (iPad) Safari/604.1",
    ),
    Device(
        8, "tv", "Apple", "AppleTV14,1", "Apple TV 4K", "tvOS", "18.1", "arm64", "Example for TV", "3.0.1", None, "TV app",
        "AVPlayer", "18.1", "mux-stats-sdk-avplayer", "4.7.1", ("wifi", "wired"), None, 3840, 2160, "AppleCoreMedia/1.0",
    ),
)  # fmt: skip


@attrs.frozen
class Title:
    """A video of the generated catalogue. ``seconds`` is ``None`` for a live channel."""

    weight: int
    video_id: str
    title: str | None
    series: str | None
    content_type: str
    seconds: int | None
    drm: str | None = None
    creator: str | None = None


TITLES = (
    Title(12, "harbour-s1e1", "Harbour Lights: Arrival", "Harbour Lights", "episode", 2640, creator="studio-north"),
    Title(9, "harbour-s1e2", "Harbour Lights: Low Tide", "Harbour Lights", "episode", 2580, creator="studio-north"),
    Title(6, "harbour-s1e3", "Harbour Lights: Signals", "Harbour Lights", "episode", 2705, creator="studio-north"),
    Title(9, "kitchen-101", "Knife Skills in Ten Minutes", "Kitchen Basics", "short", 612, creator="chef-amara"),
    Title(7, "kitchen-102", "Stock From Scraps", "Kitchen Basics", "short", 540, creator="chef-amara"),
    Title(8, "talk-async", "Structured Concurrency by Example", "Conference Talks", "talk", 1890),
    Title(5, "talk-codecs", "What Your Codec Does at Night", "Conference Talks", "talk", 2210),
    Title(6, "film-glacier", "The Last Glacier", None, "movie", 5820, drm="widevine", creator="studio-north"),
    Title(9, "trailer-glacier", "The Last Glacier (Trailer)", None, "trailer", 94, creator="studio-north"),
    Title(4, "untitled-upload", None, None, "clip", 47),
    Title(10, "channel-news", "Newsroom Live", "Newsroom", "live", None),
    Title(6, "channel-cup", "City Cup: Live From the Stadium", "City Cup", "live", None),
)


@attrs.frozen
class ErrorType:
    """An error that players report.

    *stage* is when it happens: before the first frame (``startup``) or while ``playing``; ``business`` errors stop playback on purpose.
    """

    weight: int
    id: int
    player_code: str
    message: str
    stage: str
    description: str | None = None
    notes: str | None = None


ERRORS = (
    ErrorType(
        6, 10231, "2", "A network error caused the media download to fail.", "playing", "The media could not be fetched."
    ),
    ErrorType(3, 10232, "3", "A media error caused playback to be aborted.", "playing", "The media could not be decoded."),
    ErrorType(
        4, 10233, "4", "The source could not be loaded.", "startup", "The playlist could not be fetched.", "Seen after deploys"
    ),
    ErrorType(2, 10234, "-1009", "The Internet connection appears to be offline.", "startup"),
    ErrorType(2, 10235, "PLAN_EXPIRED", "The viewer's plan does not include this video.", "business"),
)

CDNS = (("fastly", 50), ("cloudflare", 30), ("akamai", 16), (None, 4))
"""CDN and its share in percent; ``None`` where the response did not name one."""

EDGES = ("SJC", "IAD", "FRA", "LHR", "NRT", "GRU", "BOM")


@attrs.frozen
class Rendition:
    """One of the qualities of a video: pixels, bits per second. ``None`` is not known."""

    height: int | None
    width: int | None
    bitrate: int | None
    name: str | None
    fps: float | None = 30.0
    codec: str | None = "avc"


RENDITIONS = (
    Rendition(270, 480, 400_000, "270p"),
    Rendition(360, 640, 800_000, "360p"),
    Rendition(540, 960, 1_800_000, "540p"),
    Rendition(720, 1280, 3_200_000, "720p"),
    Rendition(1080, 1920, 5_600_000, "1080p"),
)
"""What adaptive playback chooses from, smallest first."""

PLAYBACK_MODES = ("standard", "fullscreen", "pip", "background")

PLANS = ((None, None, None), ("free", "active", "free"), ("monthly", "active", "paid"), ("yearly", "active", "paid"))
"""Plan of a viewer, its state, its category."""
