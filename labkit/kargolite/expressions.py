"""Kargo's expressions, `${{ … }}` in strings: a subset of expr-lang, with Kargo's rules for the type of the result."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

Function = Callable[..., Any]

_DELIMITERS = (("${{", "}}"), ("${%", "%}"))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_ELSEWHERE = frozenset(
    {
        "artifactFrom",
        "chartFrom",
        "commitFrom",
        "configMap",
        "freightMetadata",
        "semverDiff",
        "semverParse",
        "sharedConfigMap",
        "sharedSecret",
        "stageMetadata",
    }
)


class ExpressionError(Exception):
    """An expression cannot be read or evaluated."""


class TextMap(dict[str, str]):
    """A Go `map[string]string` in an expression: what is missing reads as ""."""


@dataclass(frozen=True)
class Record:
    """A Go struct in an expression: unlike a map's, its fields are fixed."""

    kind: str
    fields: Mapping[str, Any]


def evaluate_values(value: Any, names: Mapping[str, Any], functions: Mapping[str, Function]) -> Any:
    """Evaluate every expression in a JSON value; keys stay as they are.

    Args:
        value: Maps, lists and scalars.
        names: The variables that expressions may use.
        functions: The functions that expressions may call, beside the built-in ones.

    Raises:
        ExpressionError: An expression cannot be read or evaluated.
    """
    if isinstance(value, dict):
        return {key: evaluate_values(item, names, functions) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluate_values(item, names, functions) for item in value]
    return evaluate_template(value, names, functions) if isinstance(value, str) else value


def evaluate_template(template: str, names: Mapping[str, Any], functions: Mapping[str, Function]) -> Any:
    """Evaluate a string with expressions in it.

    As in Kargo, the result is a number, a boolean, a list, a map or null where the text reads as one; `quote(…)`
    keeps it a string. A string without expressions is returned as it is.

    Raises:
        ExpressionError: An expression cannot be read or evaluated.
    """
    if not any(start in template for start, _ in _DELIMITERS):
        return template
    return _typed("".join(_pieces(template, names, functions)))


def evaluate_expression(text: str, names: Mapping[str, Any], functions: Mapping[str, Function]) -> Any:
    """Evaluate one expression, given without delimiters.

    Raises:
        ExpressionError: It cannot be read or evaluated.
    """
    return _Evaluation(names, {**_BUILT_IN, **functions}).of(_parsed(text))


def _pieces(template: str, names: Mapping[str, Any], functions: Mapping[str, Function]) -> list[str]:
    pieces: list[str] = []
    rest = template
    while True:
        starts = [(rest.find(start), start, end) for start, end in _DELIMITERS if start in rest]
        if not starts:
            return [*pieces, rest]
        at, start, end = min(starts)
        stop = rest.find(end, at + len(start))
        if stop < 0:
            raise ExpressionError(f'unclosed expression: expected "{end}" but reached end of template')
        value = evaluate_expression(rest[at + len(start) : stop], names, functions)
        pieces += [rest[:at], value if isinstance(value, str) else _json(value)]
        rest = rest[stop + len(end) :]


def _typed(text: str) -> Any:
    bare = text.removesuffix("\n")
    newline = text[len(bare) :]
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        return bare[1:-1] + newline
    if _NUMBER.fullmatch(bare):
        number = float(bare)
        return int(number) if number.is_integer() else number
    if bare in _BOOLEANS:
        return _BOOLEANS[bare]
    try:
        return json.loads(bare)
    except ValueError:
        return text


