"""Playback restrictions: which referrers and user agents may play with a token (facts/BEHAVIOUR.md, section 8.5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from mux_async.emulator.http._messages import ApiError, Request, Response, created, data, invalid
from mux_async.emulator.resources._collections import delete_route, list_route, retrieve_route
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import Json, PlaybackRestriction
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Environment

_PATH, _ID = "/video/v1/playback-restrictions", "PLAYBACK_RESTRICTION_ID"
MAX_RESTRICTIONS = 100
"""Of an environment."""
_DOMAIN = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*", re.IGNORECASE)
_HIGH_RISK = re.compile(
    r"\b(curl|wget|python|aiohttp|httpx|okhttp|go-http-client|libwww|java|scrapy|bot|crawler|spider|headless)", re.IGNORECASE
)
"""What Mux counts as a high-risk user agent is not published; these are programs that are no players."""


def _referrer(members: Json) -> Json:
    domains: list[str] = members["allowed_domains"]
    for domain in domains:
        if domain != "*" and _DOMAIN.fullmatch(domain) is None:
            raise invalid(f'allowed_domains contains "{domain}", which is no domain')
    return {"allowed_domains": domains, "allow_no_referrer": members.get("allow_no_referrer", False)}


def _user_agent(members: Json) -> Json:
    return {key: members.get(key, True) for key in ("allow_no_user_agent", "allow_high_risk_user_agent")}


def _restrictions(environment: Environment) -> dict[str, PlaybackRestriction]:
    return environment.playback_restrictions


def _create(call: ApiCall) -> Response:
    body = call.json("CreatePlaybackRestrictionRequest")
    restrictions, state = call.environment.playback_restrictions, call.state
    if len(restrictions) >= MAX_RESTRICTIONS:
        raise invalid(f"an environment can have at most {MAX_RESTRICTIONS} playback restrictions")
    members = _referrer(body["referrer"]), _user_agent(body["user_agent"])
    restriction = PlaybackRestriction(*state.identity("playback restriction"), *members)
    restrictions[restriction.id] = restriction
    return created(present(restriction))


def _update(member: str, schema: str, read: Callable[[Json], Json], call: ApiCall) -> Response:
    restriction = call.environment.one(call.environment.playback_restrictions, call.params[_ID])
    setattr(restriction, member, read(call.json(schema)))
    restriction.updated_at = call.state.now
    return data(present(restriction))


def check_restriction(request: Request, environment: Environment, id: object) -> None:
    """Refuse (`ApiError` 403) a request that the restriction of a token does not allow; one that does not exist (any more) allows none."""
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


_REFERRER, _USER_AGENT = "UpdateReferrerDomainRestrictionRequest", "UpdateUserAgentRestrictionRequest"
ROUTES = (
    Route("POST", _PATH, _create),
    list_route(_PATH, _restrictions),
    retrieve_route(_PATH, _ID, _restrictions),
    delete_route(_PATH, _ID, _restrictions),
    Route("PUT", f"{_PATH}/{{{_ID}}}/referrer", partial(_update, "referrer", _REFERRER, _referrer)),
    Route("PUT", f"{_PATH}/{{{_ID}}}/user_agent", partial(_update, "user_agent", _USER_AGENT, _user_agent)),
)
