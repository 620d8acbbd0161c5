"""Neptune's query language: text to a test of a run.

    expression := conjunction ("OR" conjunction)*
    conjunction := negation ("AND" negation)*
    negation := "NOT" negation | "(" expression ")" | predicate
    predicate := attribute ("EXISTS" | operator value)
    attribute := name [":" type] | aggregate "(" attribute ")"
    name := "`name`" | bare word
    operator := = == != > >= < <= ["NOT"] "MATCHES" ["NOT"] "CONTAINS"
    value := "text" | 'text' | bare word

One language for both protocols: 3.x writes ==, 2.x =, and 2.x names some types otherwise
(experimentState, integer). Its bare words and single quotes are asserted by the vendor's tests;
that NOT and MATCHES mean the same in 2.x is assumed.

Semantics that Neptune's own end-to-end tests assert: EXISTS needs the right type; a string series
compares its last value; a float series the aggregate, by default the last; CONTAINS is a
substring of a string and a member of a set; NOT CONTAINS holds for a run without the attribute;
histogram and file series cannot be asked for. That != and NOT MATCHES hold for a run without the
attribute, too, is assumed. A value of another type than the query names counts as absent.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .series import FloatSeries, ObjectSeries
from .store import Run
from .types3 import WIRE_TYPES

Predicate = Callable[[Run], bool]
AGGREGATES = {
    "last": "last",
    "min": "minimum",
    "max": "maximum",
    "average": "average",
    "variance": "variance",
}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<name>`[^`]*`)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<operator>==|!=|>=|<=|=|>|<|\(|\)|:)
    | (?P<word>[^\s()`"':=!<>][^\s()`":=!<>]*)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ARCHIVE_TYPES = {wire: name for name, wire in WIRE_TYPES.items()} | {
    "integer": "int",
    "boolean": "bool",
    "experimentState": "run_state",
    "artifact": "artifact",
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_TEXTS = frozenset({"string", "string_series", "run_state", "artifact"})
_NEVER_ASKED = frozenset({"histogram_series", "file_series"})


class NqlError(ValueError):
    """The query cannot be understood; the message says where or why."""


class Token(NamedTuple):
    """A word of a query; `joined` when nothing stands between it and the one before."""

    kind: str
    text: str
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute as a query names it: archive's type or None, aggregate of a float series."""

    name: str
    type: str | None = None
    aggregate: str = "last"

    def value(self, run: Run) -> Any:
        """The value to compare; None when the run has none of this type."""
        found = run.lookup(self.name)
        if found is None or (self.type is not None and found.type != self.type):
            return None
        if isinstance(found.value, FloatSeries):
            aggregates = found.value.aggregates()
            return None if aggregates is None else getattr(aggregates, AGGREGATES[self.aggregate])
        if isinstance(found.value, ObjectSeries):
            return found.value.values[-1] if len(found.value) else None
        return found.value

    def typed(self, run: Run) -> str | None:
        """The type of the attribute in this run."""
        found = run.lookup(self.name)
        return None if found is None else found.type


def compile_query(query: str) -> Predicate:
    """A test of runs. NqlError when the text is not NQL, a value does not fit, or a regex is bad.

    >>> compile_query('(`lr`:float > "0.1") AND (`sys/tags`:stringSet CONTAINS "best")')
    """
    parser = _Parser(query)
    predicate = parser.expression()
    parser.expect_end()
    return predicate


def tokens(query: str) -> list[Token]:
    """The words of a query. NqlError when a character fits none."""
    found, at, text = [], 0, query.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NqlError(f"unexpected character at {at}: {text[at : at + 20]!r}")
        kind = match.lastgroup or ""
        found.append(Token(kind, match[kind], joined=match.start(kind) == at))
        at = match.end()
    return found


