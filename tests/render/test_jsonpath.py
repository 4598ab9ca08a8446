from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.render.jsonpath import parse_path, render

DOCUMENT: dict[str, Any] = {
    "kind": "List",
    "items": [
        {"name": "a", "state": "STALE", "nodes": 3, "labels": {"app.io/x": "1"}, "ok": True, "tags": ["x", "y"]},
        {"name": "b", "state": "FRESH", "nodes": 5, "labels": {"app.io/x": "2"}, "ok": False, "tags": []},
        {"name": "c", "state": "STALE", "nodes": 1.5, "labels": {}, "ok": None, "deep": {"name": "inner"}},
    ],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{.kind}", "List"),
        ("{$.kind}", "List"),
        ("kind={.kind}!", "kind=List!"),
        ("{.items[*].name}", "a b c"),
        ("{.items[0].name}", "a"),
        ("{.items[-1].name}", "c"),
        ("{.items[0:2].name}", "a b"),
        ("{.items[::2].name}", "a c"),
        ("{.items[0,2].name}", "a c"),
        ("{.items[0]['name','state']}", "a STALE"),
        ('{.items[?(@.state=="STALE")].name}', "a c"),
        ("{.items[?(@.state=='STALE')].name}", "a c"),
        ('{.items[?(@.state!="STALE")].name}', "b"),
        ("{.items[?(@.nodes>2)].name}", "a b"),
        ("{.items[?(@.nodes<=1.5)].name}", "c"),
        ("{.items[?(@.ok==true)].name}", "a"),
        ("{.items[?(@.deep)].name}", "c"),
        ("{.items[?(@.deep.name=='inner')].name}", "c"),
        (r"{.items[*].labels.app\.io/x}", "1 2"),
        ("{.items[*].labels['app.io/x']}", "1 2"),
        ("{..name}", "a b c inner"),
        ("{.items[0].*}", 'a STALE 3 {"app.io/x":"1"} true ["x","y"]'),
        ("{.items[2].nodes}", "1.5"),
        ("{.nothing.there}", ""),
        ("{.items[99].name}", ""),
        ('{range .items[*]}{.name}{"\\n"}{end}', "a\nb\nc\n"),
        ('{range .items[*]}{.name}{"\\t"}{range .tags[*]}{@},{end};{end}', "a\tx,y,;b\t;c\t;"),
        ("{range .items[*]}{.name}={$.kind} {end}", "a=List b=List c=List "),
        ("{'a literal {brace}'}", "a literal {brace}"),
        ("{.items[0].name} {.items[1].name}", "a b"),
        ("no action at all", "no action at all"),
    ],
)
def test_templates_print_what_kubectl_prints(template: str, expected: str) -> None:
    assert render(template, DOCUMENT) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{.items",
        "{range .items[*]}{.name}",
        "{end}",
        "{.items[}",
        "{.items[?(@.a ~ 2)]}",
        "{name}",
        "{.items[?(@.a==)]}",
    ],
)
def test_a_wrong_template_is_one_line_of_error(template: str) -> None:
    with pytest.raises(BadUsage) as caught:
        render(template, DOCUMENT)
    assert "\n" not in caught.value.message and repr(template) in caught.value.message


@pytest.mark.parametrize("text", [".name", "name", "{.name}", "$.name"])
def test_custom_columns_take_paths_with_and_without_dressing(text: str) -> None:
    assert parse_path(text).find(DOCUMENT["items"][0], DOCUMENT["items"][0]) == ["a"]


@given(st.text(alphabet="{}[]()?@.*$'\"\\, :=<>!0a-end range", max_size=40))
def test_any_text_is_a_template_or_one_error(template: str) -> None:
    try:
        render(template, DOCUMENT)
    except BadUsage as error:
        assert "\n" not in error.message


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c, max_size=3), max_leaves=9)
)
def test_composite_values_print_as_json(value: Any) -> None:
    text = render("{.x}", {"x": [value]})
    assert json.loads(text) == [value]
