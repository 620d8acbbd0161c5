"""The three swagger documents, generated from the table of operations.

As little as bravado needs: a path's first part groups the operations, so each must begin with
/api/; every parameter that a client passes is declared; answers refer to named models. `host` is
left out: the client then calls the address that it fetched the document from.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from .models import MODELS
from .operations import OPERATIONS, Document, Operation

Json = dict[str, Any]


@cache
def document(name: Document) -> Json:
    """One document, Swagger 2.0."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        if operation.document == name:
            paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "swagger": "2.0",
        "info": {"title": f"Neptune {name}", "version": "2.x, as served on loopback"},
        "basePath": "/",
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
        "definitions": {model: _model(fields) for model, fields in MODELS.items()},
    }


def _described(operation: Operation) -> Json:
    in_path = set(re.findall(r"{(\w+)}", operation.path))
    parameters = [_parameter(word, in_path) for word in operation.parameters.split()]
    if operation.header:
        parameters.append({"name": operation.header, "in": "header", "type": "string"})
    if operation.body:
        schema = _reference(operation.body_model) if operation.body_model else {}
        parameters.append({"name": operation.body, "in": "body", "schema": schema})
    schema = _reference(operation.answer) if operation.answer else {}
    return {
        "operationId": operation.id,
        "parameters": parameters,
        "responses": {"200": {"description": "", "schema": schema}},
    }


def _parameter(word: str, in_path: set[str]) -> Json:
    name, _, kind = word.partition(":")
    if name in in_path:
        return {"name": name, "in": "path", "required": True, "type": "string"}
    if name.endswith("[]"):
        return {
            "name": name[:-2],
            "in": "query",
            "type": "array",
            "items": {"type": "string"},
            "collectionFormat": "multi",
        }
    return {"name": name, "in": "query", "type": kind or "string"}


def _model(fields: str) -> Json:
    properties = {}
    for word in fields.split():
        name, _, kind = word.partition(":")
        properties[name] = _field(kind)
    return {"type": "object", "properties": properties}


def _field(kind: str) -> Json:
    """Every field may be null: `x-nullable` is bravado's own word for it."""
    if not kind:
        return {}
    if kind == "date-time":
        return {"type": "string", "format": "date-time", "x-nullable": True}
    if kind in ("integer", "boolean", "string"):
        return {"type": kind, "x-nullable": True}
    return {**_reference(kind), "x-nullable": True} if kind.startswith("[") else _reference(kind)


def _reference(model: str) -> Json:
    if model.startswith("["):
        items = model[1:-1]
        inner = {"type": items} if items == "string" else {"$ref": f"#/definitions/{items}"}
        return {"type": "array", "items": inner}
    return {"$ref": f"#/definitions/{model}"}
