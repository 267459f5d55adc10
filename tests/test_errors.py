"""The exception tree: documentation, defaults, copying and pickling."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import htx_async
from htx_async import errors
from htx_async.errors import DecodeError, HTXError, RateLimitQueueError

CLASSES: list[type[HTXError]] = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, HTXError)
]
all_classes = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)

DETAILS: dict[str, Any] = {
    "endpoint": "GET /v2/point/account",
    "retryable": True,
    "delivery": "answered",
    "code": 1003,
    "message": "invalid signature",
    "http_status": 403,
    "retry_after": 2.5,
    "headers": {"cf-ray": "6d9d78e85aea410d-PRG"},
}


def own_details(kind: type[HTXError]) -> dict[str, Any]:
    """Return the attributes that only some error classes have."""
    if issubclass(kind, RateLimitQueueError):
        return {"wait": 1.5}
    return {"path": "data.list[3].balance"} if issubclass(kind, DecodeError) else {}


def documented_tree() -> dict[str, tuple[str, str | None]]:
    """Parse the tree in the docstring of `errors.py`: name -> (parent, builtin base)."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str, str | None]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"([│ ]*[├└]── )?(\w+Error)(?: \((\w+)\))?(?:  |$)", line)
        if match:
            depth = len(match[1] or "") // 4
            path[depth:] = [match[2]]
            tree[match[2]] = (path[depth - 1] if depth else "Exception", match[3])
    return tree


def test_documented_tree_equals_the_classes() -> None:
    """The tree in the module docstring lists all classes and no others."""
    real = {}
    for kind in CLASSES:
        parent, *others = (base.__name__ for base in kind.__bases__)
        real[kind.__name__] = (parent, others[0] if others else None)
    assert len(real) >= 18
    assert documented_tree() == real


@all_classes
def test_every_error_is_public_and_documented(kind: type[HTXError]) -> None:
    """Each class is exported by the package and has its own docstring."""
    assert getattr(htx_async, kind.__name__) is kind
    assert kind.__name__ in htx_async.__all__
    assert kind.__doc__


@all_classes
def test_error_attributes_default_to_none(kind: type[HTXError]) -> None:
    """All attributes exist when an error is created with a text alone."""
    error = kind("text")
    assert str(error) == "text"
    assert error.args == ("text",)
    assert (error.endpoint, error.code, error.message) == (None, None, None)
    assert (error.http_status, error.retry_after) == (None, None)
    assert (error.headers, error.attempts) == ({}, ())
    assert error.delivery in {"not_sent", "unknown", "answered"}
    assert str(kind("text", endpoint="GET /x")) == "GET /x: text"


RETRYABLE = {
    "RateLimitQueueError",
    "DeadlineExceededError",
    "CredentialsError",
    "ConnectError",
    "NoResponseError",
    "RateLimitedError",
    "TransportError",
}


@all_classes
def test_error_class_sets_default_retryable_and_delivery(kind: type[HTXError]) -> None:
    """The defaults apply when neither is passed."""
    error = kind("text")
    assert error.retryable is (kind.__name__ in RETRYABLE)
    if isinstance(error, errors.APIError | errors.DecodeError):
        assert error.delivery == "answered"
    else:
        assert error.delivery == ("unknown" if kind.__name__ == "NoResponseError" else "not_sent")


@all_classes
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - pickled here
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_error_copy_and_pickle_keep_everything(
    kind: type[HTXError], duplicate: Callable[[Any], Any]
) -> None:
    """A copy has the same text, attributes and notes."""
    details = {**DETAILS, **own_details(kind), "attempts": ()}
    error = kind("text", **details)
    error.add_note("httpx.ReadError: reset")
    other = duplicate(error)
    assert type(other) is kind
    assert other is not error
    assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)
    assert {name: getattr(other, name) for name in details} == details
    assert other.__notes__ == ["httpx.ReadError: reset"]
    assert vars(other) == vars(error)


@all_classes
def test_error_copy_is_independent(kind: type[HTXError]) -> None:
    """Changes to a copy do not affect the original."""
    error = kind("text")
    other = copy.deepcopy(error)
    other.endpoint = "GET /x"
    other.add_note("mine")
    assert error.endpoint is None
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.ClientClosedError, RuntimeError),
        (errors.DeadlineExceededError, TimeoutError),
    ],
)
def test_some_errors_are_builtin_errors(kind: type[HTXError], builtin: type[Exception]) -> None:
    """Code that catches the builtin exception also catches these."""
    with pytest.raises(builtin, match=r"^GET /x: text$"):
        raise kind(*["text"], endpoint="GET /x")


def test_error_lists_the_attempts_in_order() -> None:
    """As data and as notes; the error that was passed is not changed."""
    earlier = [errors.ConnectError("no connection"), errors.RateLimitedError("slow down")]
    last = errors.NoResponseError("cut")
    error = errors.with_attempts(last, earlier)
    assert error.attempts == (*earlier, last)
    assert error.__notes__ == [
        "attempt 1: ConnectError: no connection",
        "attempt 2: RateLimitedError: slow down",
        "attempt 3: this error",
    ]
    assert not last.attempts
    assert not hasattr(last, "__notes__")


def test_error_that_ended_no_attempt_lists_only_the_others() -> None:
    earlier = [errors.ConnectError("no connection")]
    error = errors.with_attempts(errors.DeadlineExceededError("late"), earlier, is_attempt=False)
    assert error.attempts == tuple(earlier)
    assert error.__notes__ == ["attempt 1: ConnectError: no connection"]


def test_error_of_a_single_attempt_has_no_notes() -> None:
    error = errors.with_attempts(errors.NoResponseError("cut"), [])
    assert [type(attempt) for attempt in error.attempts] == [errors.NoResponseError]
    assert not hasattr(error, "__notes__")


def test_error_created_without_text_prints_empty() -> None:
    """`__new__` alone creates such an error, e.g. when unpickling."""
    assert str(HTXError.__new__(HTXError)) == ""