def _json(value: Any) -> str:
    if isinstance(value, Record):
        value = {key[0].lower() + key[1:]: item for key, item in value.fields.items() if item}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"json: unsupported value: {value}")
        if value.is_integer():
            value = int(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return {key[0].lower() + key[1:]: item for key, item in value.fields.items() if item}
    raise ExpressionError(f"json: unsupported type: {type(value).__name__}")


@cache
def _grammar() -> Lark:
    return Lark.open("expressions.lark", rel_to=__file__, parser="lalr")


@cache
def _parsed(text: str) -> Tree[Token] | Token:
    try:
        return _grammar().parse(text)
    except UnexpectedInput as error:
        where = f" ({error.line}:{error.column})" if error.line > 0 else ""
        raise ExpressionError(f"expression {text.strip()!r} cannot be read{where}") from error


class _Evaluation:
    """One evaluation of a parsed expression; conditions and alternatives are evaluated only where needed."""

    def __init__(self, names: Mapping[str, Any], functions: Mapping[str, Function]) -> None:
        self._names = names
        self._functions = functions

    def of(self, node: Any) -> Any:
        rule = getattr(self, f"_{node.data}")
        return rule(*node.children)

    def _choose(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return self.of(then if _boolean(self.of(condition)) else otherwise)

    def _either(self, left: Any, right: Any) -> bool:
        return _boolean(self.of(left)) or _boolean(self.of(right))

    def _both(self, left: Any, right: Any) -> bool:
        return _boolean(self.of(left)) and _boolean(self.of(right))

    def _fallback(self, left: Any, right: Any) -> Any:
        value = self.of(left)
        return self.of(right) if value is None else value

    def _compare(self, left: Any, operator: Token, right: Any) -> bool:
        negated = operator.startswith("not")
        result = _COMPARISONS[operator.split()[-1]](self.of(left), self.of(right))
        return result != negated

    def _arithmetic(self, left: Any, operator: Token, right: Any) -> Any:
        return _calculate(str(operator), self.of(left), self.of(right))

    def _negate(self, operand: Any) -> bool:
        return not _boolean(self.of(operand))

    def _signed(self, sign: Token, operand: Any) -> Any:
        value = _number(self.of(operand))
        return -value if sign == "-" else value

    def _member(self, owner: Any, name: Token) -> Any:
        return _fetch(self.of(owner), str(name))

    def _optional_member(self, owner: Any, name: Token) -> Any:
        value = self.of(owner)
        return None if value is None else _fetch(value, str(name))

    def _index(self, owner: Any, index: Any) -> Any:
        return _fetch(self.of(owner), self.of(index))

    def _call(self, target: Any, arguments: Any) -> Any:
        name = str(target.children[0]) if target.data == "name" else ""
        if name not in self._functions:
            if name in _ELSEWHERE:
                raise ExpressionError(f"function {name} is not part of kargolite; the genuine Kargo engine has it")
            where = f" ({target.children[0].line}:{target.children[0].column})" if name else ""
            raise ExpressionError(f"invalid operation: cannot call nil{where}")
        values = [self.of(argument) for argument in arguments.children] if arguments else []
        try:
            return self._functions[name](*values)
        except (TypeError, ValueError, AttributeError) as error:
            raise ExpressionError(f"{name}: {error}") from error

    def _number(self, token: Token) -> Any:
        return int(token) if token.isdecimal() else float(token)

    def _string(self, token: Token) -> str:
        return _unescaped(token)

    def _raw_string(self, token: Token) -> str:
        return str(token)[1:-1]

    def _true(self) -> bool:
        return True

    def _false(self) -> bool:
        return False

    def _nil(self) -> None:
        return None

    def _name(self, token: Token) -> Any:
        return self._names.get(str(token))

    def _array(self, arguments: Any) -> list[Any]:
        return [self.of(argument) for argument in arguments.children] if arguments else []

    def _map(self, *pairs: Any) -> dict[str, Any]:
        return {_key(pair.children[0]): self.of(pair.children[1]) for pair in pairs if pair}


def _key(token: Token) -> str:
    return _unescaped(token) if token.type == "STRING" else str(token)


def _unescaped(token: Token) -> str:
    body = re.sub(
        r"\\(.)|\"",
        lambda found: {"'": "'", None: '\\"'}.get(found[1], found[0]),
        str(token)[1:-1],
    )
    try:
        return str(json.loads(f'"{body}"', strict=False))
    except ValueError as error:
        raise ExpressionError(f"{token} is no string") from error


def _fetch(owner: Any, name: Any) -> Any:
    if isinstance(owner, Record) and name in owner.fields:
        return owner.fields[name]
    if isinstance(owner, Mapping):
        return owner.get(name, "" if isinstance(owner, TextMap) else None)
    if isinstance(owner, (list, str)) and isinstance(name, int) and not isinstance(name, bool):
        if -len(owner) <= name < len(owner):
            return owner[name]
        raise ExpressionError(f"index out of range: {name} (array length is {len(owner)})")
    shown = "<nil>" if owner is None else getattr(owner, "kind", type(owner).__name__)
    raise ExpressionError(f"cannot fetch {name} from {shown}")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"expected a boolean, got {_shown(value)}")


def _number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ExpressionError(f"expected a number, got {_shown(value)}")


def _shown(value: Any) -> str:
    return "<nil>" if value is None else f"{value!r}"


def _calculate(operator: str, left: Any, right: Any) -> Any:
    if operator == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    if operator == "+" and isinstance(left, str) != isinstance(right, str):
        raise ExpressionError(f"invalid operation: {_shown(left)} + {_shown(right)}")
    first, second = _number(left), _number(right)
    if operator in "/%" and second == 0:
        raise ExpressionError("integer divide by zero" if operator == "%" else "division by zero")
    if operator == "%":
        return int(math.fmod(first, second))
    return {"+": first + second, "-": first - second, "*": first * second}.get(
        operator, first / second if second else 0
    )


def _equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return test(left, right)
        return test(_number(left), _number(right))

    return compare


def _contained(left: Any, right: Any) -> bool:
    if isinstance(right, Mapping):
        return left in right
    if isinstance(right, list):
        return any(_equal(left, item) for item in right)
    raise ExpressionError(f"operator in cannot be used with {_shown(right)}")


def _on_text(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return test(left, right)
        raise ExpressionError(f"expected two strings, got {_shown(left)} and {_shown(right)}")

    return compare


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    ">": _ordered(lambda left, right: left > right),
    "<=": _ordered(lambda left, right: left <= right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": _contained,
    "contains": _on_text(lambda left, right: right in left),
    "startsWith": _on_text(str.startswith),
    "endsWith": _on_text(str.endswith),
    "matches": _on_text(lambda left, right: re.search(right, left) is not None),
}


def _quote(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f'"{_json(value)}"'


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


_BUILT_IN: dict[str, Function] = {
    "quote": _quote,
    "unsafeQuote": lambda value: f'"{_json(value)}"',
    "asJSON": lambda value: f'"{json.dumps(value, indent=2, ensure_ascii=False)}\n"',
    "asYAML": lambda value: f'"{yaml.safe_dump(value, sort_keys=True)}"',
    "len": len,
    "upper": str.upper,
    "lower": str.lower,
    "trim": str.strip,
    "split": str.split,
    "join": lambda items, separator="": separator.join(items),
    "replace": str.replace,
    "hasPrefix": str.startswith,
    "hasSuffix": str.endswith,
    "string": _as_text,
    "int": int,
    "float": float,
}
