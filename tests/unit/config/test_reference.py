"""docs/policy.md is held to the table of keys."""

from collections.abc import Iterator
from pathlib import Path

from proxy.config.containers import Key, ListOf, MapOf, Struct
from proxy.config.load import default_document, parse_policy
from proxy.config.nodes import MapNode, Node, Scalar
from proxy.config.scalars import Kind
from proxy.config.table import POLICY, PROFILE_LIMITS
from proxy.core.handoff import Webhook

DOCS = Path(__file__).parents[3] / "docs" / "policy.md"


def rows(kind: Kind | Struct, default: Node | None, path: str = "") -> Iterator[str]:
    """The reference: a row for each key that has a value of its own, in the order of the table."""
    match kind:
        case Struct():
            within = default.entries if isinstance(default, MapNode) else {}
            for key in kind.keys:
                if not key.is_unbuilt:
                    entry = within.get(key.name)
                    yield from key_rows(key, entry.value if entry else None, path)
        case MapOf():
            yield from rows(kind.kind, None, f"{path}.NAME")
        case ListOf():
            yield from rows(kind.kind, None, f"{path}[]")


def key_rows(key: Key, default: Node | None, path: str) -> Iterator[str]:
    name = f"{path}.{key.name}" if path else key.name
    if not isinstance(key.kind, Struct):
        shown = f" `{default.text}` " if isinstance(default, Scalar) else " "
        takes = "a mapping" if isinstance(key.kind, MapOf) else key.kind.allowed
        takes = "a list" if isinstance(key.kind, ListOf) else takes
        takes = takes.replace("|", "\\|") + (", null" if key.nullable else "")
        yield f"| `{name}` | {takes} |{shown}| {key.about} |"
    if key.kind is PROFILE_LIMITS:
        yield f"| `{name}` | the keys of `limits` | | {key.about} |"
    else:
        yield from rows(key.kind, default, name)


def test_the_reference_has_a_row_for_every_key() -> None:
    """A key nobody can read about does not exist for its users."""
    lines = DOCS.read_text().splitlines()

    missing = [row for row in rows(POLICY, default_document().root) if row not in lines]

    assert missing == []


def test_the_reference_names_what_is_not_available() -> None:
    text = DOCS.read_text()

    assert [key.name for key in POLICY.keys if key.is_unbuilt and f"`{key.name}`" not in text] == []


def test_the_policy_that_the_page_on_handoffs_shows_is_one() -> None:
    """Pages are copied from: nothing in it may be refused, or do nothing."""
    page = (DOCS.parent / "handoff.md").read_text()
    shown = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    env = {"HANDOFF_URL": "https://hooks.example/x", "HANDOFF_SECRET": "s"}

    loaded = parse_policy(shown, "f", env)

    assert loaded.warnings == ()
    assert loaded.policy.handoff.webhook == Webhook(env["HANDOFF_URL"], "slack", "HANDOFF_SECRET")
    assert parse_policy(shown, "f", {}).policy.handoff.webhook is None
