"""What the tests of whole answers share: the described API, a judge of answers, and schemathesis driving an emulator without a socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeAlias, cast

import requests
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator

from mux_async.emulator import Request, Response
from tests.emulator.harness import Account, Json, basic
from tests.generated import spec

# Its types leave their parameters open, which strict checking takes for unknown; here they stop.
_schemathesis: Any = import_module("schemathesis")
_transport: Any = import_module("schemathesis.core.transport")
_any_checks: Any = import_module("schemathesis.checks")
_openapi_checks: Any = import_module("schemathesis.specs.openapi.checks")

Check: TypeAlias = Literal[
    "not_a_server_error",
    "content_type_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "response_schema_conformance",
    "status_code_conformance",
]
"""What schemathesis can ask of an answer, by its names for it."""


@cache
def document() -> Json:
    """The corrected facts, as an OpenAPI document that tools take."""
    return {key: value for key, value in spec.document().items() if not key.startswith("x-")}


@cache
def described() -> dict[str, Any]:
    """Every operation as schemathesis reads it, by our id: ``video.assets.create``."""
    found: dict[str, Any] = {}
    for result in _schemathesis.openapi.from_dict(document()).get_all_operations():
        operation = result.ok()
        raw: Json = document()["paths"][operation.path][operation.method.lower()]
        found[f"{raw['x-group']}.{raw['x-operation']}"] = operation
    return found


def send(account: Account, case: Any) -> Any:
    """Send what schemathesis made up, with credentials that are right, and return the answer as it wants it."""
    wanted = {"method", "url", "headers", "params", "json", "data"}
    made = {key: value for key, value in case.as_transport_kwargs(base_url="http://emulator.test").items() if key in wanted}
    made["headers"]["Authorization"] = basic()
    sent = requests.Request(**made).prepare()
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
    given_headers = {name: value if isinstance(value, str) else value.decode("latin-1") for name, value in sent.headers.items()}
    response = account.emulator.handle(Request(str(sent.method), sent.path_url, given_headers, cast("bytes", body)))
    headers = {name.lower(): [value] for name, value in response.headers.items()}
    return _transport.Response(response.status, headers, response.body, sent, 0.0, verify=False)


def drive(
    accounts: Mapping[Account, list[Check]],
    operation_id: str,
    *,
    fitting: bool,
    examples: int,
    each: Callable[[], None] | None = None,
) -> None:
    """Send made-up requests of one operation, the same in every run, and judge each answer.

    Args:
        accounts: Who answers, and what is asked of the answers. Making up a request takes longer than answering it, so two who are
            asked the same share it.
        operation_id: Which operation.
        fitting: Whether the requests fit the description, or do not.
        examples: How many requests.
        each: Called after every answer.

    Raises:
        BaseExceptionGroup: What schemathesis found wrong, with a command that repeats it.
    """
    mode = _schemathesis.GenerationMode.POSITIVE if fitting else _schemathesis.GenerationMode.NEGATIVE
    functions = {
        account: [getattr(_openapi_checks, name, None) or getattr(_any_checks, name) for name in checks]
        for account, checks in accounts.items()
    }

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
        phases=[Phase.generate],
    )
    @given(case=described()[operation_id].as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        for account, checks in functions.items():
            case.validate_response(send(account, case), checks=checks)
        if each is not None:
            each()

    run()


@cache
def _validator(operation_id: str, status: str) -> Any:
    operation = next(operation for operation in spec.operations() if operation.id == operation_id)
    content: Json = operation.raw["responses"][status].get("content", {})
    if not content:
        return None
    ((_, described_content),) = content.items()
    return Draft202012Validator({**described_content["schema"], "components": document()["components"]})


def judge(operation_id: str, response: Response) -> None:
    """Compare a success with the description: the status, and the body against its schema.

    Raises:
        AssertionError: It differs; the message says where.
    """
    operation = next(operation for operation in spec.operations() if operation.id == operation_id)
    status, kind, _ = operation.answer
    assert response.status == status, (operation_id, response.status, response.body[:500])
    if kind is None:
        assert response.body == b"", operation_id
        return
    validator = _validator(operation_id, str(status))
    if kind != "application/json" or validator is None:
        assert response.body, operation_id
        return
    problems = [f"{operation_id} {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(response.json())]
    assert problems == []
