"""kubectl's JSONPath templates (k8s.io/client-go/util/jsonpath) over plain documents."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.core.errors import BadUsage

# https://kubernetes.io/docs/reference/kubectl/jsonpath/
Step = Callable[[list[Any]], list[Any]]
"""One step of a path: from the values so far to the next."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_NAME = re.compile(r"(?:\\.|[^\\\s.\[\]{}()'\",:=!<>?@$*])+")
_QUOTED = re.compile(r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_SLICE = re.compile(r"([+-]?\d*)(?::([+-]?\d*))?(?::([+-]?\d*))?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True, slots=True)
class Path:
    """An expression that finds values; starts at the root or at the current value."""

    steps: tuple[Step, ...]
    from_root: bool = False

    def find(self, current: Any, root: Any) -> list[Any]:
        """The values that the path leads to; missing keys lead to none."""
        values = [root if self.from_root else current]
        for step in self.steps:
            values = step(values)
        return values


@dataclass(frozen=True, slots=True)
class Range:
    """`{range PATH}…{end}`."""

    over: Path
    body: tuple[Text | Path | Range, ...]


Node = Text | Path | Range


def parse_template(template: str) -> tuple[Node, ...]:
    """Parse a template such as `{range .pools[*]}{.name}{"\\n"}{end}`; raise BadUsage where it is wrong."""
    nodes, rest = _nodes(_pieces(template), template, inside=False)
    if next(rest, None) is not None:
        raise _bad(template, "{end} without {range}")
    return nodes


def parse_path(text: str) -> Path:
    """Parse one path as custom-columns has it: `.name`, `name` or `{.name}`; raise BadUsage where it is wrong."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    inner = inner if inner[:1] in (".", "[", "$", "@") else f".{inner}"
    return _Parser(inner, text).path()


def render(template: str, document: Any) -> str:
    """TEMPLATE filled from DOCUMENT; raise BadUsage where the template is wrong."""
    return "".join(_filled(parse_template(template), document, document))


def as_text(value: Any) -> str:
    """One value as kubectl prints it: strings bare, objects and arrays as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def _filled(nodes: Iterable[Node], current: Any, root: Any) -> Iterator[str]:
    for node in nodes:
        match node:
            case Text(text):
                yield text
            case Path():
                yield " ".join(as_text(value) for value in node.find(current, root))
            case Range(over, body):
                for value in over.find(current, root):
                    yield from _filled(body, value, root)


def _bad(template: str, why: str) -> BadUsage:
    return BadUsage(f"bad jsonpath {template!r}: {why}", "see https://kubernetes.io/docs/reference/kubectl/jsonpath/")


def _pieces(template: str) -> Iterator[tuple[bool, str]]:
    """The template cut at its braces: (is it an action, its text). Quotes inside braces may hold braces."""
    at = 0
    while at < len(template):
        opened = template.find("{", at)
        if opened < 0:
            yield False, template[at:]
            return
        if opened > at:
            yield False, template[at:opened]
        end = opened + 1
        while end < len(template) and template[end] != "}":
            quoted = _QUOTED.match(template, end)
            end = quoted.end() if quoted else end + 1
        if end >= len(template):
            raise _bad(template, "a { is not closed")
        yield True, template[opened + 1 : end].strip()
        at = end + 1


def _nodes(
    pieces: Iterator[tuple[bool, str]], template: str, inside: bool
) -> tuple[tuple[Node, ...], Iterator[tuple[bool, str]]]:
    found: list[Node] = []
    for is_action, text in pieces:
        if not is_action:
            found.append(Text(text))
        elif text == "end":
            if not inside:
                raise _bad(template, "{end} without {range}")
            return tuple(found), pieces
        elif re.match(r"range\b", text):
            over = _Parser(text.removeprefix("range").strip(), template).path()
            body, _ = _nodes(pieces, template, inside=True)
            found.append(Range(over, body))
        else:
            found.extend(_Parser(text, template).action())
    if inside:
        raise _bad(template, "{range} without {end}")
    return tuple(found), pieces


def _unquote(match: re.Match[str]) -> str:
    body = match[1] if match[1] is not None else match[2]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), body)


class _Parser:
    """A cursor over one action's text."""

    def __init__(self, text: str, template: str) -> None:
        self.text, self.template, self.at = text, template, 0

    def action(self) -> list[Node]:
        nodes: list[Node] = []
        while self.at < len(self.text):
            if self.text[self.at].isspace():
                self.at += 1
            elif quoted := self._take(_QUOTED):
                nodes.append(Text(_unquote(quoted)))
            elif literal := self._take(re.compile(rf"(?:{_NUMBER.pattern}|true|false)(?![\w.])")):
                nodes.append(Text(literal[0]))
            else:
                nodes.append(self._path())
        return nodes

    def path(self) -> Path:
        found = self._path()
        if self.at < len(self.text):
            raise self._error()
        return found

    def _path(self) -> Path:
        steps: list[Step] = []
        from_root = self.text[self.at : self.at + 1] in ("$",)
        if self.text[self.at : self.at + 1] in ("$", "@"):
            self.at += 1
        elif self.text[self.at : self.at + 1] not in (".", "["):
            raise self._error()
        while self.at < len(self.text) and self.text[self.at] in ".[":
            steps.append(self._bracket() if self.text[self.at] == "[" else self._dot())
        return Path(tuple(steps), from_root)

    def _dot(self) -> Step:
        if self.text.startswith("..", self.at):
            self.at += 2
            if self.text[self.at : self.at + 1] == "[":
                return _descend
            return _then(_descend, self._named())
        self.at += 1
        if self.at == len(self.text) or self.text[self.at] == "[":
            return _same
        return self._named()

    def _named(self) -> Step:
        if self.text[self.at : self.at + 1] == "*":
            self.at += 1
            return _children
        name = self._take(_NAME)
        if name is None:
            raise self._error()
        return _field(re.sub(r"\\(.)", r"\1", name[0]))

    def _bracket(self) -> Step:
        self.at += 1
        if self.text.startswith("?(", self.at):
            return self._filter()
        steps = [self._subscript()]
        while self.text[self.at : self.at + 1] == ",":
            self.at += 1
            steps.append(self._subscript())
        self._expect("]")
        return _union(steps)

    def _subscript(self) -> Step:
        self._skip()
        if self.text[self.at : self.at + 1] == "*":
            self.at += 1
            step: Step = _children
        elif quoted := self._take(_QUOTED):
            step = _field(_unquote(quoted))
        else:
            found = self._take(_SLICE)
            if found is None or not found[0]:
                raise self._error()
            step = _slice(found) if ":" in found[0] else _index(int(found[1]))
        self._skip()
        return step

    def _filter(self) -> Step:
        self.at += 2
        left = self._operand()
        self._skip()
        if self.text[self.at : self.at + 1] == ")":
            self.at += 1
            self._expect("]")
            return _existing(left)
        compare = next((sign for sign in _COMPARE if self.text.startswith(sign, self.at)), None)
        if compare is None:
            raise self._error()
        self.at += len(compare)
        right = self._operand()
        self._expect(")")
        self._expect("]")
        return _matching(left, _COMPARE[compare], right)

    def _operand(self) -> Path | Text | float | bool:
        self._skip()
        if quoted := self._take(_QUOTED):
            return Text(_unquote(quoted))
        if word := self._take(re.compile(r"(true|false)\b")):
            return word[0] == "true"
        if digits := self._take(_NUMBER):
            return float(digits[0])
        return self._path()

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def _skip(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def _expect(self, sign: str) -> None:
        self._skip()
        if self.text[self.at : self.at + 1] != sign:
            raise self._error()
        self.at += 1

    def _error(self) -> BadUsage:
        rest = self.text[self.at :] or "the end"
        return _bad(self.template, f"can't read {rest!r}")


def _same(values: list[Any]) -> list[Any]:
    return values


def _children(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return found


def _descend(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found.append(value)
        if isinstance(value, dict | list):
            found.extend(_descend(_children([value])))
    return found


def _then(first: Step, second: Step) -> Step:
    return lambda values: second(first(values))


def _union(steps: list[Step]) -> Step:
    return lambda values: [found for value in values for step in steps for found in step([value])]


def _field(name: str) -> Step:
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _index(at: int) -> Step:
    return lambda values: [v[at] for v in values if isinstance(v, list) and -len(v) <= at < len(v)]


def _slice(match: re.Match[str]) -> Step:
    start, stop, step = (int(part) if part else None for part in match.groups())
    return lambda values: [found for v in values if isinstance(v, list) for found in v[start : stop : step or None]]


def _existing(left: Path | Text | float | bool) -> Step:
    def keep(values: list[Any]) -> list[Any]:
        return [item for item in _children(values) if isinstance(left, Path) and left.find(item, item)]

    return keep


def _matching(
    left: Path | Text | float | bool, compare: Callable[[Any, Any], bool], right: Path | Text | float | bool
) -> Step:
    def values_of(operand: Path | Text | float | bool, item: Any) -> list[Any]:
        if isinstance(operand, Path):
            return operand.find(item, item)
        return [operand.text if isinstance(operand, Text) else operand]

    def holds(item: Any) -> bool:
        for a in values_of(left, item)[:1]:
            for b in values_of(right, item)[:1]:
                if isinstance(a, str) == isinstance(b, str) and a is not None and b is not None:
                    return compare(a, b)
        return False

    return lambda values: [item for item in _children(values) if holds(item)]
