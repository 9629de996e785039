"""YAML to nodes: hostile and odd text never hurts, and everything keeps its place."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.nodes import (
    MAX_CHARACTERS,
    Broken,
    Entry,
    ListNode,
    MapNode,
    Node,
    Scalar,
    compose,
    merge,
)

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

UNMERGEABLE = "cannot be merged in (allowed: a mapping, or a list of mappings)"


def said(text: str) -> list[str]:
    return [str(problem) for problem in compose(text, "f").problems]


def plain(node: Node) -> object:
    """What the text says, as Python has it."""
    match node:
        case Scalar():
            return node.text
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {name: plain(entry.value) for name, entry in node.entries.items()}
    return None


def test_every_node_knows_its_place() -> None:
    """A message that points at the line is half the repair."""
    root = compose("a:\n  - b\n  - {c: d}\n", "f").root
    assert isinstance(root, MapNode)
    items = root.entries["a"].value
    assert isinstance(items, ListNode)
    inner = items.items[1]
    assert isinstance(inner, MapNode)

    assert str(root.entries["a"].key_place) == "f:1:1"
    assert str(items.items[0].place) == "f:2:5"
    assert str(inner.entries["c"].value.place) == "f:3:9"


def test_quotes_and_the_text_tag_make_text() -> None:
    """`"1"` and `!!str 1` must not become numbers later."""
    root = compose("a: 1\nb: '1'\nc: !!str 1\nd: ! 1\ne: |\n  1\n", "f").root

    assert isinstance(root, MapNode)
    is_plain = {name: getattr(entry.value, "plain", None) for name, entry in root.entries.items()}
    assert is_plain == {"a": True, "b": False, "c": False, "d": False, "e": False}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "--- \n...\n"])
def test_an_empty_document_is_an_empty_mapping(text: str) -> None:
    """Every key is optional, so no key at all is a policy too."""
    document = compose(text, "f")

    assert plain(document.root) == {}
    assert document.problems == ()


def test_a_duplicate_key_is_named_with_both_lines() -> None:
    """YAML libraries silently keep the last: the limit you read is not the one in force."""
    assert said("a: 1\nb: {c: 1,\n  c: 2}\n") == ["f:3:3: b.c: given twice, first on line 2"]


def test_aliases_stand_for_what_they_name() -> None:
    """Anchors save repetition, and a merge key takes what is not said again."""
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{x: 4}, *a]}\n"

    assert plain(compose(text, "f").root) == {
        "a": {"x": "1", "y": "2"},
        "b": {"x": "1", "y": "2"},
        "c": {"y": "3", "x": "1"},
        "d": {"x": "4", "y": "2"},
    }


def test_several_merge_keys_merge_in_order() -> None:
    """Docker users write them so; the first wins, as in a list."""
    text = "a: &a {x: 1}\nb: {<<: *a, <<: {x: 2, y: 2}}\n"

    assert plain(compose(text, "f").root) == {"a": {"x": "1"}, "b": {"x": "1", "y": "2"}}


def test_a_quoted_merge_key_is_a_key() -> None:
    """Only the plain `<<` merges."""
    assert plain(compose('{"<<": {a: 1}}', "f").root) == {"<<": {"a": "1"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *b\n", "f:1:4: a: *b names no anchor above it"),
        ("a: &a [*a]\n", "f:1:8: a[0]: *a stands inside what it names"),
        ("a: {<<: 1}\n", f'f:1:9: a["<<"]: {UNMERGEABLE}'),
        ("a: {<<: *b}\n", 'f:1:9: a["<<"]: *b names no anchor above it'),
        ("a: !!int 1\n", "f:1:4: a: a tag (allowed: none but !!str)"),
        ("a: !env X\n", "f:1:4: a: a tag (allowed: none but !!str)"),
        ("a: !!set {b}\n", "f:1:4: a: a tag (allowed: none but !!str)"),
        ("? [a]\n: 1\n", "f:1:3: a key that is not text"),
        ("a: 1\n---\nb: 1\n", "f:2:1: a second document (allowed: one in a file)"),
        ("a: {b: 1\n", "f:2:1: not YAML: did not find expected ',' or '}'"),
        ("a: \x00\n", "f:1:4: not YAML: control characters are not allowed"),
        ("a: é\nb: 😀\x1b[2J\n", "f:2:5: not YAML: control characters are not allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    """One message each, for the human who has to find it."""
    assert said(text) == [message]


def test_what_was_found_before_the_text_broke_off_is_kept() -> None:
    """Both have to be repaired."""
    assert said("a: 1\na: 2\nb: {\n") == [
        "f:2:1: a: given twice, first on line 1",
        "f:4:1: not YAML: did not find expected node content",
    ]


def test_a_bomb_of_aliases_stops_at_the_bound() -> None:
    """Nine short lines would be a milliard of values."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for name, before in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")

    assert said("\n".join(lines)) == [
        "f:5:17: more than 50000 values, counting what aliases stand for"
    ]


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: ", "[{? "])
def test_deep_nesting_stops_at_the_bound(opening: str) -> None:
    """PyYAML's composer recurses in C as deep as the text asks; it must not be ours that falls."""
    document = compose(opening * 20_000, "f")

    assert isinstance(document.root, Broken)
    assert "nested deeper than 32 levels" in str(document.problems[-1])


def test_too_large_a_text_is_not_even_parsed() -> None:
    """A policy is pages, not megabytes."""
    document = compose("#" * (MAX_CHARACTERS + 1), "f")

    assert str(document.problems[0]) == "f: has 1048577 characters (allowed: up to 1048576)"


@law
@given(st.text(alphabet="ab:-?[]{},&*!|>'\"#% \n<", max_size=40))
def test_any_text_gives_a_document_or_a_reason(text: str) -> None:
    """A parser refuses by name, never by an exception nobody expected."""
    document = compose(text, "f")

    assert isinstance(document.root, Scalar | ListNode | MapNode) or document.problems


texts = st.text(alphabet="abcxyz019._- ", max_size=6)
trees = st.recursive(
    texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)


@law
@given(st.dictionaries(texts, trees), st.sampled_from((None, True, False)))
def test_what_was_written_is_read(tree: dict[str, object], flow: bool | None) -> None:
    """In block and flow style alike."""
    text = yaml.safe_dump(tree, default_flow_style=flow)

    assert plain(compose(text, "f").root) == tree


def test_merging_keeps_what_is_not_said_again() -> None:
    """Mappings merge key by key, with the user's keys first; lists and values replace."""
    below = compose("a: {x: 1, y: [1, 2]}\nb: 1\nc: {z: 1}\n", "below").root
    over = compose("c: 2\na: {w: 0, y: [3]}\n", "over").root

    merged = merge(below, over)

    assert plain(merged) == {"c": "2", "a": {"w": "0", "y": ["3"], "x": "1"}, "b": "1"}
    assert isinstance(merged, MapNode)
    assert list(merged.entries) == ["c", "a", "b"]
    assert isinstance(merged.entries["b"], Entry)
    assert merged.entries["b"].key_place.file == "below"
