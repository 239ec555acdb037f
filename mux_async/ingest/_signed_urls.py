"""Signed URLs: finds the parameters of a signature, so that a URL with a new signature is recognised as the same item.

Taking two URLs for one is worse than the reverse, since the second is never ingested. A name that an application may use itself (``se``,
``expires``, ``token``, ``sign``, ``t``) is part of a signature only if the whole signature is there.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_ALWAYS_SIGNATURE: Final = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|ossaccesskeyid|key-pair-id"
    r"|x-(?:oss|obs|tos)-(?:signature|signature-version|algorithm|credential|date|expires|additional-headers|signedheaders|security-token)"
    r"|q-(?:sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|signature)|x-cos-security-token"
    r"|hdnts|hdnea|hdntl|__token__|__gda__|edge-cache-token|auth_key|bcdn_token|authorization"
)
"""Names without another meaning: Amazon S3, Google Cloud Storage, CloudFront, Alibaba OSS (v1 and v4) and its CDN, Huawei OBS, Volcengine
TOS, Tencent COS, Akamai, Google's CDNs, Bunny, and the download authorization of Backblaze B2. ``x-oss-process`` and similar
parameters change the content and do not count."""

_SCHEMES: Final = (
    # Azure: a shared access signature (service, account and user delegation).
    (
        {"sig"},
        {"se", "sp", "sr", "st", "sv", "ss", "srt", "spr", "sip", "si", "sdd", "ses"}
        | {"skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"},
    ),
    # CloudFront, Amazon S3 and Google Cloud Storage v2, Alibaba OSS v1, Google Cloud CDN, Huawei OBS, UCloud.
    ({"signature"}, {"expires", "policy", "hash-algorithm", "keyname", "accesskeyid", "ucloudpublickey", "security-token"}),
    # Bunny, KeyCDN; the lists of countries and the path are signed with it.
    ({"token", "expires"}, {"token_path", "token_countries", "token_countries_blocked", "token_ver"}),
    ({"bcdn_token"}, {"expires", "token_path", "token_countries", "token_countries_blocked"}),
    ({"token", "expire"}, set[str]()),
    # Tencent VOD and CDN.
    ({"sign", "t"}, {"us", "rlimit"}),
    # Tencent COS, older form: the whole signature in one parameter.
    ({"q-signature"}, {"sign"}),
)
"""Names that identify a signature together, and further names that belong to it."""


_OLDER: Final = re.compile(
    r"(x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy|se|sig|ske|skoid|sks|skt|sktid|skv|sp|spr|sr|st|sv)",
    re.IGNORECASE,
)
"""What counted as a signature when journals of version 1 and 2 were written, each name by itself."""


def without_signature_before_v3(url: str) -> str:
    """Return *url* without its signature, as keys of journals before version 3 were derived."""
    base, mark, query = url.partition("?")
    kept = [each for each in query.split("&") if not _OLDER.fullmatch(each.partition("=")[0])]
    return base + (mark + "&".join(kept) if kept else "")


def without_signature(url: str) -> str:
    """Return *url* without its signature."""
    base, mark, query = url.partition("?")
    query, fragment_mark, fragment = query.partition("#")
    pairs = [(unquote(each.partition("=")[0]).lower(), each) for each in query.split("&")]
    names = {name for name, _ in pairs}
    dropped = {name for name in names if _ALWAYS_SIGNATURE.fullmatch(name)}
    for together, others in _SCHEMES:
        if together <= names:
            dropped |= together | others
    kept = [pair for name, pair in pairs if name not in dropped]
    return base + (mark + "&".join(kept) if any(kept) else "") + fragment_mark + fragment
