"""Lists: Compute's filters, orders and pages."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubectl_imagecache.sandbox.cloud.errors import invalid_field
from kubectl_imagecache.sandbox.cloud.state import Json

Test = Callable[[Json], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<op><=|>=|!=|[=<>:()])|(?P<word>[^\s()=<>:!"']+))"""
)


def page(items: Iterable[Json], query: Mapping[str, str], most: int = 500) -> tuple[list[Json], str]:
    """What QUERY (filter, orderBy, maxResults, pageToken) selects of ITEMS, and the next page's token or an empty one.

    Raise ApiError 400 for a filter, order or token that makes no sense.
    """
    matches = filter_test(query.get("filter", ""))
    found = _ordered([item for item in items if matches(item)], query.get("orderBy", ""))
    begin = _offset(query.get("pageToken", ""))
    size = _size(query.get("maxResults", ""), most)
    end = begin + size
    return found[begin:end], base64.urlsafe_b64encode(f"at:{end}".encode()).decode() if end < len(found) else ""


def _size(text: str, most: int) -> int:
    if not text:
        return most
    if not text.isdigit() or int(text) > most:
        raise invalid_field("maxResults", text, f"Values must be within the range: [0, {most}]")
    return int(text) or most


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
    except ValueError:
        word, number = "", ""
    if word != "at" or not number.isdigit():
        raise invalid_field("pageToken", token, "The page token is invalid.")
    return int(number)


def _ordered(items: list[Json], order: str) -> list[Json]:
    if order in ("", "name"):
        return sorted(items, key=lambda item: str(item.get("name", "")))
    if order == "creationTimestamp desc":
        return sorted(items, key=lambda item: str(item.get("creationTimestamp", "")), reverse=True)
    raise invalid_field("orderBy", order, "Only 'name' and 'creationTimestamp desc' are supported.")


def filter_test(text: str) -> Test:
    """The test that TEXT, a filter expression, stands for; raise ApiError 400 if it can't be read."""
    tokens = _tokens(text)
    if not tokens:
        return lambda item: True
    test, rest = _any_of(tokens, text)
    if rest:
        raise _unreadable(text)
    return test


def _unreadable(text: str) -> Exception:
    return invalid_field("filter", text, "Invalid list filter expression.")


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise _unreadable(text)
        tokens.append(found[0].strip())
        at = found.end()
    return tokens


def _any_of(tokens: list[str], text: str) -> tuple[Test, list[str]]:
    test, rest = _all_of(tokens, text)
    tests = [test]
    while rest and rest[0] == "OR":
        test, rest = _all_of(rest[1:], text)
        tests.append(test)
    return (lambda item: any(test(item) for test in tests)), rest


def _all_of(tokens: list[str], text: str) -> tuple[Test, list[str]]:
    tests: list[Test] = []
    rest = tokens
    while rest and rest[0] not in (")", "OR"):
        test, rest = _term(rest[1:] if rest[0] == "AND" else rest, text)
        tests.append(test)
    if not tests:
        raise _unreadable(text)
    return (lambda item: all(test(item) for test in tests)), rest


def _term(tokens: list[str], text: str) -> tuple[Test, list[str]]:
    if tokens[:1] == ["NOT"] or tokens[:1] == ["-"]:
        test, rest = _term(tokens[1:], text)
        return (lambda item: not test(item)), rest
    if tokens[:1] == ["("]:
        test, rest = _any_of(tokens[1:], text)
        if rest[:1] != [")"]:
            raise _unreadable(text)
        return test, rest[1:]
    if len(tokens) < 3 or tokens[1] not in _COMPARISONS:
        raise _unreadable(text)
    field, operator, value = tokens[0], tokens[1], _unquote(tokens[2])
    if operator in ("eq", "ne"):
        _check_expression(value, text)
    if field.startswith("-"):
        return (lambda item: not _COMPARISONS[operator](_field(item, field[1:]), value)), tokens[3:]
    return (lambda item: _COMPARISONS[operator](_field(item, field), value)), tokens[3:]


def _check_expression(value: str, text: str) -> None:
    try:
        re.compile(value)
    except re.error as error:
        raise _unreadable(text) from error


def _unquote(token: str) -> str:
    if token[:1] in ("'", '"'):
        return re.sub(r"\\([\\\"'])", r"\1", token[1:-1])
    return token


def _field(item: Json, name: str) -> Any:
    value: Any = item
    for part in name.split("."):
        value = value.get(_unquote(part)) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _wild(pattern: str, value: str) -> bool:
    return bool(re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), value, re.DOTALL))


def _has(value: Any, wanted: str) -> bool:
    if wanted == "*":
        return value is not None
    if isinstance(value, dict | list):
        return wanted in value
    return wanted in _text(value)


def _order(value: Any, wanted: str) -> int:
    text = _text(value)
    if re.fullmatch(r"-?\d+(\.\d+)?", text) and re.fullmatch(r"-?\d+(\.\d+)?", wanted):
        return (float(text) > float(wanted)) - (float(text) < float(wanted))
    return (text > wanted) - (text < wanted)


_COMPARISONS: dict[str, Callable[[Any, str], bool]] = {
    "=": lambda value, wanted: _wild(wanted, _text(value)),
    "!=": lambda value, wanted: not _wild(wanted, _text(value)),
    # `eq` and `ne` take a regular expression that must match the whole value.
    "eq": lambda value, wanted: bool(re.fullmatch(wanted, _text(value))),
    "ne": lambda value, wanted: not re.fullmatch(wanted, _text(value)),
    ":": _has,
    "<": lambda value, wanted: _order(value, wanted) < 0,
    "<=": lambda value, wanted: _order(value, wanted) <= 0,
    ">": lambda value, wanted: _order(value, wanted) > 0,
    ">=": lambda value, wanted: _order(value, wanted) >= 0,
}
