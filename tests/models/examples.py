"""An example of any model, derived from its schema."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from htx_async.errors import HTXError
from htx_async.models.schema import FieldType, fields_of

_SCALARS = {
    "decimal": Decimal("1.50"),
    "timestamp": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    "id": 2**53 + 1,
    "flag": True,
    "error": HTXError("text"),
}


def example_of(model: Any) -> Any:
    """Return a *model* in which every field has a value."""
    return model(**{field.name: _value(field.type) for field in fields_of(model)})


def _value(field: FieldType) -> Any:
    if field.kind == "model":
        return example_of(field.annotation)
    if field.item is not None:
        value = _value(field.item)
        return (value,) if field.kind == "list" else value
    return field.annotation("text") if field.kind == "text" else _SCALARS[field.kind]
