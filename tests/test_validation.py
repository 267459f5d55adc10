"""Validation of arguments and options, and the errors for invalid ones."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import AccountType, Credentials, HTXClient, InvalidInputError, validation


class Number(enum.IntEnum):
    """An int whose `str()` is not its digits."""

    SEVEN = 7


class Index:
    """An integer-like object, e.g. of numpy."""

    def __index__(self) -> int:
        return 1000001


@pytest.mark.parametrize(
    ("value", "example"),
    [("super-margin", "spot"), (AccountType.SPOT, "spot"), ("a" * 40, "spot"), ("USD", "BTC")],
)
def test_enum_value_accepts_values_spelled_like_the_example(value: str, example: str) -> None:
    """Enum members and text are accepted; the result is a plain `str`."""
    text = validation.enum_value(value, "word", example)
    assert text == value
    assert type(text) is str


@pytest.mark.parametrize(
    ("value", "example"),
    [
        ("a" * 41, "spot"),
        ("a b", "spot"),
        ("a&b=c", "spot"),
        ("ü", "spot"),
        ("spot\n", "spot"),
        ("btc", "BTC"),
        (b"spot", "spot"),
        (True, "spot"),
    ],
)
def test_enum_value_rejects_other_values_with_a_short_message(value: Any, example: str) -> None:
    """The length of the message does not depend on the value."""
    with pytest.raises(InvalidInputError, match="word must be a word in") as caught:
        validation.enum_value(value, "word", example)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        (1000001, "1000001"),
        (0, "0"),
        ("1000001", "1000001"),
        ("007", "007"),
        (2**53 + 1, "9007199254740993"),
        (10**99, "1" + "0" * 99),
        ("9" * 100, "9" * 100),
        (Number.SEVEN, "7"),
        (Index(), "1000001"),
    ],
)
def test_numeric_id_accepts_integers_and_digits(value: Any, digits: str) -> None:
    """Ids may exceed 2**53, and any object with `__index__` is accepted."""
    assert validation.numeric_id(value, "account") == digits


@pytest.mark.parametrize(
    "value",
    [
        -1,
        10**100,
        10**5000,
        -(10**5000),
        "",
        " 1",
        "1 ",
        "1\n",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "1_000",
        "0x1",
        "1/balance",
        "1?a=b",
        "..",
        "%31",
        "\u0661",
        "\uff11",
        "²",
        "9" * 101,
        True,
        False,
        None,
        1.0,
        float("nan"),
        Decimal(1),
        b"1",
        [],
        AccountType.SPOT,
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numeric_id_rejects_other_values(value: Any) -> None:
    """Nothing else gets into a path; the message names the argument."""
    with pytest.raises(InvalidInputError, match=r"^account must be ") as caught:
        validation.numeric_id(value, "account")
    assert isinstance(caught.value, ValueError)
    assert caught.value.delivery == "not_sent"
    assert not caught.value.retryable
    assert len(str(caught.value)) < 200


@given(st.integers(0, 10**100 - 1))
def test_numeric_id_of_int_and_text_are_equal(number: int) -> None:
    assert (
        validation.numeric_id(number, "x") == validation.numeric_id(str(number), "x") == str(number)
    )


@pytest.mark.parametrize("value", [1, 0.001, 30.0, 1e300, 10**300])
def test_positive_seconds_accepts_positive_numbers(value: float) -> None:
    """Any positive, finite int or float is accepted."""
    assert validation.positive_seconds(value, "timeout") == value


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 0.0, -0.5, float("nan"), float("inf"), -float("inf"), 10**400, 10**5000),
        *(True, None, "30", b"30", Decimal(30), [], object()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_positive_seconds_rejects_other_values(value: Any) -> None:
    """Zero, negative and infinite numbers and other types raise a short message."""
    with pytest.raises(InvalidInputError, match=r"^timeout must be a positive number") as caught:
        validation.positive_seconds(value, "timeout")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [0, 0.0, 1, 30.0])
def test_seconds_accepts_zero_and_positive_numbers(value: float) -> None:
    assert validation.seconds(value, "refresh_interval") == value


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 10**400, False, None, "0"])
def test_seconds_rejects_other_values(value: Any) -> None:
    """The error names the argument, of the client and of an override."""
    with pytest.raises(InvalidInputError, match=r"^refresh_interval must be a number of seconds"):
        validation.seconds(value, "refresh_interval")
    with pytest.raises(InvalidInputError, match=r"^refresh_interval must be a number of seconds"):
        HTXClient(Credentials("a", "b")).with_options(refresh_interval=value)


@pytest.mark.parametrize(
    ("value", "minimum"), [(1, 1), (2, 1), (0, 0), (10**5000, 1)], ids=["1", "2", "0", "huge"]
)
def test_int_at_least_accepts_integers_from_the_minimum(value: int, minimum: int) -> None:
    """The minimum is inclusive."""
    assert validation.int_at_least(value, minimum, "max_connections") == value


@pytest.mark.parametrize(
    "value",
    [0, -1, -(10**5000), 1.0, True, None, "1", float("inf"), Decimal(1)],
    ids=lambda value: type(value).__name__,
)
def test_int_at_least_rejects_other_values(value: Any) -> None:
    """The message states the minimum."""
    with pytest.raises(InvalidInputError, match=r"^max_body must be a whole number of at least 1"):
        validation.int_at_least(value, 1, "max_body")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1", None),
        ("!~", None),
        ("", "is empty"),
        (" key", "begins or ends with"),
        ("key\n", "begins or ends with"),
        ("key\r\n", "begins or ends with"),
        ("\tkey", "begins or ends with"),
        ("ke y", "contains white space or a character"),
        ("ke\ny", "contains white space or a character"),
        ("ke\x00y", "contains white space or a character"),
        ("ke\x7fy", "contains white space or a character"),
        ("kéy", "contains white space or a character"),
        ("ke\u200by", "contains white space or a character"),
        (None, "must be text, not NoneType"),
        (b"key", "must be text, not bytes"),
        (7, "must be text, not int"),
    ],
)
def test_key_problem_describes_the_problem(key: Any, problem: str | None) -> None:
    """The description does not contain the key."""
    message = validation.key_problem(key, "secret_key")
    if problem is None:
        assert message is None
    else:
        assert message is not None
        assert message.startswith(f"secret_key {problem}")


@pytest.mark.parametrize(
    ("base_url", "normalised", "host", "port"),
    [
        ("https://api.huobi.pro", "https://api.huobi.pro", "api.huobi.pro", 443),
        ("https://api.huobi.pro/", "https://api.huobi.pro", "api.huobi.pro", 443),
        ("HTTPS://API.Huobi.PRO", "https://api.huobi.pro", "api.huobi.pro", 443),
        ("https://api-aws.huobi.pro:443", "https://api-aws.huobi.pro", "api-aws.huobi.pro", 443),
        ("https://proxy.example:8443", "https://proxy.example:8443", "proxy.example", 8443),
        ("https://proxy:80", "https://proxy:80", "proxy", 80),
        ("https://192.0.2.1", "https://192.0.2.1", "192.0.2.1", 443),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443", "2001:db8::1", 8443),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080),
        ("http://127.1.2.3", "http://127.1.2.3", "127.1.2.3", 80),
        ("http://[::1]:9", "http://[::1]:9", "::1", 9),
        ("http://localhost:8080", "http://localhost:8080", "localhost", 8080),
        ("http://LOCALHOST", "http://localhost", "localhost", 80),
        ("http://localhost:443", "http://localhost:443", "localhost", 443),
        ("http://localhost.:8080", "http://localhost:8080", "localhost", 8080),
        ("https://api.huobi.pro.", "https://api.huobi.pro", "api.huobi.pro", 443),
    ],
)
def test_parse_base_url_returns_the_origin(
    base_url: str, normalised: str, host: str, port: int
) -> None:
    """The host is in lower case, without a trailing dot; the default port is omitted."""
    origin = validation.parse_base_url(base_url)
    assert (str(origin), origin.host, origin.port) == (normalised, host, port)


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        (None, "ASCII text"),
        (b"https://api.huobi.pro", "ASCII text"),
        ("https://api.huobi.pro\n", "ASCII text"),
        ("https://äpi.huobi.pro", "ASCII text"),
        ("https://api.huobi.pro:99999", "is not a URL"),
        ("https://api.huobi.pro:port", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("", "must start with https://"),
        ("api.huobi.pro", "must start with https://"),
        ("//api.huobi.pro", "must start with https://"),
        ("https:api.huobi.pro", "must start with https://"),
        ("https://", "must start with https://"),
        ("https://:443", "must start with https://"),
        ("ftp://api.huobi.pro", "must start with https://"),
        ("wss://api.huobi.pro", "must start with https://"),
        ("https://api huobi.pro", "must start with https://"),
        ("https://api.huobi.pro;x", "must start with https://"),
        ("https://api..huobi.pro", "must start with https://"),
        ("https://api.huobi.pro..", "must start with https://"),
        ("https://.", "must start with https://"),
        ("https://api%2Ehuobi.pro", "must start with https://"),
        ("https://evil.example\\", "must start with https://"),
        ("https://api.huobi.pro:0", "must start with https://"),
        ("https://user@api.huobi.pro", "user or password"),
        ("https://:secret@api.huobi.pro", "user or password"),
        ("https://@api.huobi.pro", "user or password"),
        ("https://api.huobi.pro/v1", "path, query or fragment"),
        ("https://api.huobi.pro//", "path, query or fragment"),
        ("https://api.huobi.pro/ ", "path, query or fragment"),
        ("https://api.huobi.pro?a=1", "path, query or fragment"),
        ("https://api.huobi.pro?", "path, query or fragment"),
        ("https://api.huobi.pro/#", "path, query or fragment"),
        ("https://api.huobi.pro#x", "path, query or fragment"),
        ("http://api.huobi.pro", "must be https"),
        ("http://192.168.0.1", "must be https"),
        ("http://0.0.0.0:8080", "must be https"),
        ("http://localhost.example", "must be https"),
        ("http://127.0.0.1.example", "must be https"),
        ("http://127.1", "must be https"),
        ("http://[::]", "must be https"),
    ],
)
def test_parse_base_url_rejects_other_urls(base_url: Any, message: str) -> None:
    """The message has an example, but not the URL, which may contain a password."""
    with pytest.raises(InvalidInputError, match=r"^base_url ") as caught:
        validation.parse_base_url(base_url)
    assert message in str(caught.value)
    assert "for example https://api.huobi.pro" in str(caught.value)
    assert ":secret@" not in str(caught.value)
    assert caught.value.__context__ is None


@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_parse_base_url_returns_an_origin_or_raises_invalid_input_error(text: str) -> None:
    """No other error occurs, and the text of an origin parses to the same origin."""
    try:
        origin = validation.parse_base_url(f"https://{text}")
    except InvalidInputError:
        return
    assert validation.parse_base_url(str(origin)) == origin
