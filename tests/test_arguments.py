"""Every public parameter rejects what it does not accept, with one `InvalidInputError`."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import math
import pickle
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import htx_async
from htx_async import (
    Account,
    AccountState,
    AccountType,
    Credentials,
    Event,
    EventLoopError,
    HTTPTransport,
    HTXClient,
    HTXError,
    InvalidInputError,
    LiveBalances,
    Model,
    RateLimit,
    RedisRateLimiter,
    RetryPolicy,
)
from htx_async.client import ClientOptions, OptionOverrides
from htx_async.otel import Telemetry
from htx_async.sandbox import Sandbox
from htx_async.testing import ScriptedTransport
from htx_async.transports.environment import proxy_for
from htx_async.validation import Origin

KEYS = Credentials("access-key", "secret-key")
SECRET = "SECRETEXAMPLE9876543210"
HUGE = 10**5000
SURROGATE = "\ud800"


class Hostile:
    """An object that must not be shown: not by an error, at least."""

    def __repr__(self) -> str:
        return SECRET


class Sync:
    """Almost a transport: its methods are not async, or its base class is another."""

    def handle_async_request(self, _: object) -> object:
        raise AssertionError

    def aclose(self) -> None:
        raise AssertionError


async def async_listener(_: Event) -> None:
    """Never run."""


class AsyncListener:
    """A listener that would never run."""

    async def __call__(self, _: Event) -> None:
        """Never run."""


BASIC: dict[str, Any] = {
    "bytes": b"1",
    "list": [],
    "dict": {},
    "object": Hostile(),
    "class": Hostile,
    "complex": 1j,
}
"""Wrong for every parameter, unless its row lists the name as accepted."""
NUMBERS: dict[str, Any] = {
    "bool": True,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "negative": -1,
    "huge": HUGE,
    "float": 1.5,
    "int": 5,
    "Decimal": Decimal(1),
}
TEXTS: dict[str, Any] = {"text": SECRET, "empty": "", "surrogate": SURROGATE}
NOTHING: dict[str, Any] = {"None": None}
VALUES = BASIC | NUMBERS | TEXTS | NOTHING

SECONDS = {"float", "int"}
COUNT = {"int", "huge"}
ID = {"int"}


@attrs.frozen
class Row:
    """A public parameter: a call that passes it, names of accepted `VALUES`, and its own faults."""

    call: Callable[[Any], object]
    accepted: set[str]
    wrong: tuple[Any, ...] = ()
    error: type[HTXError] = InvalidInputError


def client(**options: Any) -> HTXClient:
    transport = ScriptedTransport(())  # a request would be an `AssertionError`
    return HTXClient(KEYS, **{"transport": transport, **options})


def option(name: str) -> Callable[[Any], object]:
    return lambda value: client(**{name: value})


def override(name: str) -> Callable[[Any], object]:
    return lambda value: client().with_options(**{name: value})


def awaited(call: Callable[[HTXClient], Any]) -> object:
    """Run a call of a client that must not send anything."""
    return asyncio.run(call(client()))


async def entered(stream: LiveBalances) -> None:
    """Enter a stream that must not send anything."""
    async with stream:
        pass


def from_env(name: str) -> Callable[[Any], object]:
    def call(value: Any) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HTX_ACCESS_KEY", "access-key")
            patch.setenv("HTX_SECRET_KEY", "secret-key")
            options: dict[str, Any] = {"transport": ScriptedTransport(()), name: value}
            return HTXClient.from_env(**options)

    return call


OPTIONS: dict[str, tuple[set[str], tuple[Any, ...]]] = {
    "base_url": (
        set(),
        (
            "https://[::1].evil.com",
            "https://[::1]x",
            "https://api.huobi.pro:0",
            "https://api.huobi.pro:65536",
            "https://api.huobi.pro\n",
            "https://api.huobi.pro/..",
            f"https://user:{SECRET}@api.huobi.pro",
            "ftp://api.huobi.pro",
            "api.huobi.pro",
        ),
    ),
    "timeout": (SECONDS, (0, -0.0)),
    "attempt_timeout": (SECONDS, (0,)),
    "retry": (set(), (RetryPolicy,)),
    "rate_limiter": ({"None"}, (htx_async.RateLimiter,)),
    "coalesce": ({"bool"}, ("no", 0, 1)),
    "queue_timeout": (SECONDS | {"None"}, (False,)),
    "max_queue": (COUNT | {"None"}, (False,)),
    "refresh_interval": (SECONDS, (False,)),
    "transport": (
        {"None"},
        (
            httpx.AsyncClient,
            httpx.HTTPTransport(),
            HTTPTransport,
            Sandbox(),
            Sync(),
            "https://api.huobi.pro",
        ),
    ),
    "max_connections": (COUNT, (0,)),
    "max_body": (COUNT, (0,)),
    "on_event": (
        {"None"},
        (async_listener, AsyncListener(), functools.partial(async_listener), AsyncListener),
    ),
    "clock": ({"None"}, (htx_async.Clock, math)),
}
"""Options of the client: names of accepted values, and wrong ones of their own."""

ACCOUNT = Account(1, AccountType.SPOT, "", AccountState.WORKING)

NOW = datetime.now(UTC)
OTHER = htx_async.Position("another list")
RECORDS: dict[str, tuple[set[str], tuple[Any, ...]]] = {
    "account": (ID | {"text"}, ("\uff11", "1.0", "margin:", ":x")),
    "start": (
        set(),
        (
            NOW.replace(tzinfo=None),
            NOW.date(),
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
            NOW - timedelta(days=181),
            NOW + timedelta(hours=1),
        ),
    ),
    "end": ({"None"}, (NOW.replace(tzinfo=None), NOW - timedelta(days=3))),
    "currency": ({"text", "None"}, ("USDT", "a&b=c")),
    "types": ({"list"}, ("trade", ["TRADE"], {SURROGATE}, iter(["trade"]))),
    "on_progress": ({"None"}, (async_listener, AsyncListener)),
    "resume": ({"None"}, (OTHER, htx_async.Position, {"list": "history"})),
}
"""Parameters of lists with times: names of accepted values, and wrong ones of their own."""


def records(name: str, parameter: str) -> Callable[[Any], object]:
    def call(value: Any) -> object:
        arguments = {"account": 1, "start": NOW - timedelta(days=2), parameter: value}
        account = arguments.pop("account")
        method: Any = getattr(client().accounts, name)
        return method(account, **arguments)

    return call


def deposits_and_withdrawals(parameter: str) -> Callable[[Any], object]:
    method: Any = client().accounts.deposits_and_withdrawals
    return lambda value: method(**{parameter: value})


def collected(create: Callable[[HTXClient], Any]) -> Callable[[HTXClient], Any]:
    """Return a call that reads a list; creating the iterator raises already."""

    async def call(htx: HTXClient) -> object:
        return await create(htx).collect()

    return call


TABLE: dict[str, Row] = {
    **{f"HTXClient.{name}": Row(option(name), *row) for name, row in OPTIONS.items()},
    **{f"HTXClient.from_env.{name}": Row(from_env(name), *row) for name, row in OPTIONS.items()},
    **{
        f"HTXClient.with_options.{name}": Row(override(name), *OPTIONS[name])
        for name in OptionOverrides.__annotations__
    },
    "HTXClient.credentials": Row(HTXClient, set(), (("a", "b"), math)),
    "HTXClient.unexpected": Row(lambda value: HTXClient(KEYS, value), set()),
    "HTXClient.get.path": Row(
        lambda value: awaited(lambda htx: htx.get(value)),
        set(),
        ("https://api.huobi.pro/v1/x", "/v1/x?a=1", "/v1/../x", "/v1/\ud800", "/" + "x" * 10_000),
    ),
    "HTXClient.get.params": Row(
        lambda value: awaited(lambda htx: htx.get("/v1/x", params=value)),
        {"None", "dict"},
        (
            {"x": True},
            {"x": 1.5},
            {"x": math.nan},
            {"x": b"1"},
            {"x": HUGE},
            {"x": Decimal("NaN")},
            {"x": Decimal("1e9999")},
            {"x": SURROGATE},
            {"x": None},
            {SURROGATE: "1"},
            {1: "1"},
            {"Signature": SECRET},
        ),
    ),
    "HTXClient.get.limit": Row(
        lambda value: awaited(lambda htx: htx.get("/v1/x", limit=value)),
        {"None"},
        tuple(RateLimit(wrong, 1.0) for wrong in (0, -1, True)),
    ),
    "HTXClient.get.signed": Row(
        lambda value: awaited(lambda htx: htx.get("/v1/x", signed=value)), {"bool"}, (0, 1)
    ),
    "RateLimit.requests": Row(
        lambda value: awaited(lambda htx: htx.get("/v1/x", limit=RateLimit(value, 1.0))), COUNT
    ),
    "RateLimit.per": Row(
        lambda value: awaited(lambda htx: htx.get("/v1/x", limit=RateLimit(1, value))), SECONDS
    ),
    "Credentials.access_key": Row(
        lambda value: Credentials(value, "secret-key"),
        {"text"},
        (f'"{SECRET}"', f"'{SECRET}'", f"{SECRET}\n", f" {SECRET}", f"{SECRET}ü", "a b", " "),
    ),
    "Credentials.secret_key": Row(
        lambda value: Credentials("access-key", value),
        {"text"},
        (
            f'"{SECRET}"',
            f"{SECRET}\r\n",
            f"{SECRET}\0",
            f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n",
        ),
    ),
    "Credentials.ed25519.access_key": Row(lambda value: Credentials.ed25519(value, ""), set()),
    "Credentials.ed25519.private_key_pem": Row(
        lambda value: Credentials.ed25519("access-key", value), set(), (f"{SECRET}\ud800",)
    ),
    "RetryPolicy.attempts": Row(lambda value: RetryPolicy(attempts=value), {"int"}, (0,)),
    "RetryPolicy.initial_delay": Row(lambda value: RetryPolicy(initial_delay=value), SECONDS, (0,)),
    "RetryPolicy.max_delay": Row(lambda value: RetryPolicy(max_delay=value), SECONDS, (0,)),
    "RedisRateLimiter.url": Row(
        RedisRateLimiter, set(), ("http://x", f"redis://:{SECRET}@x:y", f"redis://x:{SECRET}")
    ),
    "RedisRateLimiter.user": Row(
        lambda value: RedisRateLimiter("redis://x", user=value), {"text", "None", "surrogate"}
    ),
    "RedisRateLimiter.fallback": Row(
        lambda value: RedisRateLimiter("redis://x", fallback=value), {"None"}, (0, 1.01)
    ),
    "RedisRateLimiter.command_timeout": Row(
        lambda value: RedisRateLimiter("redis://x", command_timeout=value), SECONDS | {"huge"}, (0,)
    ),
    "HTTPTransport.max_connections": Row(
        lambda value: HTTPTransport(max_connections=value), COUNT, (0,)
    ),
    "HTTPTransport.max_body": Row(lambda value: HTTPTransport(max_body=value), COUNT, (0,)),
    "Accounts.find.type": Row(
        lambda value: awaited(lambda htx: htx.accounts.find(value)), {"text", "empty"}, ("x" * 999,)
    ),
    "Accounts.find.subtype": Row(
        lambda value: awaited(lambda htx: htx.accounts.find("spot", value)), {"text", "empty"}
    ),
    "Accounts.balance.account": Row(
        lambda value: awaited(lambda htx: htx.accounts.balance(value)),
        ID | {"text"},
        ("\uff11", "1.0", "-1", "9" * 101, attrs.evolve(ACCOUNT, id=True), "margin:", ":x"),
    ),
    "Accounts.snapshot.types": Row(
        lambda value: awaited(lambda htx: htx.accounts.snapshot(types=value)),
        {"None", "list"},
        (["SPOT"], [SECRET], [b"spot"], {SURROGATE}, iter(["spot"])),
    ),
    "Accounts.snapshot.strict": Row(
        lambda value: awaited(lambda htx: htx.accounts.snapshot(strict=value)), {"bool"}, (0, 1)
    ),
    "Accounts.asset_valuation.account_type": Row(
        lambda value: awaited(lambda htx: htx.accounts.asset_valuation(value)), {"None"}, ("SPOT",)
    ),
    "Accounts.asset_valuation.valuation_currency": Row(
        lambda value: awaited(lambda htx: htx.accounts.asset_valuation(valuation_currency=value)),
        {"text"},
        ("usd",),
    ),
    "Accounts.asset_valuation.sub_uid": Row(
        lambda value: awaited(lambda htx: htx.accounts.asset_valuation(sub_uid=value)),
        ID | {"None"},
    ),
    "Accounts.valuation.account_type": Row(
        lambda value: awaited(lambda htx: htx.accounts.valuation(value)), {"None"}, ("SPOT",)
    ),
    "Accounts.valuation.valuation_currency": Row(
        lambda value: awaited(lambda htx: htx.accounts.valuation(valuation_currency=value)),
        {"text"},
        ("usd",),
    ),
    **{
        f"Accounts.{name}.{parameter}": Row(records(name, parameter), *row)
        for name in ("history", "ledger")
        for parameter, row in RECORDS.items()
    },
    "Accounts.history.newest_first": Row(records("history", "newest_first"), {"bool"}, (0, 1)),
    **{
        f"Accounts.deposits_and_withdrawals.{parameter}": Row(
            deposits_and_withdrawals(parameter), *row
        )
        for parameter, row in {
            "type": ({"None"}, ("transfer", "DEPOSIT")),
            "currency": RECORDS["currency"],
            "newest_first": ({"bool"}, (0, 1)),
            "resume": RECORDS["resume"],
        }.items()
    },
    "Users.api_key.access_key": Row(
        lambda value: awaited(lambda htx: htx.users.api_key(value)),
        {"text", "None"},
        (f'"{SECRET}"', f"{SECRET}\n"),
    ),
    "Users.sub_users.resume": Row(
        lambda value: awaited(collected(lambda htx: htx.users.sub_users(resume=value))),
        *RECORDS["resume"],
    ),
    "Users.sub_user_accounts.sub_uid": Row(
        lambda value: awaited(lambda htx: htx.users.sub_user_accounts(value)), ID
    ),
    "Users.sub_user_balance.sub_uid": Row(
        lambda value: awaited(lambda htx: htx.users.sub_user_balance(value)), ID
    ),
    "Accounts.stream.accounts": Row(
        lambda value: awaited(lambda htx: entered(htx.accounts.stream(value))),
        ID | {"None", "text"},
        ({"spot", 1.5}, iter(["spot"]), {"x": 1}, (), "margin:", [attrs.evolve(ACCOUNT, id=True)]),
    ),
    "Accounts.stream.audit_interval": Row(
        lambda value: awaited(lambda htx: entered(htx.accounts.stream(audit_interval=value))),
        SECONDS,
        (0,),
    ),
    "Accounts.stream.buffer": Row(
        lambda value: awaited(lambda htx: entered(htx.accounts.stream(buffer=value))), COUNT, (0,)
    ),
    "Accounts.stream.fill": Row(
        lambda value: awaited(lambda htx: entered(htx.accounts.stream(fill=value))), {"bool"}, (0,)
    ),
    "Points.balance.sub_uid": Row(
        lambda value: awaited(lambda htx: htx.points.balance(sub_uid=value)), ID | {"None"}
    ),
    "Model.from_json.text": Row(Account.from_json, {"bytes", "text", "empty", "surrogate"}),
    "Model.from_dict.data": Row(Account.from_dict, set(), error=htx_async.DecodeError),
    "Model.to_json.indent": Row(lambda value: ACCOUNT.to_json(indent=value), {"int", "None"}),
    "AccountBalance.changes.since": Row(
        lambda value: htx_async.AccountBalance(
            1, AccountType.SPOT, AccountState.WORKING, ()
        ).changes(since=value),
        set(),
    ),
    "Telemetry.tracer_provider": Row(Telemetry, {"None"}),
    "Telemetry.meter_provider": Row(lambda value: Telemetry(meter_provider=value), {"None"}),
    "Telemetry.clock": Row(lambda value: Telemetry(clock=value), {"None"}),
    "Telemetry.observe.stream": Row(lambda value: Telemetry().observe(value), set()),
}

EXEMPT: dict[str, str] = {
    "Clock": "to be overridden; the package calls its methods",
    "Event": "created by the package",
    "RateLimiter": "the client calls its methods",
    "RateLimitStatus": "created by the package",
    "RawResponse": "created by the package",
    "RedisRateLimiter.for_owner": "called by the client",
    "RedisRateLimiter.check": "called by the client",
    "RedisRateLimiter.queue_for": "called by the client",
    "RedisRateLimiter.own_queue": "called by the client",
    "RedisRateLimiter.is_idle_full": "called by the client",
    "RetryPolicy.delay": "called by the client",
    "HTTPTransport.handle_async_request": "called by httpx",
    "HTTPTransport.pool": "called by the client",
    "Credentials.fingerprint": "called by the client",
    "Accounts.client": "created by the client",
    "Accounts.cached_accounts": "created by the client",
    "Accounts.stream_hub": "created by the client",
    "Accounts.timeout": "created by the client",
    "LiveAccount.state": "created by the package",
    "LiveBalances": "created by `Accounts.stream`; tests/stream/test_live.py has `verified`",
    "StreamEvent": "created by the package",
    "Points.client": "created by the client",
    "RecordIterator": "created by the client",
    "Users.client": "created by the client",
    "Credentials.signature": "called by the client",
    "CurrencyBalance.amount": "raises KeyError, as a mapping does",
    "AccountBalance.get": "of a mapping",
}
"""Classes, methods and parameters without a row, and why."""


def parameters_of(name: str, function: Any) -> Iterator[str]:
    """Yield the parameters of a function; of an unpacked `TypedDict`, its keys."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            unpacked = getattr(htx_async.client, parameter.annotation[len("Unpack[") : -1])
            yield from (f"{name}.{key}" for key in unpacked.__annotations__)
        else:
            yield f"{name}.{parameter.name}"


def public_parameters() -> Iterator[str]:
    """Yield the parameters of all public classes and their methods."""
    values = {name: getattr(htx_async, name) for name in htx_async.__all__}
    for name, value in {**values, "Telemetry": Telemetry}.items():
        if not isinstance(value, type) or issubclass(value, HTXError | str):
            continue  # an error is created by the package, a value of an enum by its decoder
        is_model = issubclass(value, Model) and value is not Model  # created by its decoder
        if "__init__" in vars(value) and not is_model:
            yield from parameters_of(name, value.__init__)
        for member, function in vars(value).items():
            method = getattr(function, "__func__", function)
            if not member.startswith("_") and inspect.isfunction(method):
                yield from parameters_of(f"{name}.{member}", method)


def is_exempt(parameter: str) -> bool:
    parts = parameter.split(".")
    return any(".".join(parts[:end]) in EXEMPT for end in range(1, len(parts) + 1))


def test_every_public_parameter_has_a_row() -> None:
    """A new parameter needs a row in `TABLE`, or a reason in `EXEMPT`."""
    parameters = {name for name in public_parameters() if not is_exempt(name)}
    assert parameters == TABLE.keys()
    assert len(parameters) > 60


CASES = [
    pytest.param(row, value, id=f"{parameter}-{name}")
    for parameter, row in TABLE.items()
    for name, value in [
        *((key, value) for key, value in VALUES.items() if key not in row.accepted),
        *((str(number), value) for number, value in enumerate(row.wrong)),
    ]
]


def texts_of(error: BaseException, *, with_locals: bool = True) -> str:
    """Return what prints of an error, and the locals of the package's frames."""
    trace = error.__traceback__
    while trace is not None and "htx_async" not in trace.tb_frame.f_globals["__name__"]:
        trace = trace.tb_next
    lines = traceback.TracebackException(type(error), error, trace, capture_locals=with_locals)
    texts = (str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)))
    return "".join((*texts, *lines.format()))


