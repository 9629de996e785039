"""What the SDKs' own helpers make of streams that calls were held back on."""

import json
import subprocess
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from random import Random
from typing import Any

import pytest

from proxy.core.dialects.base import Bounds
from tests.clients.kit import node, python
from tests.unit.core.dialects.holding import everything, filtered, nothing, streamed
from tests.unit.core.dialects.made import DIALECTS, TOOLS, Made, made

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

Whole = list[Any]
"""What an SDK has at the end of a stream: its id, text, calls, finish reason, usage."""
Sdk = Callable[[str], tuple[str, str]]
STREAMS = 40
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
every_sdk = pytest.mark.parametrize("sdk", [python, node])
_STOPPED = {"tool_calls": "stop", "tool_use": "end_turn"}


def streams(dialect: str, tag: str) -> list[Made]:
    """Made streams as the SDKs can read them: each call by an index of its own, in its turn."""
    found = (made(dialect, Random(f"{tag}{seed}"), tag) for seed in range(6 * STREAMS))
    return [one for one in found if one.numbered and one.ordered][:STREAMS]


def sdk_reads(sdk: Sdk, dialect: str, *given: Sequence[bytes]) -> list[list[Whole]]:
    """All that the SDK's helpers say of each of these lists of streams."""
    streams = [stream for some in given for stream in some]
    lines = [json.dumps({"dialect": dialect, "stream": one.decode()}) for one in streams]
    command = sdk("read_streams")
    ended = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.strip().split("\n")]
    size = len(said) // len(streams)
    ends = [*accumulate(size * len(some) for some in given)]
    return [said[start:end] for start, end in pairwise((0, *ends))]


def without(whole: Whole, names: Sequence[str]) -> Whole:
    answer_id, text, calls, finish, usage = whole
    left = [call for call in calls if call[1] not in names]
    stopped = _STOPPED.get(finish, finish) if calls and not left else finish
    return [answer_id, text, left, stopped, usage]


@every_sdk
@every_dialect
def test_released_calls_are_the_same_to_an_sdk(dialect: str, sdk: Sdk) -> None:
    given = [one.stream for one in streams(dialect, "1")]
    held = [
        filtered(DIALECTS[dialect].hold_back(everything, Bounds()), [stream]) for stream in given
    ]

    seen, original = sdk_reads(sdk, dialect, held, given)
    assert seen == original


@every_sdk
@every_dialect
def test_dropped_calls_are_not_there_for_an_sdk(dialect: str, sdk: Sdk) -> None:
    given = [one.stream for one in streams(dialect, "1")]
    gone = TOOLS[:2]
    held = [
        filtered(DIALECTS[dialect].hold_back(gone.__contains__, Bounds()), [stream], nothing)
        for stream in given
    ]

    seen, original = sdk_reads(sdk, dialect, held, given)
    assert seen == [without(whole, gone) for whole in original]


@every_sdk
@every_dialect
def test_two_streams_are_one_to_an_sdk(dialect: str, sdk: Sdk) -> None:
    firsts, seconds = streams(dialect, "1"), streams(dialect, "2")
    pairs, spliced = [], []
    for made_one, made_two in zip(firsts, seconds, strict=True):
        hold = DIALECTS[dialect].hold_back(("mail", "look").__contains__, Bounds())
        passed = streamed(hold, [made_one.stream], nothing)
        if hold.dropped:
            hold.splice()
            spliced.append(passed + streamed(hold, [made_two.stream]) + hold.end())
            pairs.append((made_one.stream, made_two.stream))
    assert len(pairs) > STREAMS / 4

    firsts_read, seconds_read, seen = sdk_reads(sdk, dialect, *zip(*pairs, strict=True), spliced)
    for one, two, whole in zip(firsts_read, seconds_read, seen, strict=True):
        left = without(one, ("mail", "look"))
        assert whole[:3] == [one[0], one[1] + two[1], left[2] + two[2]]
        assert whole[3] == two[3]
        if dialect == "messages":
            assert whole[4] == [one[4][0], one[4][1] + two[4][1]]
        elif one[4] and two[4]:
            assert whole[4] == [one[4][0] + two[4][0], one[4][1] + two[4][1]]
