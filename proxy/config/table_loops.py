"""The keys of `loops`."""

from typing import Any, Final

from proxy.config.containers import Key, ListOf, Struct, is_null
from proxy.config.nodes import Node, Scalar
from proxy.config.problems import Path
from proxy.config.reading import INVALID, Reading
from proxy.config.scalars import ENVIRONMENT, Flag, Schema, Text, Whole
from proxy.core.loops.policy import Cycle, Loops, Rungs, rungs_of

_COUNT: Final = Whole(1, 100_000)
_LAST: Final = Whole(2, 100_000)
_GLOB: Final = Text("text, where * and ? stand for other text", r"[^\x00-\x1f]+", 256)


class Switched(Struct):
    """A mapping, or one word in its place: `off` (or false, or null) for nothing at all, or another
    that stands for a value. What switches off is a value of its own, not an omission."""

    def __init__(self, struct: Struct, words: dict[str, object] | None = None) -> None:
        super().__init__(struct.make, struct.keys)
        self._words: Final = {"off": None, **(words or {})}

    @property
    def allowed(self) -> str:
        return f"{super().allowed}, or {', '.join((*self._words, 'false', 'null'))}"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        if not isinstance(node, Scalar):
            return super().read(node, reading, path)
        reading.places.setdefault(path, node.place)
        if is_null(node, reading, path):
            return None
        value = reading.value(node, path)
        if value is INVALID:
            return INVALID
        if value.typed is False:
            return None
        if value.is_text and value.text in self._words:
            return self._words[value.text]
        return reading.refuse(node, path, self.allowed)

    def schema(self, default: Node | None) -> Schema:
        words: Schema = {"enum": [*self._words, False, None]}
        return {"anyOf": [super().schema(default), words, ENVIRONMENT]}


def _rungs(what: str) -> tuple[Key, ...]:
    return (
        Key("warn", _COUNT, f"At so many {what}: a header and an event.", nullable=True),
        Key("steer", _COUNT, "The model is told of it; the agent's own history stays as it is.",
            nullable=True),
        Key("final_answer", _COUNT, "The model may call no tool, and is told to conclude.",
            nullable=True),
        Key("stop", _LAST, "Refused, or handed to a human."),
    )  # fmt: skip


def _ladder(what: str) -> Switched:
    return Switched(Struct(Rungs, tuple(_whole(key) for key in _rungs(what))))


def _whole(key: Key) -> Key:
    return Key(key.name, key.kind, key.about, key.field, key.nullable, required=True)


def _cycle(*, max_period: int, times: int, **rungs: int | None) -> Cycle:
    fields: dict[str, Any] = {**rungs_of(times), **rungs}
    return Cycle(max_period, Rungs(**fields))


CYCLE: Final = Switched(
    Struct(
        _cycle,
        (
            Key("max_period", Whole(2, 32), "The longest way round, in turns.", required=True),
            Key("times", Whole(2, 1_000), "Ways round at which the model is told; the other rungs "
                "lie one apart, unless they are given.", required=True),
            *_rungs("ways round"),
        ),
    )
)  # fmt: skip


def _loops(**values: object) -> Loops:
    fields: dict[str, Any] = values  # the table gives each its type
    return Loops(**fields)


LOOPS: Final = Switched(
    Struct(
        _loops,
        (
            Key("repeat", _ladder("turns in a row with the same calls and the same results"), ""),
            Key("repeat_any_result", _ladder("turns in a row with the same calls"), ""),
            Key("cycle", CYCLE, ""),
            Key("stall", _ladder("turns in a row of one tool with other arguments and the same "
                "result"), ""),
            Key("empty", _ladder("turns in a row with empty results"), ""),
            Key("error_streak", _ladder("turns in a row with nothing but errors"), ""),
            Key("text", _ladder("answers in a row with the same text and no call"), ""),
            Key("polling", ListOf(_GLOB), "Tools that are rightly asked again: no detector but "
                "polling_bound counts them."),
            Key("polling_bound", _ladder("turns of such tools in a row without any news"), ""),
            Key("ignore_arguments", ListOf(_GLOB), "Arguments that make no call another one."),
            Key("observe", Flag(), "Loops are found and told of, and nothing is done about them."),
        ),
    ),
    {"observe": Loops(observe=True)},
)  # fmt: skip
"""`observe`: the shipped detectors, which change nothing."""
