"""The kinds that hold others, apart from the table."""

from proxy.config.containers import Key, ListOf, MapOf, Struct, Unbuilt, is_null, unbuilt
from proxy.config.nodes import Broken, compose
from proxy.config.problems import Place
from proxy.config.reading import INVALID, Reading
from proxy.config.scalars import Text, Whole

NAME = Text("a name", "[a-z]+")
STRUCT = Struct(
    dict,
    (
        Key("needed", Whole(), "", required=True),
        Key("renamed", Whole(), "", "other", nullable=True),
        Key("checked", Whole(), "", field=None),
        Key("list", ListOf(Whole()), ""),
        Key("map", MapOf(NAME, Whole(), "keep"), ""),
        *unbuilt("later"),
    ),
)


def read(text: str) -> tuple[object, list[str]]:
    reading = Reading({})
    value = STRUCT.read(compose(text, "f").root, reading, ())
    return value, [f"{problem.key}: {problem.message}" for problem in reading.problems]


def test_a_struct_is_made_of_its_fields() -> None:
    """By the name of the field, without what is only checked; nothing stands in for the absent."""
    text = "{needed: 1, renamed: null, checked: 5, list: [1, 2], map: {a: 1, b: null}}"

    value = {"needed": 1, "other": None, "list": (1, 2), "map": {"a": 1, "b": None}}
    assert read(text) == (value, [])
    assert read("needed: 1") == ({"needed": 1}, [])


def test_a_struct_is_made_of_what_is_good() -> None:
    """So that the checks across keys still find what is wrong with the rest."""
    value, problems = read("{needed: 1, renamed: x, list: [1, y, 3], later: 1, what: 1}")

    assert value == {"needed": 1, "list": (1, 3)}
    assert [problem.split(": ")[0] for problem in problems] == [
        "renamed", "list[1]", "later", "what",
    ]  # fmt: skip


def test_without_a_required_key_there_is_no_value() -> None:
    """Absent it is said once; wrong, its own problem says it."""
    assert read("{}") == (INVALID, ["needed: missing"])
    value, problems = read("needed: x")
    assert (value, len(problems)) == (INVALID, 1)


def test_a_typing_error_meets_its_key() -> None:
    """Close in spelling, in other case or dashes, or begun."""
    for word in ("renmaed", "Renamed", "ren"):
        assert 'did you mean "renamed"?' in read(f"{{needed: 1, {word}: 1}}")[1][0]
    for word in ("zzz", '""'):
        assert "did you mean" not in read(f"{{needed: 1, {word}: 1}}")[1][0]
    assert "(allowed: needed, renamed, checked, list, map)" in read("zzz: 1")[1][0]


def test_what_is_not_built_takes_nothing() -> None:
    """By its kind as well, wherever it may be put."""
    node = compose("a: 1", "f").root

    assert Unbuilt().read(node, Reading({}), ()) is INVALID
    assert Unbuilt().allowed == "nothing yet"


def test_only_a_plain_or_expanded_nothing_is_null() -> None:
    """Quoted it is a text, and what is broken has been reported."""
    reading = Reading({"E": ""})

    def null(text: str) -> bool:
        return is_null(compose(text, "f").root, reading, ())

    assert all(map(null, ("~", "null", "'${E}'", "${NO:-}")))
    assert not any(map(null, ("''", "'null'", "[]", "{a: 1}", "0")))
    assert not is_null(Broken(Place("f")), reading, ())
