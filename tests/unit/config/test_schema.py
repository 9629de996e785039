"""The JSON Schema says what the loader does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.containers import Key, ListOf, MapOf, Struct
from proxy.config.load import default_document
from proxy.config.nodes import compose, merge
from proxy.config.problems import Place
from proxy.config.reading import Reading
from proxy.config.scalars import Kind
from proxy.config.schema import policy_schema
from proxy.config.table import POLICY

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

jsonschema = pytest.importorskip("jsonschema")  # its types come in a package of their own

EXAMPLES = Path(__file__).parents[3] / "policies"
VALIDATOR: Final = jsonschema.Draft202012Validator(policy_schema())
ENV = {"N": "3"}

SAMPLES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 3, 0.5, 100, 422, 5000, 10**9, 2**60, 1e300, "", "a", "*", "no",
    "1h", "tenant", "anonymous", "reject", "relay", "dearest", "free", "full", "closed", "openai",
    "local/x", "http://a/v1", "http://u:p@a", "memory://", "redis://a", "sqlite:///x", "${N}",
    "sha256:" + "a" * 64, "x" * 3000, "a b", "A", [], [1], {}, {"a": 1},
)  # fmt: skip
HOSTILE = st.sampled_from(SAMPLES)


def mostly(
    good: st.SearchStrategy[object], bad: st.SearchStrategy[object]
) -> st.SearchStrategy[object]:
    return st.integers(0, 14).flatmap(lambda n: bad if n == 0 else good)


def values(kind: Kind | Struct) -> st.SearchStrategy[object]:
    """Good ones, mostly."""
    match kind:
        case Struct():
            return mostly(structs(kind.keys), HOSTILE)
        case MapOf():
            names = [n for n in ("a", "openai", "x-team", "codex*") if is_good(kind.names, n)]
            bad_names = st.sampled_from(("A b", "", "a${N}", "a/b"))
            name = mostly(st.sampled_from(names), bad_names)
            return mostly(st.dictionaries(name, values(kind.kind), max_size=2), HOSTILE)
        case ListOf():
            return mostly(st.lists(values(kind.kind), max_size=2), HOSTILE)
        case _:
            good = [sample for sample in SAMPLES if is_good(kind, sample)]
            return mostly(st.sampled_from(good), HOSTILE) if good else HOSTILE


def is_good(kind: Kind, sample: object) -> bool:
    reading = Reading(ENV)
    reading.places[()] = Place("f")
    kind.read(compose(json.dumps(sample), "f").root, reading, ("sample",))
    return all(problem.is_warning for problem in reading.problems)


def structs(keys: tuple[Key, ...]) -> st.SearchStrategy[object]:
    built = {key.name: values(key.kind) for key in keys if not key.is_unbuilt}
    required = {key.name: built.pop(key.name) for key in keys if key.required}
    others = {key.name: HOSTILE for key in keys if key.is_unbuilt} | {"unknown": HOSTILE}
    return mostly(
        st.fixed_dictionaries(required, optional=built),
        st.fixed_dictionaries({}, optional={**required, **built, **others}),
    )


def is_taken(text: str) -> bool:
    """By the loader, before the checks that look across keys."""
    document = compose(text, "f")
    reading = Reading(ENV)
    POLICY.read(merge(default_document().root, document.root), reading, ())
    return not document.problems and all(problem.is_warning for problem in reading.problems)


def test_the_schema_is_one() -> None:
    """Draft 2020-12, and JSON."""
    VALIDATOR.check_schema(policy_schema())

    assert json.loads(json.dumps(policy_schema())) == policy_schema()


def test_every_key_is_described() -> None:
    """An editor shows it while one types."""
    properties = policy_schema()["properties"]

    assert isinstance(properties, Mapping)
    assert all(schema["description"] for schema in properties.values())
    limits = properties["limits"]["properties"]
    assert (limits["steps"]["default"], limits["warn_at"]["default"]) == (150, 0.8)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_policies_are_valid(example: Path) -> None:
    """What check says is good must not be underlined in the editor."""
    VALIDATOR.validate(yaml.safe_load(example.read_text()))


# One key at a time covers the table evenly; whole policies cover how keys lie in each other.
ONE_KEY = st.one_of(*(st.fixed_dictionaries({key.name: values(key.kind)}) for key in POLICY.keys))


@law
@given(ONE_KEY | structs(POLICY.keys))
def test_the_schema_and_the_loader_agree(policy: object) -> None:
    """One table, two readers: neither may take what the other refuses. Only what a ${NAME} will
    become is for the loader alone to judge."""
    text = json.dumps(policy)

    if '"${N}"' in text:
        assert VALIDATOR.is_valid(policy) or not is_taken(text)
    else:
        assert VALIDATOR.is_valid(policy) == is_taken(text)
