"""The API's description is complete and true: held against the routes, the code and answers."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_pydantic import OpenAPI
from spools import Clock
from web_apps import WebApp

from daemon.config import load_config
from daemon.health import Health, ServiceStatus, Workers, write
from daemon.web import examples, schemas
from daemon.web.openapi import description
from pipeline.errors import InvalidParameters, UnreadableMedia
from pipeline.parameters import Parameters

ROOT = Path(__file__).parents[3]
# Served for /docs, which is described.
PARTS_OF_A_PAGE = ("/docs/", "/static/")
# What no route makes by itself: codes of HTTP's own errors, and of other modules.
NOT_IN_CODE = {
    "bad_request",
    "internal_error",
    "insufficient_storage",
    "storage_unavailable",
    "invalid_parameter",
    "precondition_failed",
    "queue_full",
    "request_entity_too_large",
    "request_timeout",
    "request_header_fields_too_large",
    "requested_range_not_satisfiable",
    "task_busy",
    "unknown_task",
    "unreadable_media",
    "wrong_status",
}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


@pytest.fixture
def document(web: WebApp) -> dict[str, Any]:
    values = web.get("/openapi.json").get_json()
    assert isinstance(values, dict)
    return values


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for(
        {**schema, "components": document["components"]}, validate_formats=True
    )


def check(document: dict[str, Any], method: str, path: str, response: Any) -> Any:
    """Hold a real answer against the description; return it."""
    described = document["paths"][path][method.lower()]["responses"]
    content = described[str(response.status_code)]["content"]
    media_type = response.content_type.partition(";")[0]
    values = response.get_json()
    validator(document, content[media_type]["schema"]).validate(values)
    return values


def test_it_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPI.model_validate(document)


def test_only_parameters_of_a_query_say_what_openapi_lets_only_these_say(
    document: dict[str, Any],
) -> None:
    """OpenAPI's own schema refuses it elsewhere, and with it the whole description."""
    for _, path, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            of_a_query = {"allowEmptyValue", "allowReserved"} & set(parameter)
            assert parameter["in"] == "query" or not of_a_query, (path, parameter["name"])


def test_every_route_is_described_and_no_other(web: WebApp, document: dict[str, Any]) -> None:
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in web.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and not rule.rule.startswith(PARTS_OF_A_PAGE)
    }
    told = {(method, path) for method, path, _ in operations(document)}
    assert told - {("HEAD", "/download/{task_id}")} == served


def test_every_operation_has_a_name_of_its_own_and_words(document: dict[str, Any]) -> None:
    found = [operation for _, _, operation in operations(document)]
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"]}
    for operation in found:
        assert operation["summary"]
        assert set(operation["tags"]) <= tags
        for parameter in operation["parameters"]:
            assert parameter["description"]
        for answer in operation["responses"].values():
            assert answer["description"]


def test_what_an_upload_may_ask_for_are_the_parameters(document: dict[str, Any]) -> None:
    upload = document["paths"]["/upload"]["post"]
    form = upload["requestBody"]["content"]["multipart/form-data"]["schema"]
    query = {p["name"]: p["schema"] for p in upload["parameters"] if p["in"] == "query"}
    assert form["properties"].keys() == {"file", *Parameters.model_fields}
    assert query.keys() == Parameters.model_fields.keys()
    for name, schema in query.items():
        field = form["properties"][name]
        assert schema == {k: v for k, v in field.items() if k != "description"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("epsilon", [0.04, 0.2, 0.12, 0.039, 0.201, -1, 1e9]),
        ("video_strength", [1, 2, 1.5, 0.99, 2.01]),
        ("audio_level", ["none", "слабый", "средний", "сильный", "weak", "medium", "strong", "x"]),
        ("every_n_frames", [1, 30, 0, 31, -1]),
        ("user_id", ["a", "a" * 64, "a" * 65, ".a", "a.b@c-d_e", "a/b", "", "имя", "-", "a b"]),
        ("notes", ["", "x" * 2000, "x" * 2001, "\n\0"]),
        ("webhook_url", ["http://a", "https://a.b/c?d", "ftp://a", "a", "", "http://a" * 500]),
        ("mode", ["protect", "strip", "", "Protect"]),
    ],
)
def test_a_parameter_is_described_as_it_is_checked(
    document: dict[str, Any], name: str, values: list[Any]
) -> None:
    schema = schemas.parameter_schemas()[name]
    said = jsonschema_rs.validator_for(schema)
    for value in values:
        assert said.is_valid(value) == is_taken(name, value), value


def is_taken(name: str, value: object) -> bool:
    try:
        Parameters.parse({name: value})
    except InvalidParameters:
        return False
    return True