@pytest.mark.parametrize(("row", "value"), CASES)
def test_argument_is_rejected_in_one_sentence(row: Row, value: Any) -> None:
    """The error is short, can be printed, and shows neither a secret nor the object."""
    with pytest.raises(row.error) as caught:
        row.call(value)
    assert type(caught.value) is row.error
    text = str(caught.value)
    assert 10 < len(text) < 400
    text.encode()
    assert text.isprintable()
    assert caught.value.delivery == "not_sent"
    assert caught.value.__context__ is None
    assert SECRET not in texts_of(caught.value, with_locals=False)


@pytest.mark.parametrize("parameter", [name for name in TABLE if "." in name])
def test_argument_error_names_the_parameter(parameter: str) -> None:
    """And what was given, by its type."""
    row, name = TABLE[parameter], parameter.rpartition(".")[2]
    with pytest.raises(row.error) as caught:
        row.call(Hostile())
    if row.error is InvalidInputError and name not in ("unexpected", "private_key_pem"):
        words = {"url": "Redis"}.get(name, name)
        assert words in str(caught.value)


def test_from_env_has_the_options_of_the_class() -> None:
    """The types of both, so that a misspelt or wrong option fails type checkers."""
    options = {
        name: parameter.annotation
        for name, parameter in inspect.signature(HTXClient.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    typed = {name: kind.__forward_arg__ for name, kind in ClientOptions.__annotations__.items()}
    assert typed == options


def test_keys_as_positional_arguments_are_rejected() -> None:
    """Also if one is a key: no frame of the package shows them."""
    for arguments in (("key", SECRET), (SECRET, "key"), (KEYS, SECRET)):
        with pytest.raises(InvalidInputError, match=r"Credentials\(") as caught:
            HTXClient(*arguments)
        assert SECRET not in texts_of(caught.value)


def test_client_cannot_be_pickled_or_copied() -> None:
    """But it has copies with other options."""
    htx = client()
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"^HTXClient cannot be pickled: it has keys and open"):
            duplicate(htx)
    assert type(htx.with_options(timeout=1.0)) is HTXClient


def test_call_without_asyncio_names_asyncio() -> None:
    """As under trio, which runs coroutines without an event loop of asyncio."""
    htx = client()
    with pytest.raises(EventLoopError, match=r"asyncio\.run\(\)\. trio is not supported"):
        htx.accounts.list().send(None)
    with pytest.raises(StopIteration):
        htx.aclose().send(None)


def test_boolean_parameter_says_what_to_write() -> None:
    with pytest.raises(
        InvalidInputError, match=r'x must be .* got bool\. Write "true" or "false"$'
    ):
        awaited(lambda htx: htx.get("/v1/x", params={"x": True}))


PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PKCS8 = (Encoding.PEM, PrivateFormat.PKCS8)
PEM = PRIVATE.private_bytes(*PKCS8, NoEncryption()).decode()
ENCRYPTED = PRIVATE.private_bytes(*PKCS8, BestAvailableEncryption(b"password")).decode()
OPENSSH = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
DER = PRIVATE.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
BODY = "".join(PEM.splitlines()[1:-1])


@pytest.mark.parametrize(
    "pem",
    [
        PEM,
        PEM.encode(),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", "\\r\\n"),
        PEM.replace("\n", "\r\n"),
        f"\n{PEM}\n",
        PEM.strip(),
    ],
    ids=lambda _: "key",  # the same in all processes, as they are random
)
def test_private_key_is_accepted_however_its_lines_end(pem: str | bytes) -> None:
    """Env files often have line breaks as a backslash and an n."""
    credentials = Credentials.ed25519("access-key", pem)
    assert credentials == Credentials.ed25519("access-key", PEM)


WRONG_PRIVATE_KEYS: list[tuple[str | bytes, str]] = [
    ("", "is empty"),
    (" \n", "is empty"),
    (f'"{PEM}"', "is in quotes"),
    (OPENSSH, "is in OpenSSH format. Create a key in PEM: openssl genpkey"),
    (ENCRYPTED, "is encrypted. Decrypt it: openssl pkey"),
    (f"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n{BODY}", "is encrypted"),
    (DER, "is in DER format. Convert it to PEM: openssl pkey -inform DER"),
    (DER.decode("latin-1"), "is in DER format"),
    (PUBLIC, "is a public key. Pass the private key"),
    ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "is a public key"),
    ("/etc/htx/key.pem", "is a path. Pass the contents of the file"),
    ("~/key", "is a path"),
    ("C:\\keys\\htx", "is a path"),
    ("key.pem\n", "is a path"),
    (BODY, "it has no -----BEGIN PRIVATE KEY-----"),
    (PEM[:60], "Check that it was copied whole"),
    (PEM.replace("MC4", "\ud8004"), "contains a character that is not ASCII"),
    (PEM.replace("MC4", "ü4").encode(), "contains a character that is not ASCII"),
]


