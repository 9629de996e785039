"""What was hashed of a list is not hashed again, and comes to the same."""

import json
import random
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from proxy.core.dialects.base import Bounds
from proxy.core.fingerprints import IN_CLEAR, Recorded, borders_of, pack, remembered
from proxy.core.memo import Memo
from proxy.core.prefixes import Prefixes
from proxy.core.recording import chain_of, find, prefixes_of, span_of
from proxy.core.request import Request
from proxy.replies import dialect_of

SEED, BOUNDS = 7, Bounds(128, 1 << 22)
DIGEST = b"d" * 16
TEXT = "".join(random.Random(1).choices("abcdefgh é", k=8_000))
Messages = list[dict[str, str]]


def said(number: int, size: int) -> dict[str, str]:
    at = number * 97 % 4_000
    return {"role": ("user", "assistant")[number % 2], "content": TEXT[at : at + size]}


def body_of(messages: Messages, **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


def read(body: bytes, memo: Memo | None) -> Request:
    """As a call that is answered is read."""
    request = dialect_of("chat").parse(body, BOUNDS, memo)
    if memo is not None and request.learned is not None:
        memo.keep(request.learned)
    return request


steps = st.lists(
    st.tuples(
        st.integers(0, 3),  # messages dropped at the end
        st.lists(st.integers(0, 4_000), max_size=4),  # sizes of new ones
        st.integers(0, 3),  # whose history it goes on from
        st.booleans(),
    ),
    min_size=2,
    max_size=9,
)


@given(steps, st.integers(0, 99))
def test_a_body_that_goes_on_is_found_as_if_all_of_it_was_hashed(
    steps: list[tuple[int, list[int], int, bool]], first: int
) -> None:
    memo, number = Memo(1 << 24, 3), first
    conversations: list[Messages] = [[said(n, 3_000) for n in range(3)]]
    recorded: Recorded = ()
    for dropped, sizes, which, tools in steps:
        before = conversations[which % len(conversations)]
        messages = before[: max(len(before) - dropped, 1)]
        for size in sizes:
            number += 1
            messages.append(said(number, size))
        body = body_of(messages, **({"tools": []} if tools else {}))
        request = read(body, memo)
        span = span_of(request, body)
        overlap, mark = find(body, span, recorded, SEED, IN_CLEAR, prefixes_of(request, body))
        fresh, whole = find(body, span, recorded, SEED, IN_CLEAR, Prefixes())
        again = find(body, span, recorded, SEED, IN_CLEAR, prefixes_of(request, body))

        assert replace(mark, base="") == replace(whole, base="")
        assert again[1] == mark
        assert (overlap.kept, overlap.head, overlap.tail) == (fresh.kept, fresh.head, fresh.tail)
        assert mark.borders[0] == xxh3_64_intdigest(body[span.start : span.end], SEED)
        assert chain_of(request) == chain_of(read(body, None))
        conversations.append(messages)
        recorded = remembered(
            recorded, f"c{len(conversations)}", pack(replace(mark, digest=DIGEST))
        )


def test_a_chain_is_digested_as_a_whole() -> None:
    memo, messages = Memo(1 << 24, 3), [said(n, 2_000) for n in range(4)]
    for number in range(4, 9):
        request = read(body_of(messages), memo)
        whole = blake2b(request.history.chain, digest_size=16).digest()

        assert chain_of(request) == chain_of(request) == whole
        messages.append(said(number, 500))


def listed(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_what_was_hashed_is_not_looked_at_again() -> None:
    old = listed(100_000)
    first = Prefixes()
    assert not first.begin(10, SEED)
    first.hash(memoryview(old), borders_of(len(old)))
    first.shorten(borders_of(len(old)))
    new = old + listed(3_000)
    unread = bytes(len(old)) + new[len(old) :]
    own = borders_of(len(new))
    then = first.of_next(10 + len(old))
    assert then.begin(10, SEED)

    hashes = then.hash(memoryview(unread), own)

    assert {at: hashes[at] for at in own} == {at: xxh3_64_intdigest(new[:at], SEED) for at in own}


def test_what_is_another_is_hashed_again() -> None:
    """Another seed, a list that begins elsewhere, one that was rewritten."""
    old = listed(20_000)
    first = Prefixes()
    first.begin(10, SEED)
    first.hash(memoryview(old), borders_of(len(old)))

    assert not first.of_next(20_010).begin(10, SEED + 1)
    assert not first.of_next(20_010).begin(11, SEED)
    assert not Prefixes().of_next(20_010).begin(10, SEED)
    shorter = first.of_next(10 + 19_999)
    assert shorter.begin(10, SEED)
    assert 20_000 not in shorter.hashes
    rewritten = first.of_next(10 + 17_000)
    assert rewritten.begin(10, SEED)
    assert max(rewritten.hashes) <= 17_000
    new = old[:17_000] + listed(5_000)
    assert rewritten.hash(memoryview(new), [22_000])[22_000] == xxh3_64_intdigest(new, SEED)


def test_only_one_body_before_is_kept() -> None:
    """However many are never recorded."""
    first = Prefixes()
    first.begin(0, SEED)
    first.hash(memoryview(b"list"), [4])
    second = first.of_next(4)
    third = second.of_next(4)

    assert second.before is first
    assert third.before is None


def test_a_state_not_far_from_the_end_is_kept_however_often_a_list_goes_on() -> None:
    """So one that is changed near its end is not hashed from its beginning."""
    whole, known, size = listed(150_000), Prefixes(), 100_000
    known.begin(0, SEED)
    while size < 150_000:
        known.hash(memoryview(whole)[:size], borders_of(size))
        known.shorten(borders_of(size))

        assert len(known.states) <= 3
        assert any(4_096 <= size - at <= 10_000 for at, _ in known.states)
        known, size = known.of_next(size), size + 700
        assert known.begin(0, SEED)


def test_nothing_is_known_of_a_body_that_was_not_the_one_read() -> None:
    memo, body = Memo(1 << 24, 3), body_of([said(n, 3_000) for n in range(3)])
    request = read(body, memo)
    span = span_of(request, body)
    find(body, span, (), SEED, IN_CLEAR, prefixes_of(request, body))

    assert prefixes_of(request, body).hashes
    assert not prefixes_of(request, body + b" ").hashes
    assert not prefixes_of(read(body, None), body).hashes


def test_a_place_before_a_state_is_hashed_from_before_it() -> None:
    whole, known = listed(30_000), Prefixes()
    known.begin(0, SEED)
    known.hash(memoryview(whole)[:20_000], borders_of(20_000))

    hashes = known.hash(memoryview(whole), [15_001, 30_000])

    assert hashes[15_001] == xxh3_64_intdigest(whole[:15_001], SEED)
    assert hashes[30_000] == xxh3_64_intdigest(whole, SEED)