def test_defaults_are_those_of_the_configuration(tmp_path: Path) -> None:
    hidden = "notes: hello, user_id: alice, webhook_url: 'https://example.com/?token=1'"
    (tmp_path / "config.yaml").write_text(f"defaults: {{epsilon: 0.2, {hidden}}}\n")
    document = description(load_config(tmp_path / "config.yaml"))
    query = {p["name"]: p["schema"] for p in document["paths"]["/upload"]["post"]["parameters"]}
    assert query["epsilon"]["default"] == 0.2
    assert query["every_n_frames"]["default"] == 10
    # Whoever sees the page may read this, without a key.
    for name in ("notes", "user_id", "webhook_url"):
        assert "default" not in query[name]


def test_the_form_tells_which_videos_are_taken(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("extensions: [.ogv]\nmax_video_size_gb: 0.5\n")
    document = description(load_config(tmp_path / "config.yaml"))
    form = document["paths"]["/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]
    about = form["schema"]["properties"]["file"]["description"]
    assert ".ogv" in about
    assert "0.5 GB" in about


# --- Errors ---


def raised() -> Iterator[tuple[int, str, str]]:
    """Yield status, code and text of each `ApiError` that is written out in the code."""
    makers: dict[str, list[Any]] = {"ApiError": [], "unavailable": [503]}
    for path in sorted((ROOT / "daemon" / "web").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            maker = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and maker in makers:
                words = makers[maker] + [getattr(a, "value", None) for a in node.args]
                status, code, key = words[:3] if len(words) >= 3 else (None, None, None)
                if isinstance(status, int) and isinstance(code, str):
                    yield status, code, key if isinstance(key, str) else ""


def test_every_error_in_the_code_is_described_with_its_status() -> None:
    found = list(raised())
    assert len(found) > 10
    for status, code, _ in found:
        assert examples.ERRORS[code].status == status, code
    assert examples.ERRORS.keys() - {code for _, code, _ in found} <= NOT_IN_CODE
    assert UnreadableMedia.code in examples.ERRORS


def test_every_error_is_told_by_some_route(document: dict[str, Any]) -> None:
    told = {
        code
        for _, _, operation in operations(document)
        for answer in operation["responses"].values()
        for content in (answer.get("content") or {}).values()
        for code in content.get("examples", {})
    }
    assert told == examples.ERRORS.keys()


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    count = 0
    for _, _, operation in operations(document):
        for answer in operation["responses"].values():
            for content in (answer.get("content") or {}).values():
                shown = [example["value"] for example in content.get("examples", {}).values()]
                for example in shown + [content[k] for k in ("example",) if k in content]:
                    validator(document, content["schema"]).validate(example)
                    count += 1
        for parameter in operation["parameters"]:
            if "example" in parameter:
                jsonschema_rs.validator_for(parameter["schema"]).validate(parameter["example"])
    assert count > 50


# --- Real answers ---


def test_answers_are_as_described(web: WebApp, document: dict[str, Any]) -> None:
    waiting, done = web.submit(user_id="alice"), web.complete("bob", {"frames": 250})
    running = web.claim().task_id
    gone = [waiting, done, running]
    for task_id in gone:
        check(document, "get", "/task/{task_id}", web.get(f"/task/{task_id}"))
    check(document, "get", "/tasks", web.get("/tasks"))
    check(document, "get", "/tasks", web.get("/tasks?limit=0"))
    check(document, "get", "/stats", web.get("/stats"))
    check(document, "get", "/openapi.json", web.get("/openapi.json"))
    check(document, "post", "/cancel/{task_id}", web.post(f"/cancel/{waiting}"))
    check(document, "post", "/cancel/{task_id}", web.post(f"/cancel/{waiting}"))
    check(document, "post", "/retry/{task_id}", web.post(f"/retry/{waiting}"))
    check(document, "post", "/cleanup", web.post("/cleanup?days=0"))
    check(document, "get", "/task/{task_id}", web.get(f"/task/{done}"))


def test_health_is_as_described(web: WebApp, document: dict[str, Any]) -> None:
    check(document, "get", "/health", web.get("/health"))
    now = web.clock()
    write(web.state, Health(1, now, now, ServiceStatus.RUNNING, Workers(1, 1, 0)))
    assert check(document, "get", "/health", web.get("/health"))["status"] == "healthy"
    web.key("root", is_admin=True)
    Clock()
    check(document, "get", "/health", WebApp(web.folder).get("/health"))


def test_the_document_has_no_reference_to_nothing(document: dict[str, Any]) -> None:
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]
