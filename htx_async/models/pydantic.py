"""Core schemas of models for pydantic, and so for FastAPI and OpenAPI. Needs pydantic v2."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic_core import CoreSchema, core_schema

from htx_async.errors import DecodeError
from htx_async.models.schema import FieldType, fields_of
from htx_async.models.wire_types import DECIMAL_PATTERN


def core_schema_of(model: Any) -> CoreSchema:
    """Return the schema with which pydantic validates and serializes *model*."""

    def create(data: dict[str, Any]) -> Any:
        try:
            return model.from_dict(data)
        except DecodeError as error:
            fault = str(error)
        raise ValueError(fault)  # pydantic makes a validation error of it

    plain = _object_schema(model)
    from_plain = core_schema.no_info_after_validator_function(create, plain)
    instance = core_schema.is_instance_schema(model)
    return core_schema.json_or_python_schema(
        json_schema=from_plain,
        python_schema=core_schema.union_schema([instance, from_plain]),
        serialization=core_schema.plain_serializer_function_ser_schema(
            model.to_dict, return_schema=plain
        ),
    )


def _object_schema(model: Any) -> CoreSchema:
    """Return the schema of the plain values of *model*, with its own name on OpenAPI pages."""
    fields = {
        field.name: core_schema.typed_dict_field(
            _field_schema(field.type), required=field.is_required
        )
        for field in fields_of(model)
    }
    description = (inspect.getdoc(model) or "").partition("\n")[0].replace("`", "")
    return core_schema.typed_dict_schema(
        fields,
        cls_name=model.__name__,
        ref=f"{model.__module__}.{model.__qualname__}:plain",
        metadata={"pydantic_js_updates": {"title": model.__name__, "description": description}},
    )


def _field_schema(field: FieldType) -> CoreSchema:
    if field.item is not None:
        item = _field_schema(field.item)
        is_list = field.kind == "list"
        return core_schema.list_schema(item) if is_list else core_schema.nullable_schema(item)
    if field.kind == "model":
        return _object_schema(field.annotation)
    if field.kind == "timestamp":
        date_time = {"pydantic_js_updates": {"format": "date-time"}}
        return core_schema.str_schema(metadata=date_time)
    if field.kind == "decimal":
        return core_schema.str_schema(pattern=f"^{DECIMAL_PATTERN}$")
    if field.kind == "id":
        return core_schema.int_schema(ge=0)
    if field.kind == "flag":
        return core_schema.bool_schema()
    return _error_schema() if field.kind == "error" else core_schema.str_schema()


def _error_schema() -> CoreSchema:
    text = core_schema.typed_dict_field(core_schema.str_schema())
    return core_schema.typed_dict_schema(
        {"error": text, "text": text},
        cls_name="Error",
        ref="htx_async.errors.HTXError:plain",
        extra_behavior="allow",
    )