class _Parser:
    def __init__(self, query: str) -> None:
        self.tokens = tokens(query)
        self.at = 0

    def expression(self) -> Predicate:
        return _any([self.conjunction(), *self.repeated("OR", self.conjunction)])

    def conjunction(self) -> Predicate:
        parts = [self.negation(), *self.repeated("AND", self.negation)]
        return parts[0] if len(parts) == 1 else lambda run: all(part(run) for part in parts)

    def repeated(self, word: str, parse: Callable[[], Predicate]) -> list[Predicate]:
        parts = []
        while self.take("word", word):
            parts.append(parse())
        return parts

    def negation(self) -> Predicate:
        if self.take("word", "NOT"):
            inner = self.negation()
            return lambda run: not inner(run)
        if self.take("operator", "("):
            inner = self.expression()
            self.expect("operator", ")")
            return inner
        return self.predicate()

    def predicate(self) -> Predicate:
        field = self.field()
        if field.type in _NEVER_ASKED:
            raise NqlError(f"attributes of type {WIRE_TYPES[field.type]} are not supported in NQL")
        if self.take("word", "EXISTS"):
            return lambda run: field.value(run) is not None
        negated = self.take("word", "NOT")
        if self.take("word", "MATCHES"):
            sign = "MATCHES"
        elif self.take("word", "CONTAINS"):
            sign = "CONTAINS"
        elif not negated:
            sign = self.expect("operator").text.replace("==", "=")
        else:
            raise NqlError("NOT is followed by MATCHES or CONTAINS")
        test = _comparison(field, sign, self.value())
        return (lambda run: not test(run)) if negated else test

    def field(self) -> Field:
        token = self.next()
        if token.kind == "word" and token.text.lower() in AGGREGATES:
            self.expect("operator", "(")
            inner = self.field()
            self.expect("operator", ")")
            return Field(inner.name, inner.type, token.text.lower())
        if token.kind not in ("name", "word"):
            raise NqlError(f"expected an attribute, found {token.text!r}")
        name = token.text[1:-1] if token.kind == "name" else token.text
        if not self.take("operator", ":"):
            return Field(name)
        wire = self.expect("word").text
        if wire not in _ARCHIVE_TYPES:
            raise NqlError(f"unknown attribute type {wire!r}")
        return Field(name, _ARCHIVE_TYPES[wire])

    def value(self) -> str:
        """A literal; a bare one, such as 2024-01-01T12:00:00Z, goes on to a space or bracket."""
        token = self.next()
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        if token.kind != "word":
            raise NqlError(f"expected a value, found {token.text!r}")
        text = token.text
        while self.at < len(self.tokens):
            following = self.tokens[self.at]
            if not following.joined or following.text in ("(", ")") or following.kind == "text":
                break
            text += following.text
            self.at += 1
        return text

    def next(self) -> Token:
        if self.at == len(self.tokens):
            raise NqlError("the query ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def take(self, kind: str, text: str) -> bool:
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == kind and token.text.upper() == text:
                self.at += 1
                return True
        return False

    def expect(self, kind: str, text: str | None = None) -> Token:
        token = self.next()
        if token.kind != kind or (text is not None and token.text != text):
            raise NqlError(f"expected {text or kind}, found {token.text!r}")
        return token

    def expect_end(self) -> None:
        if self.at < len(self.tokens):
            raise NqlError(f"unexpected {self.tokens[self.at].text!r} after the end of the query")


class _Equals:
    """`name` == text, kept recognizable: lists of thousands of runs arrive as OR of these."""

    def __init__(self, field: Field, expected: str) -> None:
        self.field = field
        self.expected = expected

    def __call__(self, run: Run) -> bool:
        return bool(self.field.value(run) == self.expected)


def _any(parts: list[Predicate]) -> Predicate:
    if len(parts) == 1:
        return parts[0]
    members: dict[Field, set[str]] = {}
    others = []
    for part in parts:
        if isinstance(part, _Equals):
            members.setdefault(part.field, set()).add(part.expected)
        else:
            others.append(part)

    def test(run: Run) -> bool:
        return any(field.value(run) in known for field, known in members.items()) or any(
            part(run) for part in others
        )

    return test


def _comparison(field: Field, sign: str, literal: str) -> Predicate:
    if sign == "MATCHES":
        return _matching(field, literal)
    if sign == "CONTAINS":
        return lambda run: isinstance(v := field.value(run), str | tuple) and literal in v
    if sign not in _OPERATORS:
        raise NqlError(f"unknown operator {sign!r}")
    if sign == "=" and field.type in _TEXTS:
        return _Equals(field, literal)
    expected = None if field.type is None else _literal(field.type, literal)
    compare = _OPERATORS[sign]

    def test(run: Run) -> bool:
        value = field.value(run)
        if not isinstance(value, str | int | float | tuple):
            return sign == "!="
        try:
            other = _literal(field.typed(run) or "", literal) if expected is None else expected
        except NqlError:
            return sign == "!="
        if isinstance(value, tuple):
            return (value == (other,)) == (sign == "=") and sign in ("=", "!=")
        return bool(compare(value, other))

    return test


def _matching(field: Field, pattern: str) -> Predicate:
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise NqlError(f"bad regular expression {pattern!r}: {error}") from error
    return lambda run: isinstance(v := field.value(run), str) and search(v) is not None


def _literal(type_: str, text: str) -> Any:
    """The value a literal stands for; datetimes are instants in milliseconds."""
    try:
        if type_ == "int":
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        if type_ in ("float", "float_series"):
            return float(text)
        if type_ == "bool":
            return {"true": True, "false": False}[text.lower()]
        if type_ == "datetime":
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return round(moment.timestamp() * 1000)
    except (ValueError, KeyError) as error:
        raise NqlError(f"{text!r} is not a value of type {type_}") from error
    return text
