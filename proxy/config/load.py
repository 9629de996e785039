"""A policy from a file: laid over the defaults, the environment in it, all problems at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.config.checks import check
from proxy.config.draft import Draft
from proxy.config.nodes import MAX_CHARACTERS, Document, MapNode, Node, compose, merge
from proxy.config.problems import Place, PolicyInvalid, Problem, by_place
from proxy.config.reading import Reading
from proxy.config.routes import with_route_defaults
from proxy.config.table import POLICY
from proxy.core.policy import Policy

DEFAULT_FILE: Final = Path(__file__).parent.parent / "policies" / "default.yaml"
"""Shipped in the package; what every policy is laid over."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy to put in force, and what in it does not do what it seems to."""

    policy: Policy
    warnings: tuple[Problem, ...] = ()


def load_policy(path: Path | None, env: Mapping[str, str]) -> Loaded:
    """The policy in a file; None: the shipped one. Raises PolicyInvalid, also if unreadable."""
    if path is None:
        return parse_policy("", "the defaults", env)
    return parse_policy(read_text(path), str(path), env)


def parse_policy(text: str, filename: str, env: Mapping[str, str]) -> Loaded:
    """The policy in `text`, which messages call `filename`. Raises PolicyInvalid."""
    own = compose(text, filename)
    policy, problems = _read(default_document(), own, filename, env)
    faults = by_place([p for p in problems if not p.is_warning], filename)
    if policy is None or faults:
        raise PolicyInvalid(faults)
    own_warnings = [p for p in problems if p.is_warning and p.place.file == filename]
    return Loaded(policy, by_place(own_warnings, filename))


def default_document() -> Document:
    """The nodes of the shipped policy."""
    return compose(read_text(DEFAULT_FILE), str(DEFAULT_FILE))


def read_text(path: Path) -> str:
    """The text of a policy file, never more of it than a policy may have. Raises PolicyInvalid."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHARACTERS + 1)
        if len(data) <= MAX_CHARACTERS:
            return data.decode("utf-8-sig")
        message = f"is too large (allowed: up to {MAX_CHARACTERS} bytes)"
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
    except (OSError, ValueError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise PolicyInvalid((Problem(Place(str(path)), "", message),))


def _read(
    default: Document, own: Document, filename: str, env: Mapping[str, str]
) -> tuple[Policy | None, list[Problem]]:
    reading = Reading(env)
    reading.problems += (*default.problems, *own.problems)
    policy = POLICY.read(merge(default.root, own.root), reading, ())
    if not isinstance(policy, Policy):
        return None, reading.problems
    policy = with_route_defaults(policy, reading)
    check(Draft(policy, reading, filename, _upstreams(default.root)))
    return policy, reading.problems


def _upstreams(default: Node) -> tuple[str, ...]:
    upstreams = default.entries["upstreams"].value if isinstance(default, MapNode) else default
    return tuple(upstreams.entries) if isinstance(upstreams, MapNode) else ()
