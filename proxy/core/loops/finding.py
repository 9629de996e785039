"""What a detector finds, and the rung of the ladder that it has come to."""

from typing import Final, Literal

import msgspec

Rung = Literal["observe", "warn", "steer", "final_answer", "stop"]
RUNGS: Final[tuple[Rung, ...]] = ("observe", "warn", "steer", "final_answer", "stop")
"""From the mildest to the last."""


class Finding(msgspec.Struct, frozen=True):
    """A loop, as far as it has gone.

    detector: its name. count: how often; of a cycle, whole periods. stop: at
    which count it is stopped. tools: names as the model wrote them, but safe to show; of a cycle in
    their order; empty where nothing names them. period: turns until it begins anew.
    """

    detector: str
    rung: Rung
    count: int
    stop: int
    tools: tuple[str, ...] = ()
    period: int = 1

    @property
    def rule(self) -> str:
        """What headers, refusals and records call it."""
        return f"loops.{self.detector}"


def strength(rung: Rung) -> int:
    return RUNGS.index(rung)


def strongest(one: Rung | None, other: Rung) -> Rung:
    return other if one is None or strength(other) > strength(one) else one
