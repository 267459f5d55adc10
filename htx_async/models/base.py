"""What all models can: become plain values and JSON, come back, and tell pydantic what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import attrs

from htx_async.errors import DecodeError
from htx_async.models import exact
from htx_async.models.fields import WrongFieldError, dumps_of, made


class Model:
    """
    A frozen value that can leave the program and come back.

    Plain values have the names of the attributes. Amounts are text without exponent, moments are
    ISO 8601 in UTC, an error is an object with its name, text and facts.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        # One for all: attrs would compile one for each class, whenever the package is imported.
        kind: Any = type(self)
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(kind))
        return f"{kind.__name__}({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values: what JSON, pandas or polars understand."""
        kind: Any = type(self)
        return {name: dump(getattr(self, name)) for name, dump in dumps_of(kind)}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return it as JSON; with *indent*, on several lines."""
        import json  # noqa: PLC0415 - only here

        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """
        Return the model that `to_dict` told of. Unknown fields are passed over.

        Raises:
            DecodeError: A field is missing or malformed; `path` says which. An amount that is a
                float is malformed: it may not be the amount that was meant.
        """
        try:
            return cast("Self", made(cls, said, ""))
        except WrongFieldError as error:
            path, fault = error.path, error.wanted
        msg = f"no {cls.__name__} can be made of it: {path or 'it'} {fault}"
        raise DecodeError(msg, path=path, delivery="not_sent")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """
        Return the model that `to_json` told of.

        Raises:
            DecodeError: It is no JSON, or a field is missing or malformed.
        """
        try:
            said = exact.values(text, f"the JSON of {cls.__name__}")
        except DecodeError as error:
            error.delivery = "not_sent"
            raise
        return cls.from_dict(said)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from htx_async.models import pydantic  # noqa: PLC0415 - only pydantic calls this

        del source, handler
        return pydantic.core_schema_of(cls)
