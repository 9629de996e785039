"""An estimate of input is above what is billed; calibration brings it near and is not misled."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.estimate import Calibration, estimate_input_tokens
from proxy.core.request import Request

DATA = Path(os.environ.get("HOLDFAST_DATA", Path(__file__).parents[4] / "shared" / "data"))
RUNS = DATA / "trajectories" / "swebv_gemini3.jsonl.gz"

REQUEST = Request(
    dialect="chat",
    model="gpt-5.1",
    stream=False,
    messages=(),
    output_bound=None,
    choices=1,
    text_bytes=100_000,
)


def calibrated(ratio_milli: int, samples: int = 64) -> Calibration:
    calibration = Calibration()
    for _ in range(samples):
        calibration = calibration.observe(100_000, 0, 100 * ratio_milli)
    return calibration


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-5.1", 35_256),
        ("o3", 35_256),
        ("gemini-2.5-pro", 40_256),
        ("anthropic/claude-sonnet-4-5", 50_256),
        ("claude-opus-4-8", 65_256),
        ("claude-fable-5-1", 65_256),
    ],
)
def test_the_prior_knows_which_tokenisers_are_coarse(model: str, tokens: int) -> None:
    assert estimate_input_tokens(replace(REQUEST, model=model), None) == tokens


def test_offered_tools_bring_the_providers_own_prompt_with_them() -> None:
    with_tools = replace(REQUEST, offered_tools=("search",))

    added = estimate_input_tokens(with_tools, None) - estimate_input_tokens(REQUEST, None)

    assert added >= 346


@pytest.mark.parametrize(
    ("model", "billed"),
    [
        ("gpt-4o-mini", 14_181),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 269),
        ("claude-sonnet-4-5", 1_568),
        ("claude-opus-5-5", 4_784),
        ("gpt-5.1", 1_190),
        ("gpt-5.4", 10_000),
        ("gpt-6-sol", 30_000),
        ("gemini-3-pro-preview", 2_240),
    ],
)
def test_an_image_is_held_at_the_ceiling_of_its_model(model: str, billed: int) -> None:
    """14,181 is what a recorded call of gpt-4o-mini with one image was billed."""
    request = replace(REQUEST, model=model, text_bytes=0, image_count=1)

    assert estimate_input_tokens(request, None) >= billed
    assert estimate_input_tokens(replace(request, image_count=2), None) > 2 * billed


def test_files_come_to_no_more_than_the_context_window() -> None:
    request = replace(REQUEST, text_bytes=0, file_count=2)

    assert estimate_input_tokens(request, None) == 300_256
    assert estimate_input_tokens(request, None, context_window=128_000) == 128_256


def test_a_calibration_counts_once_there_are_samples_enough() -> None:
    prior = estimate_input_tokens(REQUEST, None)

    assert estimate_input_tokens(REQUEST, calibrated(250, samples=15)) == prior
    assert estimate_input_tokens(REQUEST, calibrated(250, samples=16)) == 256 + 28_700


def test_one_odd_call_changes_nothing() -> None:
    """A web search of the provider's own can bill forty tokens for each byte that was sent."""
    before = calibrated(250)

    after = before.observe(100_000, 0, 4_000_000).observe(100_000, 0, 4_000_000)

    assert estimate_input_tokens(REQUEST, after) == estimate_input_tokens(REQUEST, before)


def test_a_flood_of_cheap_calls_cannot_pull_the_estimate_below_half_the_prior() -> None:
    flooded = calibrated(1)

    assert estimate_input_tokens(REQUEST, flooded) == 256 + 17_500


def test_text_that_is_dense_and_keeps_coming_raises_the_estimate_above_the_prior() -> None:
    dense = calibrated(250).observe(100_000, 0, 70_000)
    for _ in range(2):
        dense = dense.observe(100_000, 0, 70_000)

    assert estimate_input_tokens(REQUEST, dense) > 70_000


@pytest.mark.parametrize(
    ("size", "attachments", "tokens"), [(4095, 0, 1000), (10_000, 1, 3000), (10_000, 0, 0)]
)
def test_a_call_that_says_nothing_of_bytes_is_not_taken(
    size: int, attachments: int, tokens: int
) -> None:
    assert Calibration().observe(size, attachments, tokens) == Calibration()


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(-10, 10**9)), max_size=200))
def test_no_history_makes_an_estimate_absurd(calls: list[tuple[int, int]]) -> None:
    """Bounded memory, never under half the prior, never over 1.8 tokens a byte."""
    calibration = Calibration()
    for size, tokens in calls:
        calibration = calibration.observe(size, 0, tokens)

    assert len(calibration.millitokens_per_byte) <= 64
    assert 17_500 <= estimate_input_tokens(REQUEST, calibration) <= 180_000


@pytest.mark.data
@pytest.mark.skipif(not RUNS.exists(), reason=f"{RUNS} is not here (HOLDFAST_DATA)")
def test_recorded_requests_stay_below_and_calibration_comes_near() -> None:
    """Coding runs whose requests are whole: no tools, every message recorded."""
    calibration = Calibration()
    prior, learned = [], []
    for request, billed in recorded_calls():
        prior.append(estimate_input_tokens(request, None) / billed)
        if calibration.learned is not None:
            learned.append(estimate_input_tokens(request, calibration) / billed)
        calibration = calibration.observe(request.text_bytes, 0, billed)

    assert min(prior) >= 1
    assert sum(ratio >= 1 for ratio in learned) / len(learned) >= 0.999
    assert sorted(learned)[len(learned) // 2] < 1.4 < sorted(prior)[len(prior) // 2] < 1.75


def recorded_calls() -> Iterator[tuple[Request, int]]:
    for line in gzip.decompress(RUNS.read_bytes()).splitlines():
        run = json.loads(line)
        for step in run["usage"]:
            sent = [
                {"role": message["role"], "content": message["content"]}
                for message in run["messages"][: step["i"]]
            ]
            size = len(json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode())
            request = replace(REQUEST, model=run["model"], text_bytes=size)
            yield request, step["usage"]["prompt_tokens"]


@given(st.lists(st.tuples(st.integers(4096, 9000), st.integers(1, 6000)), max_size=150))
def test_what_was_learned_is_what_the_newest_samples_say(calls: list[tuple[int, int]]) -> None:
    """The samples are kept in their order; they are not sorted for each call."""
    calibration = Calibration()
    for size, tokens in calls:
        calibration = calibration.observe(size, 0, tokens)

    newest = sorted(calibration.millitokens_per_byte)
    assert calibration.millitokens_per_byte == tuple(
        min(-(-tokens * 1000 // size), 1500) for size, tokens in calls[-64:]
    )
    assert calibration.learned == (newest[-3] * 1150 // 1000 if len(newest) >= 16 else None)
