"""What is shown of secrets, and of texts from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.redaction import auth_values, mask_key, one_line, redact


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1", "vf25…"),
        ("0123456789abcdef", "0123…"),
        ("0123456789abcde", "…"),
        ("access", "…"),
        ("", "…"),
    ],
)
def test_four_characters_of_a_long_key_are_shown(key: str, shown: str) -> None:
    """None of a short one: four of them would be too much."""
    assert mask_key(key) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
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
def test_a_text_is_shown_on_one_line(text: str, limit: int, shown: str) -> None:
    """Blanks are folded, what cannot be printed is a question mark, the rest is cut."""
    assert one_line(text, limit) == shown


@given(st.text(), st.integers(1, 300))
def test_what_is_shown_is_short_and_printable(text: str, limit: int) -> None:
    """Whatever comes from outside, no terminal obeys it."""
    assert one_line(text, limit).isprintable()
    assert len(one_line(text, limit)) <= limit


@pytest.mark.parametrize(
    ("text", "clean"),
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
def test_parameters_of_the_authentication_are_hidden(text: str, clean: str) -> None:
    """In a URL, nested or not, in JSON, in HTML; what HTX says of signatures is not."""
    assert redact(text) == clean


@pytest.mark.parametrize(
    "form",
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
def test_a_secret_is_hidden_in_any_form(form: str) -> None:
    """Raw, percent-encoded as often as one likes, or as JSON and HTML write it."""
    assert redact(f"x{form}y{form}", ["ab+/c="]) == "x[hidden]y[hidden]"


def test_a_secret_is_text_not_a_pattern() -> None:
    """Characters with a meaning in patterns have none here; other text stays."""
    assert redact("a.c abc a(c", ["a.c", "a(c", ""]) == "[hidden] abc [hidden]"


@given(st.text("abc+/=.-", min_size=1, max_size=8), st.text(max_size=20), st.text(max_size=20))
def test_no_secret_stays(secret: str, before: str, after: str) -> None:
    """Wherever it stands, it is gone."""
    left = redact(f"{before}{secret}{after}", [secret]).replace("[hidden]", "")
    assert f"{before}{secret}{after}".count(secret) > left.count(secret) or secret in before + after


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
def test_what_of_a_query_is_secret(query: str, secrets: tuple[str, ...]) -> None:
    """The access key and the signature, decoded; an unsigned query has neither."""
    assert auth_values(query) == secrets
