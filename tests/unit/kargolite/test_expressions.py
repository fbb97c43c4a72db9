"""Expressions: values, types of results, and what is answered to what cannot be read."""

import contextlib
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.kargolite.expressions import (
    ExpressionError,
    Record,
    TextMap,
    evaluate_expression,
    evaluate_template,
    evaluate_values,
)

IMAGE = Record("Image", {"RepoURL": "r/lab/frontend", "Tag": "1.0.0", "Annotations": TextMap({"revision": "abc"})})
NAMES = {
    "ctx": {"stage": "dev"},
    "vars": {"count": 3, "name": "x"},
    "outputs": {"open-pr": {"pr": {"id": 7}}, "set": {"commitMessage": "Updated\n\n- a:1"}},
}
FUNCTIONS = {
    "imageFrom": lambda url: IMAGE if url == "r/lab/frontend" else None,
    "secret": lambda name: TextMap({"password": "p"} if name == "gitea" else {}),
    "fails": lambda: (_ for _ in ()).throw(ExpressionError("must not be called")),
}


def evaluate(template):
    return evaluate_template(template, NAMES, FUNCTIONS)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("no expression", "no expression"),
        ("${{ imageFrom('r/lab/frontend').Tag }}", "1.0.0"),
        ("${{ imageFrom('r/lab/frontend').Annotations['revision'] }}", "abc"),
        ("${{ imageFrom('r/lab/frontend').Annotations['missing'] }}", ""),
        ("http://bot:${{ secret('gitea').password }}@host", "http://bot:p@host"),
        ("${{ secret('none').password }}", ""),
        ("${{ outputs['open-pr'].pr.id }}", 7),
        ("${{ quote(outputs['open-pr'].pr.id) }}", "7"),
        ("PR ${{ outputs['open-pr'].pr.id }}!", "PR 7!"),
        ("${{ outputs.set.commitMessage }}", "Updated\n\n- a:1"),
        ("${{ outputs.nothing }}", None),
        ("${{ outputs.nothing?.more }}", None),
        ("${{ outputs.nothing ?? 'else' }}", "else"),
        ("${{ ctx.stage == 'dev' }}", True),
        ("${{ quote(ctx.stage == 'dev') }}", "true"),
        ("${{ ctx.stage == 'dev' ? 'yes' : 'no' }}", "yes"),
        ("${{ ctx.stage != 'dev' && fails() }}", False),
        ("${{ ctx.stage == 'dev' || fails() }}", True),
        ("${{ !(1 < 2) or not true }}", False),
        ("${{ 'pre' in ['dev', 'pre'] }}", True),
        ("${{ 'prod' not in ['dev', 'pre'] }}", True),
        ("${{ 'stage/dev' startsWith 'stage/' and '1.0.0' matches '^[0-9.]+$' }}", True),
        ("${{ vars.count + 1 }}", 4),
        ("${{ vars.count / 2 }}", 1.5),
        ("${{ 'v' + vars.name }}", "vx"),
        ("${{ {tier: 'web', ports: [80, 443]} }}", {"tier": "web", "ports": [80, 443]}),
        ("${{ `raw \\n` }}", "raw \\n"),
        ("${{ 'it\\'s \"so\"' }}", 'it\'s "so"'),
        ("${% ctx.stage %}", "dev"),
        ("1${{ vars.count }}", 13),
        ("${{ upper('a') + trim(' b ') }}", "Ab"),
    ],
)
def test_values_and_their_types(template, value):
    result = evaluate(template)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${{ ctx.stage", "unclosed expression"),
        ("${{ a( }}", "cannot be read"),
        ("${{ outputs.nothing.more }}", "cannot fetch more from <nil>"),
        ("${{ imageFrom('other').Tag }}", "cannot fetch Tag from <nil>"),
        ("${{ imageFrom('r/lab/frontend').Version }}", "cannot fetch Version from Image"),
        ("${{ nope() }}", "invalid operation: cannot call nil (1:2)"),
        ("${{ commitFrom('x').ID }}", "function commitFrom is not part of kargolite; the genuine Kargo engine has it"),
        ("${{ 1 ? 2 : 3 }}", "expected a boolean"),
        ("${{ 'a' + 1 }}", "invalid operation"),
        ("${{ 1 / 0 }}", "division by zero"),
        ("${{ ctx.stage[9] }}", "index out of range"),
    ],
)
def test_errors_name_what_is_wrong(template, message):
    with pytest.raises(ExpressionError, match=re.escape(message)):
        evaluate(template)


def test_only_values_are_evaluated_not_keys():
    config = {"${{ ctx.stage }}": ["${{ vars.count }}", {"deep": "${{ ctx.stage }}"}, 5, None]}
    assert evaluate_values(config, NAMES, FUNCTIONS) == {"${{ ctx.stage }}": [3, {"deep": "dev"}, 5, None]}


@given(st.text().filter(lambda text: "${{" not in text and "${%" not in text))
def test_text_without_expressions_stays_as_it_is(text):
    assert evaluate(text) == text


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=30))
def test_string_literals_mean_what_they_say(text):
    literal = json.dumps(text, ensure_ascii=False)
    assert evaluate_expression(literal, {}, {}) == text


@given(st.integers(min_value=-(2**53), max_value=2**53) | st.booleans())
def test_whole_expressions_keep_their_type_and_quote_makes_them_strings(value):
    names = {"value": value}
    result = evaluate_template("${{ value }}", names, {})
    assert result == value
    assert type(result) is type(value)
    assert evaluate_template("${{ quote(value) }}", names, {}) == json.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(min_value=1, max_value=1e6, width=32))
def test_arithmetic_is_arithmetic(left, right):
    names = {"left": left, "right": right}
    assert math.isclose(evaluate_expression("left / right", names, {}), left / right)
    assert evaluate_expression("left < right", names, {}) == (left < right)
    assert evaluate_expression("-left + right", names, {}) == -left + right


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("ab c", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1), _JSON, min_size=1) | st.lists(_JSON, min_size=1))
def test_lists_and_maps_come_back_as_they_were(value):
    assert evaluate_template("${{ value }}", {"value": value}, {}) == value


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ExpressionError):
        evaluate_expression(text, NAMES, FUNCTIONS)
