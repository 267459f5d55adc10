"""The error tree: as it is drawn, and every error a value that travels."""

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
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)

FACTS: dict[str, Any] = {
    "endpoint": "GET /v2/point/account",
    "retryable": True,
    "delivery": "answered",
    "code": 1003,
    "message": "invalid signature",
    "http_status": 403,
    "retry_after": 2.5,
}


def own_facts(kind: type[HTXError]) -> dict[str, Any]:
    """Return what only some errors know."""
    if issubclass(kind, RateLimitQueueError):
        return {"wait": 1.5}
    return {"path": "data.list[3].balance"} if issubclass(kind, DecodeError) else {}


def drawn_tree() -> dict[str, tuple[str, str | None]]:
    """Read the drawing at the top of `errors.py`: name -> (parent, builtin that it is too)."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str, str | None]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"([│ ]*[├└]── )?(\w+Error)(?: \((\w+)\))?(?:  |$)", line)
        if found:
            depth = len(found[1] or "") // 4
            path[depth:] = [found[2]]
            tree[found[2]] = (path[depth - 1] if depth else "Exception", found[3])
    return tree


def test_the_drawing_is_the_tree() -> None:
    """The tree at the top of the module is what the classes are: no more, no less."""
    real = {}
    for kind in CLASSES:
        parent, *others = (base.__name__ for base in kind.__bases__)
        real[kind.__name__] = (parent, others[0] if others else None)
    assert len(real) >= 18
    assert drawn_tree() == real


@every_class
def test_every_error_is_public_and_says_what_it_is(kind: type[HTXError]) -> None:
    """Exported by the package, with a docstring of its own."""
    assert getattr(htx_async, kind.__name__) is kind
    assert kind.__name__ in htx_async.__all__
    assert kind.__doc__


@every_class
def test_without_facts_an_error_knows_nothing(kind: type[HTXError]) -> None:
    """Every attribute is there, whoever makes the error."""
    error = kind("text")
    assert str(error) == "text"
    assert error.args == ("text",)
    assert (error.endpoint, error.code, error.message) == (None, None, None)
    assert (error.http_status, error.retry_after) == (None, None)
    assert error.delivery in {"not_sent", "unknown", "answered"}
    assert str(kind("text", endpoint="GET /x")) == "GET /x: text"


TRANSIENT = {
    "RateLimitQueueError",
    "DeadlineExceededError",
    "ConnectError",
    "NoResponseError",
    "RateLimitedError",
    "TransportError",
}


@every_class
def test_what_a_class_alone_tells(kind: type[HTXError]) -> None:
    """Whether it passes, and what became of the request, where nobody says otherwise."""
    error = kind("text")
    assert error.retryable is (kind.__name__ in TRANSIENT)
    if isinstance(error, errors.APIError | errors.DecodeError):
        assert error.delivery == "answered"
    else:
        assert error.delivery == ("unknown" if kind.__name__ == "NoResponseError" else "not_sent")


@every_class
@pytest.mark.parametrize(
    "remade",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - ours
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_an_error_travels_whole(kind: type[HTXError], remade: Callable[[Any], Any]) -> None:
    """Copied or pickled it says the same, with every attribute and note."""
    facts = {**FACTS, **own_facts(kind)}
    error = kind("text", **facts)
    error.add_note("httpx.ReadError: reset")
    other = remade(error)
    assert type(other) is kind
    assert other is not error
    assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)
    assert {name: getattr(other, name) for name in facts} == facts
    assert other.__notes__ == ["httpx.ReadError: reset"]
    assert vars(other) == vars(error)


@every_class
def test_a_copy_is_its_own(kind: type[HTXError]) -> None:
    """What one caller adds to its copy, no other sees."""
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
def test_some_are_builtin_errors_too(kind: type[HTXError], builtin: type[Exception]) -> None:
    """Who knows nothing of this package catches them all the same."""
    with pytest.raises(builtin, match=r"^GET /x: text$"):
        raise kind(*["text"], endpoint="GET /x")


def test_the_attempts_before_are_noted() -> None:
    """In order, with their own words; where there were none, nothing is."""
    earlier = [errors.ConnectError("no connection"), errors.RateLimitedError("slow down")]
    error = errors.with_attempt_notes(errors.NoResponseError("cut"), earlier)
    assert error.__notes__ == [
        "attempt 1: ConnectError: no connection",
        "attempt 2: RateLimitedError: slow down",
        "attempt 3: this error",
    ]
    assert not hasattr(errors.with_attempt_notes(errors.NoResponseError("cut"), []), "__notes__")


def test_an_error_without_a_text_prints() -> None:
    """As long as somebody makes one by `__new__`, as pickles of old versions may."""
    assert str(HTXError.__new__(HTXError)) == ""