@pytest.mark.parametrize(
    ("pem", "problem"),
    WRONG_PRIVATE_KEYS,
    ids=[problem for _, problem in WRONG_PRIVATE_KEYS],  # an encrypted key differs each time
)
def test_private_key_of_another_kind_is_named(pem: str | bytes, problem: str) -> None:
    """With the fix, and without a part of the key."""
    with pytest.raises(InvalidInputError, match=r"^private_key_pem ") as caught:
        Credentials.ed25519("access-key", pem)
    assert problem in str(caught.value)
    for part in (BODY[-30:], BODY[16:40]):
        assert part not in texts_of(caught.value)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"HTX_ACCESS_KEY": '"k"'}, "HTX_ACCESS_KEY is in quotes. Remove them."),
        ({"HTX_ACCESS_KEY": " "}, "HTX_ACCESS_KEY is empty."),
        ({"HTX_SECRET_KEY": "'s'"}, "HTX_SECRET_KEY is in quotes. Remove them."),
        ({"HTX_SECRET_KEY": "s\n"}, "HTX_SECRET_KEY begins or ends with white space."),
        ({"HTX_SECRET_KEY": PEM}, "HTX_SECRET_KEY is a key in PEM format."),
        ({"HTX_SECRET_KEY": "s\udcff"}, "HTX_SECRET_KEY contains white space or a character"),
        ({"HTX_PRIVATE_KEY": PUBLIC}, "HTX_PRIVATE_KEY is a public key."),
        ({"HTX_PRIVATE_KEY": "/key.pem"}, "HTX_PRIVATE_KEY is a path."),
        ({"HTX_SECRET_KEY_FILE": "FILE"}, "the file in HTX_SECRET_KEY_FILE is in quotes."),
        ({"HTX_PRIVATE_KEY_FILE": "FILE"}, "the file in HTX_PRIVATE_KEY_FILE is in quotes."),
        ({"HTX_BASE_URL": f"https://u:{SECRET}@x.example"}, "HTX_BASE_URL must not contain a user"),
        ({"HTX_BASE_URL": "api.huobi.pro"}, "HTX_BASE_URL must start with https://"),
    ],
)
def test_wrong_variable_is_named(
    variables: dict[str, str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the argument that it becomes."""
    file = tmp_path / "key"
    file.write_text(f'"{SECRET}"\n')
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    if not any("SECRET" in name or "PRIVATE" in name for name in variables):
        monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    for name, value in variables.items():
        monkeypatch.setenv(name, str(file) if value == "FILE" else value)
    with pytest.raises(InvalidInputError) as caught:
        HTXClient.from_env()
    assert str(caught.value).startswith(text)
    assert SECRET not in texts_of(caught.value)


@pytest.mark.parametrize("proxy", ["http://[::1].evil.com:3128", "http://[::1]x"])
def test_proxy_with_text_after_the_brackets_is_rejected(proxy: str) -> None:
    """As a base URL is: the address in brackets is not the host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(InvalidInputError, match=r"^HTTPS_PROXY: "):
            proxy_for(Origin("https", "api.huobi.pro", 443))
