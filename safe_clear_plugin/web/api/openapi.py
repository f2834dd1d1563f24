"""The OpenAPI document: every route, from the models that read its requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from flask import current_app
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from safe_clear_plugin.core.input_limits import ID
from safe_clear_plugin.web.api import refusal_answers
from safe_clear_plugin.web.api.form_data import Shape, form_shapes, shapes
from safe_clear_plugin.web.api.request_reader import FORM
from safe_clear_plugin.web.api.routes import HTML, JSON, REDIRECTS, REFUSALS, ROUTES, Route
from safe_clear_plugin.web.api.types import AsJson, Request
from safe_clear_plugin.web.app.identity import CSRF_FIELD, CSRF_HEADER, TOKEN_COOKIE

REF = "#/components/schemas/{model}"
NOT_DESCRIBED = "not_found"
"""The view of all addresses that do not exist: it answers 404."""
METHODS = ("GET", "POST")
STEPS = re.compile(r"<any\(([^)]*)\):\w+>")
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")

Json = dict[str, Any]


def document(mounted_at: str, version: str) -> Json:
    """Return the OpenAPI document of the routes below ``mounted_at``."""
    paths: dict[str, Json] = {}
    for name, path, method, summary in described_rules():
        paths.setdefault(path, {})[method.lower()] = _operation(name, path, method, summary)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Safe Clear",
            "version": version,
            "description": "See exactly what clearing Airflow task instances will do, do exactly that or "
            "nothing, and take it back.",
        },
        "servers": [{"url": mounted_at or "/"}],
        "security": [{"bearer": []}, {"cookie": []}],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _security_schemes()},
    }


def described_rules() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, path, method and summary of each view of ours, one for each address of a form."""
    for rule in current_app.url_map.iter_rules():
        blueprint, _, name = rule.endpoint.partition(".")
        if blueprint != "SafeClear" or name == NOT_DESCRIBED:
            continue
        view = current_app.view_functions[rule.endpoint]
        summary = "A file of the pages." if name == "static" else (view.__doc__ or "").partition("\n")[0]
        for path in _paths(rule):
            for method in METHODS:
                if method in (rule.methods or ()):
                    yield name, path, method, summary


def _paths(rule: Rule) -> Iterable[str]:
    found = STEPS.search(rule.rule)
    steps = [step.strip() for step in found[1].split(",")] if found else [""]
    return [PARAMETER.sub(r"{\1}", STEPS.sub(step, rule.rule)) for step in steps]


def _operation(name: str, path: str, method: str, summary: str) -> Json:
    route = ROUTES[name]
    step = path.rsplit("/", 1)[1] if name == "step" else ""
    operation: Json = {
        "operationId": f"{name}_{step}" if step else name,
        "summary": summary,
        "parameters": [*_path_parameters(path), *_query_parameters(route.query)],
        "responses": dict(sorted(_responses(route).items())),
    }
    if name == "static":
        operation["security"] = []
    if method == "POST" and route.body is not None:
        operation["requestBody"] = {
            "required": any(field.is_required() for field in route.body.model_fields.values()),
            "content": {JSON: {"schema": _ref(route.body)}, FORM: {"schema": _form_schema(route.body)}},
        }
    return operation


def _path_parameters(path: str) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": ID},
        }


def _query_parameters(model: type[Request]) -> Iterator[Json]:
    known = shapes(model)
    for name, schema in _cleaned(model.model_json_schema())["properties"].items():
        taken = {"type": "array", "items": {"type": "string"}} if AsJson in known[name].marks else schema
        text = schema.pop("description", "")
        yield {"name": name, "in": "query", "schema": taken, **({"description": text} if text else {})}


def _responses(route: Route) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for status, content in route.answers.items():
        found[str(status)] = {
            "description": "Done.",
            "content": {kind: {"schema": _ref(model)} if model else {} for kind, model in content.items()},
        }
    for status in route.redirects:
        found[str(status)] = {"description": REDIRECTS[status]}
    refusal: Json = {JSON: {"schema": _ref(refusal_answers.Refusal)}, HTML: {"schema": {"type": "string"}}}
    for status in route.refusals:
        found[str(status)] = {
            "description": REFUSALS[status],
            "content": {kind: refusal[kind] for kind in route.refuses_in},
        }
    return found


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas() -> Json:
    requests = {route.body for route in ROUTES.values() if route.body is not None}
    answered = {
        model for route in ROUTES.values() for one in route.answers.values() for model in one.values()
    }
    modes: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    modes += [(model, "validation") for model in requests]
    modes += [(model, "serialization") for model in answered | {refusal_answers.Refusal} if model is not None]
    _, found = models_json_schema(sorted(modes, key=lambda one: one[0].__name__), ref_template=REF)
    return dict(_cleaned(found["$defs"]))


def _cleaned(schema: Any) -> Any:
    """Return the schema without titles, and without a null as the default of what cannot be null."""
    if isinstance(schema, list):
        return [_cleaned(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _cleaned(value)
        for name, value in schema.items()
        if not (name == "default" and value is None) and not (name == "title" and isinstance(value, str))
    }


def _form_schema(model: type[Request]) -> Json:
    """Return what form data takes: texts; an empty one stands for a field that was left empty."""
    required = [field.alias or name for name, field in model.model_fields.items() if field.is_required()]
    properties = {name: _form_field(shape) for name, shape in form_shapes(model).items()}
    return {
        "type": "object",
        "properties": {**properties, CSRF_FIELD: {"type": "string"}},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _form_field(shape: Shape) -> Json:
    item: Json = {"type": "string"}
    if shape.item == "flag":
        item["enum"] = ["true", "false"]
    elif shape.item == "number":
        item["pattern"] = "^-?[0-9]+$"
    return {"type": "array", "items": item} if shape.kind == "list" else item


def _security_schemes() -> Json:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token as for Airflow's REST API."},
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": TOKEN_COOKIE,
            "description": f"The browser's. A POST then needs the page's token in the header {CSRF_HEADER}, "
            f"or in the field {CSRF_FIELD}.",
        },
    }
