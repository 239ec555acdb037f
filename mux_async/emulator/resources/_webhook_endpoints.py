"""``/system/v1/webhooks``: the endpoints that get events (facts/BEHAVIOUR.md, section 7.5)."""

from __future__ import annotations

from urllib.parse import urlsplit

from mux_async.emulator.http._addresses import is_url
from mux_async.emulator.http._messages import Response, created, data, invalid, json_response
from mux_async.emulator.resources._collections import delete_route, retrieve_route
from mux_async.emulator.routing._router import ApiCall, Route, take
from mux_async.emulator.state._records import Json, WebhookEndpoint
from mux_async.emulator.state._serialization import iso
from mux_async.emulator.state._state import Environment
from mux_async.emulator.validation._validation import whole_parameter

_PATH = "/system/v1/webhooks"


def endpoint_json(endpoint: WebhookEndpoint) -> Json:
    """An endpoint, without its secret."""
    return {"id": endpoint.id, "address": endpoint.address, "created_at": iso(endpoint.created_at), "enabled": endpoint.enabled}


def _check_address(call: ApiCall, address: str, own: WebhookEndpoint | None = None) -> None:
    if not is_url(address) or urlsplit(address).scheme not in {"http", "https"}:
        raise invalid("address must be an http or https URL")
    other = take(call.environment.webhooks.values(), lambda endpoint: endpoint.address == address)
    if other is not None and other is not own:
        raise invalid("address is already used by another webhook of this environment")


def _create(call: ApiCall) -> Response:
    address: str = call.json("CreateWebhookRequest")["address"]
    _check_address(call, address)
    secret = call.state.id_generator.opaque("webhook secret", 40)
    endpoint = WebhookEndpoint(*call.state.identity("webhook"), address, secret)
    call.environment.webhooks[endpoint.id] = endpoint
    # The one time that the secret is shown.
    return created({**endpoint_json(endpoint), "signing_secret": secret})


def _list(call: ApiCall) -> Response:
    found = list(reversed(call.environment.webhooks.values()))
    page = [endpoint_json(endpoint) for endpoint in call.page(found)]
    number = whole_parameter(call.request.query, "page", 1)
    return json_response(200, {"data": page, "total_row_count": len(found), "page": number, "limit": call.limit()})


def _update(call: ApiCall) -> Response:
    endpoint = call.environment.one(call.environment.webhooks, call.params["WEBHOOK_ID"])
    changes = call.json("UpdateWebhookRequest")
    if not {"address", "enabled"} & set(changes):
        raise invalid("address or enabled is required")
    if "address" in changes:
        _check_address(call, changes["address"], endpoint)
        endpoint.address = changes["address"]
    endpoint.enabled = changes.get("enabled", endpoint.enabled)
    return data(endpoint_json(endpoint))


def _endpoints(environment: Environment) -> dict[str, WebhookEndpoint]:
    return environment.webhooks


ROUTES = (
    Route("POST", _PATH, _create),
    Route("GET", _PATH, _list),
    retrieve_route(_PATH, "WEBHOOK_ID", _endpoints, endpoint_json),
    Route("PATCH", f"{_PATH}/{{WEBHOOK_ID}}", _update),
    delete_route(_PATH, "WEBHOOK_ID", _endpoints),
)
