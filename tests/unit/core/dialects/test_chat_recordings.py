"""Recorded exchanges of real providers through the chat family: a small sample, and all."""

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.completions import COMPLETIONS
from proxy.core.dialects.embeddings import EMBEDDINGS
from proxy.core.usage import Usage
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, pieces

DIALECTS: dict[str, Dialect] = {
    "chat.completions": CHAT,
    "completions": COMPLETIONS,
    "embeddings": EMBEDDINGS,
}
REPOSITORY = Path(__file__).parents[4]
SAMPLE = REPOSITORY / "tests" / "data" / "cassettes_sample.jsonl"
CHANGED = {"model", "max_tokens", "max_completion_tokens", "stream_options"}
OTHER_FORMATS = ("input", "model", "prompt")  # embeddings of Cohere, Vertex and Bedrock
Checked = Counter[tuple[str, str]]


def full_set() -> list[Json]:
    folder = Path(os.environ.get("HOLDFAST_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder / "cassettes" / "cassettes_small.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recorded exchanges are not there: {path} (set HOLDFAST_DATA)")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def of_the_family(records: list[Json]) -> Iterator[tuple[Dialect, str, str, str, int]]:
    for record in records:
        dialect = DIALECTS.get(str(record["endpoint"]))
        request, response = record["request"], record["response"]
        assert isinstance(request, dict)
        assert isinstance(response, dict)
        if dialect is not None and response.get("body"):
            yield (
                *(dialect, str(record["id"]), request["body"] or "", response["body"]),
                response["status"],
            )


def reported(answer: Json) -> Json | None:
    """The usage a chunk or an answer carries, read as naively as can be."""
    groq = answer.get("x_groq")
    usage = answer.get("usage") or (groq.get("usage") if isinstance(groq, dict) else None)
    if not isinstance(usage, dict):
        return None
    if set(usage) == {"total_tokens"}:  # Voyage's embeddings: all of it is input
        return {**usage, "prompt_tokens": usage["total_tokens"]}
    return usage if "prompt_tokens" in usage else None


def chunks_of(body: str) -> list[tuple[str, Json]]:
    """Each event's raw text, and its data where that is an object."""
    found: list[tuple[str, Json]] = []
    for raw in re.findall(r".*?(?:\r?\n){2}|.+$", body, re.DOTALL):
        lines = [line[5:].strip() for line in raw.splitlines() if line.startswith("data:")]
        found.append((raw, json.loads(lines[0]) if lines and lines[0].startswith("{") else {}))
    return found


def stripped(body: str) -> str:
    """What a client that asked for no usage would have got."""
    kept: list[str] = []
    for raw, data in chunks_of(body):
        if data.get("choices") == [] and data.get("usage"):
            continue
        bare = re.sub(r',\s*"usage":\s*null', "", raw) if data.get("usage", 0) is None else raw
        kept.append(bare)
    return "".join(kept)


def equals_the_record(usage: Usage | None, record: Json | None) -> bool:
    if usage is None or record is None:
        return usage is None and record is None
    total = record.get("total_tokens") or 0
    said = record.get("completion_tokens") or 0
    details = record.get("prompt_tokens_details") or {}
    assert isinstance(details, dict)
    cached = details.get("cached_tokens") or record.get("prompt_cache_hit_tokens")
    return (
        usage.total_input_tokens == record["prompt_tokens"]
        and (usage.output_tokens == said or usage.total_tokens == total)
        and usage.cache_read_tokens == (cached or record.get("cached_tokens") or 0)
    )


def check_stream(dialect: Dialect, name: str, body: str) -> None:
    random = Random(name)
    usages = [usage for _, data in chunks_of(body) if (usage := reported(data))]
    for end in ("\n", "\r\n"):
        text = body.replace("\r\n", "\n").replace("\n", end)
        raw = text.encode()
        for cuts in ([], [random.randrange(len(raw) + 1) for _ in range(40)]):
            plain = dialect.meter(strip_usage=False, bounds=Bounds())
            stripping = dialect.meter(strip_usage=True, bounds=Bounds())
            chunks = pieces(raw, cuts)

            assert b"".join([plain.feed(chunk) for chunk in chunks]) + plain.close() == raw
            passed = b"".join([stripping.feed(chunk) for chunk in chunks]) + stripping.close()

            assert passed.decode() == stripped(text), name
            assert equals_the_record(plain.usage, usages[-1] if usages else None), name
            assert stripping.usage == plain.usage
            assert plain.malformed == 0
            assert plain.ended == ("[DONE]" in body)
            assert plain.ended or plain.finish_seen or '"choices"' not in body, name


def check_answer(dialect: Dialect, name: str, body: str) -> bool:
    whole = json.loads(body)
    if not isinstance(whole, dict) or not (whole.keys() & {"choices", "data"}):
        return False  # another format behind the same word
    found = dialect.read_answer(body.encode())

    assert found.malformed is None, (name, found.malformed)
    assert equals_the_record(found.usage, reported(whole)), name
    return True


def check_request(dialect: Dialect, name: str, body: str, status: int) -> bool:
    """Whatever a provider took, we take; and what we change is all that changes."""
    raw = body.encode()
    try:
        request = dialect.parse(raw, Bounds())
    except MalformedRequest as error:
        if error.param in OTHER_FORMATS or not body or status != 200:
            return False
        raise
    given = json.loads(body)
    changed = dialect.rewrite(raw, request, Changes(output_bound=1, ask_usage=True, model="x"))
    untouched = given.keys() - CHANGED
    after = json.loads(changed)
    assert after["model"] == "x"
    assert {key: after[key] for key in after.keys() - CHANGED} == {
        key: given[key] for key in untouched
    }, name
    assert dialect.rewrite(raw, request, Changes()) is raw
    return True


def check(records: list[Json]) -> Checked:
    checked = Checked()
    for dialect, name, request, response, status in of_the_family(records):
        checked[dialect.name, "requests"] += check_request(dialect, name, request, status)
        if status != 200:
            continue
        if response.lstrip().startswith(("data:", ":", "event:")):
            check_stream(dialect, name, response)
            checked[dialect.name, "streams"] += 1
        else:
            checked[dialect.name, "answers"] += check_answer(dialect, name, response)
    return checked


def test_a_sample_of_recordings_passes_and_is_metered() -> None:
    """Seven providers' own bytes, at every run of the suite."""
    records = [json.loads(line) for line in SAMPLE.read_text("utf-8").splitlines()]

    checked = check(records)

    assert checked["chat", "streams"] == 4
    assert checked["completions", "streams"] == 1
    assert sum(checked.values()) == 2 * len(records)


@pytest.mark.data
@pytest.mark.timeout(120)
def test_every_recording_passes_and_is_metered() -> None:
    """Forwarded bytes are the provider's but for what we asked for; usage is the record's own."""
    checked = check(full_set())

    for (dialect, kind), count in sorted(checked.items()):
        print(f"{dialect:12} {kind:9} {count:4}")
    assert checked["chat", "streams"] > 40
