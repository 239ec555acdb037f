"""``/system/v1/webhooks``: the endpoints that get events (facts/BEHAVIOUR.md, section 7.5)."""

from __future__ import annotations

from urllib.parse import urlsplit

from mux_async.emulator.http._messages import Response, created, data, invalid, json_response, no_content
from mux_async.emulator.routing._router import ApiCall, Route, take
from mux_async.emulator.state._records import Json, WebhookEndpoint
from mux_async.emulator.state._serialization import iso
from mux_async.emulator.validation._validation import whole_parameter


def endpoint_json(endpoint: WebhookEndpoint) -> Json:
    """An endpoint, without its secret."""
    return {
        "id": endpoint.id,
        "address": endpoint.address,
        "created_at": iso(endpoint.created_at),
        "enabled": endpoint.enabled,
    }


def _endpoint(call: ApiCall) -> WebhookEndpoint:
    return call.environment.one(call.environment.webhooks, call.params["WEBHOOK_ID"])


def _check_address(call: ApiCall, address: str, own: WebhookEndpoint | None = None) -> None:
    try:
        parts = urlsplit(address)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise invalid("address must be an http or https URL")
    other = take(call.environment.webhooks.values(), lambda endpoint: endpoint.address == address)
    if other is not None and other is not own:
        raise invalid("address is already used by another webhook of this environment")


def _create(call: ApiCall) -> Response:
    address: str = call.json("CreateWebhookRequest")["address"]
    _check_address(call, address)
    state = call.state
    secret = state.id_generator.opaque("webhook secret", 40)
    endpoint = WebhookEndpoint(state.id_generator.id("webhook"), state.next_number(), state.now, address, secret)
    call.environment.webhooks[endpoint.id] = endpoint
    # The one time that the secret is shown.
    return created({**endpoint_json(endpoint), "signing_secret": secret})


def _list(call: ApiCall) -> Response:
    found = list(reversed(call.environment.webhooks.values()))
    page = [endpoint_json(endpoint) for endpoint in call.page(found)]
    number = whole_parameter(call.request.query, "page", 1)
    return json_response(200, {"data": page, "total_row_count": len(found), "page": number, "limit": call.limit()})


def _retrieve(call: ApiCall) -> Response:
    return data(endpoint_json(_endpoint(call)))


def _update(call: ApiCall) -> Response:
    endpoint = _endpoint(call)
    changes = call.json("UpdateWebhookRequest")
    if not {"address", "enabled"} & set(changes):
        raise invalid("address or enabled is required")
    if "address" in changes:
        _check_address(call, changes["address"], endpoint)
        endpoint.address = changes["address"]
    endpoint.enabled = changes.get("enabled", endpoint.enabled)
    return data(endpoint_json(endpoint))


def _delete(call: ApiCall) -> Response:
    del call.environment.webhooks[_endpoint(call).id]
    return no_content()


ROUTES = (
    Route("POST", "/system/v1/webhooks", _create),
    Route("GET", "/system/v1/webhooks", _list),
    Route("GET", "/system/v1/webhooks/{WEBHOOK_ID}", _retrieve),
    Route("PATCH", "/system/v1/webhooks/{WEBHOOK_ID}", _update),
    Route("DELETE", "/system/v1/webhooks/{WEBHOOK_ID}", _delete),
)
