"""Playback restrictions: which referrers and user agents may play with a token (facts/BEHAVIOUR.md, section 8.5)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mux_async.emulator.http._messages import ApiError, Request, Response, created, data, invalid, no_content
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import Json, PlaybackRestriction
from mux_async.emulator.state._serialization import epoch
from mux_async.emulator.state._state import Environment

MAX_RESTRICTIONS = 100
"""Of an environment."""
_DOMAIN = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*", re.IGNORECASE)
_HIGH_RISK = re.compile(
    r"\b(curl|wget|python|aiohttp|httpx|okhttp|go-http-client|libwww|java|scrapy|bot|crawler|spider|headless)", re.IGNORECASE
)
"""What Mux counts as a high-risk user agent is not published; these are programs that are no players."""


def _shown(restriction: PlaybackRestriction) -> Json:
    return {
        "id": restriction.id,
        "created_at": epoch(restriction.created_at),
        "updated_at": epoch(restriction.updated_at),
        "referrer": restriction.referrer,
        "user_agent": restriction.user_agent,
    }


def _referrer(members: Json) -> Json:
    domains: list[str] = members["allowed_domains"]
    for domain in domains:
        if domain != "*" and _DOMAIN.fullmatch(domain) is None:
            raise invalid(f'allowed_domains contains "{domain}", which is no domain')
    return {"allowed_domains": domains, "allow_no_referrer": members.get("allow_no_referrer", False)}


def _user_agent(members: Json) -> Json:
    return {key: members.get(key, True) for key in ("allow_no_user_agent", "allow_high_risk_user_agent")}


def _restriction(call: ApiCall) -> PlaybackRestriction:
    return call.environment.one(call.environment.playback_restrictions, call.params["PLAYBACK_RESTRICTION_ID"])


def _create(call: ApiCall) -> Response:
    body = call.json("CreatePlaybackRestrictionRequest")
    restrictions, state = call.environment.playback_restrictions, call.state
    if len(restrictions) >= MAX_RESTRICTIONS:
        raise invalid(f"an environment can have at most {MAX_RESTRICTIONS} playback restrictions")
    restriction = PlaybackRestriction(
        state.id_generator.id("playback restriction"),
        state.next_number(),
        state.now,
        state.now,
        _referrer(body["referrer"]),
        _user_agent(body["user_agent"]),
    )
    restrictions[restriction.id] = restriction
    return created(_shown(restriction))


def _list(call: ApiCall) -> Response:
    found = call.page(list(reversed(call.environment.playback_restrictions.values())))
    return data([_shown(restriction) for restriction in found])


def _retrieve(call: ApiCall) -> Response:
    return data(_shown(_restriction(call)))


def _delete(call: ApiCall) -> Response:
    del call.environment.playback_restrictions[_restriction(call).id]
    return no_content()


def _update_referrer(call: ApiCall) -> Response:
    restriction = _restriction(call)
    restriction.referrer = _referrer(call.json("UpdateReferrerDomainRestrictionRequest"))
    restriction.updated_at = call.state.now
    return data(_shown(restriction))


def _update_user_agent(call: ApiCall) -> Response:
    restriction = _restriction(call)
    restriction.user_agent = _user_agent(call.json("UpdateUserAgentRestrictionRequest"))
    restriction.updated_at = call.state.now
    return data(_shown(restriction))


def check_restriction(request: Request, environment: Environment, id: object) -> None:
    """Refuse a request that the restriction of a token does not let through.

    Raises:
        ApiError: 403. A restriction that does not exist (any more) lets nothing through.
    """
    restriction = environment.playback_restrictions.get(str(id))
    if restriction is None:
        raise ApiError(403, "forbidden", "The token names a playback restriction that does not exist")
    if not _referrer_allowed(restriction.referrer, request.headers.get("Referer", "")):
        raise ApiError(403, "forbidden", "The playback restriction does not allow this referrer")
    agent = request.headers.get("User-Agent", "")
    if not agent and not restriction.user_agent["allow_no_user_agent"]:
        raise ApiError(403, "forbidden", "The playback restriction does not allow requests without a user agent")
    if _HIGH_RISK.search(agent) is not None and not restriction.user_agent["allow_high_risk_user_agent"]:
        raise ApiError(403, "forbidden", "The playback restriction does not allow this user agent")


def _referrer_allowed(rules: Json, referrer: str) -> bool:
    if not referrer:
        return bool(rules["allow_no_referrer"])
    try:
        host = urlsplit(referrer).hostname or ""
    except ValueError:
        return False
    return any(_matches(host, domain.lower()) for domain in rules["allowed_domains"])


def _matches(host: str, domain: str) -> bool:
    if domain == "*":
        return True
    if domain.startswith("*."):  # one level, and no more
        return host.partition(".")[2] == domain[2:]
    return host == domain


_ONE = "/video/v1/playback-restrictions/{PLAYBACK_RESTRICTION_ID}"
ROUTES = (
    Route("POST", "/video/v1/playback-restrictions", _create),
    Route("GET", "/video/v1/playback-restrictions", _list),
    Route("GET", _ONE, _retrieve),
    Route("DELETE", _ONE, _delete),
    Route("PUT", f"{_ONE}/referrer", _update_referrer),
    Route("PUT", f"{_ONE}/user_agent", _update_user_agent),
)
