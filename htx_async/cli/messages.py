"""What is printed for an error: its cause and the next command, on one line, without Python."""

from __future__ import annotations

import re

from cyclopts import CoercionError, CycloptsError, UnknownCommandError, UnusedCliTokensError

from htx_async import (
    AccountNotFoundError,
    AuthenticationError,
    DeadlineExceededError,
    HTXError,
    InvalidInputError,
    RateLimitedError,
    ServiceUnavailableError,
    TransportError,
)

_PYTHON = (
    (r"Pass transport=.* or use an HTTP proxy", "Use an HTTP proxy"),
    (r"Pass a private key to Credentials\.ed25519\(\), or set it", "Set a private key"),
    (r" \((attempt_timeout|max_body|timeout)\)", ""),
    (r"\bsub_uid\b", "--sub-uid"),
    (r"\bvaluation_currency\b", "--currency"),
    (r"\baccount_type\b", "ACCOUNT_TYPE"),
)
"""Advice and names for programs, and those for users of the command."""

_NEXT: tuple[tuple[type[HTXError] | tuple[type[HTXError], ...], str], ...] = (
    (AccountNotFoundError, "See htx-async accounts"),
    (RateLimitedError, "See htx-async limits"),
    (
        (AuthenticationError, DeadlineExceededError, ServiceUnavailableError, TransportError),
        "Run htx-async doctor",
    ),
)
_VARIABLE = r"\b[A-Z]+_[A-Z_]+\b"
_NUMBERS = {int: "a whole number", float: "a number"}


def without_python(error: HTXError) -> str:
    """Return the text of *error* with advice for users of the command."""
    text = str(error)
    for pattern, replacement in _PYTHON:
        text = re.sub(pattern, replacement, text)
    return text


def describe(error: HTXError, command: str) -> str:
    """Return the text of an error of *command*, such as `htx-async balance`, and what to run."""
    text = without_python(error)
    following = next((following for kind, following in _NEXT if isinstance(error, kind)), "")
    if isinstance(error, InvalidInputError):
        is_setting = re.search(_VARIABLE, text)
        following = "Run htx-async doctor" if is_setting else f"See {command} --help"
    return f"{text.rstrip('.')}. {following}" if following else text


def describe_usage(error: CycloptsError, commands: list[str]) -> str:
    """Return what is wrong with the command line, and the command that prints the help."""
    tokens = " ".join(error.unused_tokens or ())
    text = " ".join(str(error).split())
    if isinstance(error, UnknownCommandError):
        text = f"unknown command: {tokens.split()[0]}. Commands: {', '.join(commands)}."
    elif isinstance(error, UnusedCliTokensError):
        text = f"unexpected argument: {tokens}."
    elif isinstance(error, CoercionError) and error.token and error.target_type in _NUMBERS:
        kind = _NUMBERS[error.target_type]
        text = f"{error.token.keyword} must be {kind}, got {error.token.value}."
    return f"{text} See {' '.join(('htx-async', *(error.command_chain or ()), '--help'))}"
