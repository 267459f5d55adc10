"""Redaction of secrets, and normalisation of external text."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import redaction
from htx_async.redaction import (
    auth_values,
    describe_error,
    excerpt,
    mask_key,
    one_line,
    redact,
    text_of_page,
)


@pytest.mark.parametrize(
    ("key", "masked"),
    [
        ("vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1", "vf25…"),
        ("0123456789abcdef", "0123…"),
        ("0123456789abcde", "…"),
        ("access", "…"),
        ("", "…"),
    ],
)
def test_mask_key_keeps_four_characters_of_a_long_key(key: str, masked: str) -> None:
    """A short key is masked completely."""
    assert mask_key(key) == masked


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("plain", 200, "plain"),
        ("  a \n\t b\r\n", 200, "a b"),
        ("a\x1b[31mb\x00c", 200, "a?[31mb?c"),
        ("\u202eabc\u2066", 200, "?abc?"),
        ("Ключ 币", 200, "Ключ 币"),
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("", 5, ""),
    ],
)
def test_one_line_folds_white_space_and_truncates(text: str, limit: int, line: str) -> None:
    """Characters that are not printable become question marks."""
    assert one_line(text, limit) == line


@given(st.text(), st.integers(1, 300))
def test_one_line_is_short_and_printable(text: str, limit: int) -> None:
    """External text cannot control a terminal."""
    assert one_line(text, limit).isprintable()
    assert len(one_line(text, limit)) <= limit


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("?AccessKeyId=abc&Signature=d%2Be&x=1", "?AccessKeyId=[hidden]&Signature=[hidden]&x=1"),
        ("signature: abc", "signature: [hidden]"),
        ("407, url='http://user:p4ss@proxy:1'", "407, url='http://[hidden]@proxy:1'"),
        ("https://proxy:1/a@b", "https://proxy:1/a@b"),
        ('{"AccessKeyId":"abc","a":1}', '{"AccessKeyId":"[hidden]","a":1}'),
        ('{"Signature": "abc"}', '{"Signature": "[hidden]"}'),
        ("<a href='?Signature=abc'>", "<a href='?Signature=[hidden]'>"),
        ("?next=%2Fx%3FAccessKeyId%3Dabc", "?next=%2Fx%3FAccessKeyId%3D[hidden]"),
        ("?next=%252Fx%253FSignature%253Dabc x", "?next=%252Fx%253FSignature%253D[hidden] x"),
        ("Signature not valid: Verification failure", "Signature not valid: Verification failure"),
        ("SignatureMethod=HmacSHA256", "SignatureMethod=HmacSHA256"),
        ("plain", "plain"),
    ],
)
def test_redact_removes_authentication_parameters(text: str, redacted: str) -> None:
    """In URLs (also nested), JSON and HTML; HTX's messages about signatures are kept."""
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "encoded",
    [
        "ab+/c=",
        "ab%2B%2Fc%3D",
        "ab%2b%2fc%3d",
        "ab%252B%252Fc%253D",
        "ab%25252B/c=",
        "ab+\\/c=",
        "ab\\u002b\\u002Fc\\u003d",
        "ab&#43;&#47;c&#61;",
        "ab&#x2B;&#x2f;c&#x3D;",
    ],
)
def test_redact_removes_a_secret_in_any_encoding(encoded: str) -> None:
    """Raw, percent-encoded any number of times, JSON-escaped and HTML-escaped."""
    assert redact(f"x{encoded}y{encoded}", ["ab+/c="]) == "x[hidden]y[hidden]"


def test_redact_treats_a_secret_as_literal_text() -> None:
    """Regular expression characters have no special meaning."""
    assert redact("a.c abc a(c", ["a.c", "a(c", ""]) == "[hidden] abc [hidden]"


@given(st.text("abc+/=.-", min_size=1, max_size=8), st.text(max_size=20), st.text(max_size=20))
def test_redact_removes_every_occurrence(secret: str, before: str, after: str) -> None:
    remaining = redact(f"{before}{secret}{after}", [secret]).replace("[hidden]", "")
    assert (
        f"{before}{secret}{after}".count(secret) > remaining.count(secret)
        or secret in before + after
    )


@pytest.mark.parametrize(
    ("query", "secrets"),
    [
        ("", ()),
        ("a=1", ()),
        ("AccessKeyId=a%2Bb", ("a+b",)),
        ("Signature=c%3D", ("c=",)),
        ("AccessKeyId=a&x=1&Signature=b%2F%2B", ("a", "b/+")),
    ],
)
def test_auth_values_returns_the_secrets_of_a_query(query: str, secrets: tuple[str, ...]) -> None:
    """The access key and the signature, decoded; an unsigned query contains neither."""
    assert auth_values(query) == secrets


SECRET = "4F65x5A2bLyMWVQj3Aqp+BQ4w+ivaA7n5O/2SuYtCJ9o="


@pytest.mark.parametrize("secret", [SECRET, SECRET.replace("+", "%252B").replace("/", "%2F")])
def test_excerpt_contains_no_part_of_a_secret_wherever_it_is_cut(secret: str) -> None:
    """Also if much is redacted before it, so that the cut is in what is shown."""
    for shift in range(0, 1400, 3):
        text = " " * shift + f"{secret} " * 60
        shown = excerpt(text, [SECRET])
        assert secret[:8] not in shown
        assert len(shown) <= 200


def test_excerpt_of_a_short_text_is_complete() -> None:
    """It is redacted, and on one line."""
    assert excerpt(f"a\n {SECRET} b", [SECRET]) == "a [hidden] b"


def test_long_text_of_an_exception_is_cut_before_it_is_redacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redacting 16 MB would block the event loop for seconds."""
    lengths: list[int] = []
    original = redaction.redact

    def record(text: str, secrets: Iterable[str]) -> str:
        lengths.append(len(text))
        return original(text, secrets)

    monkeypatch.setattr(redaction, "redact", record)
    shown = describe_error(OSError("//" * 10**6), ["known"])
    assert len(shown) < 250
    assert max(lengths) < 2_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vault down", "OSError: vault down"),
        ("", "OSError"),
        ("vault token s3cr3t", "OSError: vault token [hidden]"),
        ("the token is invalid", "OSError: the token is invalid"),
        ("password='a b'", "OSError: password='[hidden] b'"),
        ("Authorization: Bearer abc", "OSError: Authorization: Bearer [hidden]"),
        ("got AKIDEXAMPLE0123456789", "OSError: got [hidden]"),
        ("https://u:p@vault/x", "OSError: https://[hidden]@vault/x"),
        ("a known one", "OSError: a [hidden] one"),
        ("host='vault.example.com', port=8200", "OSError: host='vault.example.com', port=8200"),
    ],
)
def test_describe_error_keeps_the_cause_and_redacts_secrets(text: str, shown: str) -> None:
    """Known ones, and what looks like one."""
    assert describe_error(OSError(text), ["known"]) == shown


def test_describe_error_of_an_exception_without_text() -> None:
    """Its `__str__` raises."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert describe_error(BrokenError()).endswith("BrokenError")


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>a</p><p>b</p>", "a b"),
        ("<script>a<b</script>c<STYLE>d", "c"),
        ("a<!-- b > c -->d<!-- e", "a d"),
        ("a &amp; b &lt;c&gt; <d", "a & b <c>"),
    ],
)
def test_text_of_page_is_without_markup(page: str, text: str) -> None:
    """Scripts, styles and comments are markup, also those that do not end."""
    assert " ".join(text_of_page(page).split()) == text
