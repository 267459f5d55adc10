"""Models as pydantic sees them, and so FastAPI and its OpenAPI pages. Needs pydantic v2."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic_core import CoreSchema, core_schema

from htx_async.errors import DecodeError
from htx_async.models.fields import Kind, kinds_of
from htx_async.models.wire_types import WRITTEN


def core_schema_of(model: Any) -> CoreSchema:
    """Return how pydantic reads, checks and writes *model*."""

    def make(said: dict[str, Any]) -> Any:
        try:
            return model.from_dict(said)
        except DecodeError as error:
            fault = str(error)
        raise ValueError(fault)  # pydantic's way to say it

    shape = _shape(model)
    made = core_schema.no_info_after_validator_function(make, shape)
    one = core_schema.is_instance_schema(model)
    return core_schema.json_or_python_schema(
        json_schema=made,
        python_schema=core_schema.union_schema([one, made]),
        serialization=core_schema.plain_serializer_function_ser_schema(
            model.to_dict, return_schema=shape
        ),
    )


def _shape(model: Any) -> CoreSchema:
    """Return the plain values of *model*: an object with a name of its own on OpenAPI pages."""
    fields = {
        name: core_schema.typed_dict_field(_field(kind), required=needed)
        for name, kind, needed in kinds_of(model)
    }
    about = (inspect.getdoc(model) or "").partition("\n")[0].replace("`", "")
    return core_schema.typed_dict_schema(
        fields,
        cls_name=model.__name__,
        ref=f"{model.__module__}.{model.__qualname__}:plain",
        metadata={"pydantic_js_updates": {"title": model.__name__, "description": about}},
    )


def _field(kind: Kind) -> CoreSchema:
    if kind.of is not None:
        inner = _field(kind.of)
        many = kind.name == "list"
        return core_schema.list_schema(inner) if many else core_schema.nullable_schema(inner)
    if kind.model is not None:
        return _shape(kind.model)
    if kind.name == "moment":
        moment = {"pydantic_js_updates": {"format": "date-time"}}
        return core_schema.str_schema(metadata=moment)
    if kind.name == "amount":
        return core_schema.str_schema(pattern=f"^{WRITTEN}$")
    if kind.name == "whole":
        return core_schema.int_schema(ge=0)
    return _error() if kind.name == "error" else core_schema.str_schema()


def _error() -> CoreSchema:
    text = core_schema.typed_dict_field(core_schema.str_schema())
    return core_schema.typed_dict_schema(
        {"error": text, "text": text},
        cls_name="Error",
        ref="htx_async.errors.HTXError:plain",
        extra_behavior="allow",
    )
