"""How fees are paid: in points, in a currency, or in what is traded."""

from __future__ import annotations

import attrs

from htx_async.models.base import Model
from htx_async.models.schema import wire
from htx_async.models.wire_types import InvalidValueError

__all__ = ["Deduction"]


@attrs.frozen(repr=False)
class Deduction(Model):
    """
    Whether points or a currency pay the fees; at most one of both does.

    Attributes:
        point_switch: Whether points pay them.
        currency_switch: Whether `deduction_currency` pays them.
        deduction_currency: The currency that is set, in lower case; `None`: none is.
        currencies: Currencies that may be set, in lower case.
    """

    point_switch: bool
    currency_switch: bool
    deduction_currency: str | None
    currencies: tuple[str, ...]


@attrs.frozen(repr=False)
class SwitchInfo(Model):
    """HTX's response to `switch/user/info`. The names of its example differ from its table."""

    point_switch: bool = attrs.field(metadata=wire("pointSwitch"))
    currency_switch: bool | None = attrs.field(metadata=wire("currencySwitch", default=None))
    htx_switch: bool | None = attrs.field(metadata=wire("htxSwitch", default=None))
    deduction_currency: str = attrs.field(metadata=wire("deductionCurrency", default=""))
    currency: str = attrs.field(metadata=wire("currency", default=""))

    def deduction(self, currencies: str) -> Deduction:
        """
        Return the deduction, with the currencies in a comma-separated list.

        Raises:
            InvalidValueError: Neither name of the switch has a value.
        """
        switch = self.htx_switch if self.currency_switch is None else self.currency_switch
        if switch is None:
            msg = "is missing or malformed"
            raise InvalidValueError(msg, "currencySwitch")
        currency = (self.deduction_currency or self.currency).lower()
        # If nothing is set, HTX writes 0 in every field.
        return Deduction(
            self.point_switch,
            switch,
            None if currency in {"", "0"} else currency,
            split_list(currencies.lower()),
        )


@attrs.frozen(repr=False)
class DeductibleCurrencies(Model):
    """HTX's response to `overview/info`: a comma-separated list."""

    currency: str = attrs.field(metadata=wire("currency"))


def split_list(text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list."""
    return tuple(item for item in map(str.strip, text.split(",")) if item)
