"""The front part of every parse: hostile bytes in, a refusal by name out."""

import json
from time import process_time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import (
    MAX_COUNT,
    Body,
    body_digest,
    bounded_tools,
    read_body,
    read_count,
    read_flag,
    read_hints,
    read_model,
    read_text,
)
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import law


def taken(body: bytes) -> Body:
    return read_body(body, Bounds(), ("model", "a"))


def digest_of(body: bytes) -> bytes:
    return body_digest(body, taken(body).places)


def members(body: bytes) -> dict[str, msgspec.Raw]:
    return dict(taken(body).members)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty: expected a JSON object"),
        (b" \n", "the body is empty: expected a JSON object"),
        (b"[]", "the body is not a JSON object"),
        (b'{"a":"\xff"}', "the body is not UTF-8"),
        (b'{"a":NaN}', "the body is not JSON: JSON is malformed: invalid character (byte 5)"),
        (b'{"a":' * 5000, "the body nests too deeply"),
        (b'{"a":' + b"[" * 128 + b"]" * 128 + b"}", "the body nests deeper than 128 levels"),
    ],
)
def test_unreadable_bodies_are_refused_with_the_reason(body: bytes, message: str) -> None:
    """Bad input gets a 4xx that says why, never a 500."""
    with pytest.raises(MalformedRequest) as caught:
        members(body)

    assert (caught.value.message, caught.value.status) == (message, 400)


def test_a_governed_key_given_twice_is_refused() -> None:
    """One reader takes the first, another the last: a bound could be shown to us alone."""
    with pytest.raises(MalformedRequest) as caught:
        members(b'{"a":1,"\\u0061":9}')

    assert caught.value.param == "a"
    assert members('{"b":1,"b":"é"}'.encode()).keys() == {"b"}


@pytest.mark.parametrize("key", ["MODEL", "Model", "A"])
def test_a_governed_key_in_another_case_is_refused(key: str) -> None:
    """Go's encoding/json takes it for the one in lower case: a dearer model, a larger bound."""
    with pytest.raises(MalformedRequest) as caught:
        members(json.dumps({"model": "cheap", key: "dear"}).encode())

    assert caught.value.param == key.lower()
    assert members(b'{"model":"m","Other":1,"b\xc3\x84":2}').keys() == {"model", "Other", "b\u00c4"}


def test_a_governed_key_in_letters_that_fold_to_it_is_refused() -> None:
    body = json.dumps({"max_to\u212aens": 9, "\u017ftream": True}).encode()
    for governed in ("max_tokens", "stream"):
        with pytest.raises(MalformedRequest):
            read_body(body, Bounds(), (governed,))


def test_a_body_of_too_many_members_is_refused_at_once() -> None:
    """Three million keys held up every other call for half a minute."""
    body = b'{"a":1' + b"".join(b',"k%d":1' % at for at in range(1_000)) + b"}"
    many = b"{" + b'"k":1,' * 400_000 + b'"a":1}'

    with pytest.raises(MalformedRequest, match="the body has more than 1000 members"):
        members(body)
    assert len(members(body.replace(b',"k999":1', b""))) == 1000
    begun = process_time()
    with pytest.raises(MalformedRequest, match="members"):
        members(many)
    assert process_time() - begun < 0.1  # of a processor's time; it takes a hundredth of this


def test_a_body_of_too_many_values_is_refused() -> None:
    """Each becomes an object: what no model's context holds must not fill memory."""
    flood = b'{"a":[' + b"{}," * 300_000 + b"{}]}"

    with pytest.raises(MalformedRequest, match="the body has more than 500000 values"):
        members(flood)
    assert members(b'{"a":"' + b"x" * 600_000 + b'"}').keys() == {"a"}


@pytest.mark.parametrize("key", ["model", "stream_options", "thinking", "previous_response_id"])
def test_what_is_small_by_nature_is_held_to_it(key: str) -> None:
    """It is kept, logged, matched and rewritten, all of which takes as long as it is large."""
    with pytest.raises(MalformedRequest) as caught:
        members(b'{"%b":"%b"}' % (key.encode(), b"x" * 4096))

    assert caught.value.param == key


def test_the_name_of_a_model_has_an_end() -> None:
    """It is kept with every step, and in every line of the log."""
    assert read_model(members(b'{"model":"%b"}' % (b"m" * 256))) == "m" * 256
    with pytest.raises(MalformedRequest, match="model: expected at most 256 characters") as caught:
        read_model(members(b'{"model":"%b"}' % (b"m" * 257)))

    assert caught.value.param == "model"
    assert read_model(members(b"{}"), needed=False) == ""


def test_tools_are_bounded() -> None:
    """Each is held against every glob of the policy."""
    assert bounded_tools(["t"] * 3, Bounds(tools=3)) == ("t", "t", "t")
    with pytest.raises(MalformedRequest, match="tools: expected at most 3"):
        bounded_tools(["t"] * 4, Bounds(tools=3))


@pytest.mark.parametrize(
    "raw", ["0", "-1", "1.0", "1e2", "true", '"5"', "[5]", str(MAX_COUNT + 1), "9" * 400]
)
def test_a_count_out_of_bounds_is_refused_by_name(raw: str) -> None:
    """A bound is what money is held for: nothing but a sane integer may pass."""
    with pytest.raises(MalformedRequest, match=f"n: expected an integer from 1 to {MAX_COUNT}"):
        read_count({"n": msgspec.Raw(raw.encode())}, "n")


def test_absent_and_null_are_the_same() -> None:
    """SDKs send null for what the caller left out."""
    given = {"n": msgspec.Raw(b"null"), "s": msgspec.Raw(b"null")}

    assert read_count(given, "n") is None
    assert read_count({}, "n") is None
    assert read_count({"n": msgspec.Raw(b"0")}, "n", least=0) == 0
    assert read_flag(given, "s") is False
    assert read_flag({"s": msgspec.Raw(b"true")}, "s") is True
    assert read_text(given, "s") is None


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":""}', b'{"model":["x"]}'])
def test_a_request_names_its_model(body: bytes) -> None:
    """Without a model there is no price and no route."""
    with pytest.raises(MalformedRequest, match="model: expected"):
        read_model(members(body))


def test_hints_are_flattened_and_never_refused() -> None:
    """They may name the session; whoever sends nonsense in them just has none."""
    hints = read_hints(
        members(
            b'{"user":"u","conversation":{"id":"c"},"prompt_cache_key":"","safety_identifier":"'
            + b"x" * 5000
            + b'","metadata":{"user_id":"{}","holdfast_budget_usd":0.5,"holdfast_steps":3,'
            b'"n":null},'
            b'"client_metadata":5}'
        )
    )

    assert hints == {
        "user": "u",
        "metadata.user_id": "{}",
        "metadata.holdfast_budget_usd": "0.5",
        "metadata.holdfast_steps": "3",
    }


def test_of_many_hints_the_first_are_kept() -> None:
    """Metadata is the provider's to judge; two million keys of it held up every other call."""
    few = ",".join(f'"k{at}":"v"' for at in range(100))
    huge = ",".join(f'"k{at}":"v"' for at in range(10_000))

    assert list(read_hints(members(f'{{"metadata":{{{few}}}}}'.encode()))) == [
        f"metadata.k{at}" for at in range(64)
    ]
    assert read_hints(members(f'{{"client_metadata":{{{huge}}}}}'.encode())) == {}


def test_the_digest_of_a_body_ignores_streaming_alone() -> None:
    """Claude Code repeats a broken stream unstreamed: the same call, not a new step."""
    streamed = digest_of(b'{"a":1,"stream":true,"stream_options":{"include_usage":true}}')

    assert streamed == digest_of(b'{"a":1}')
    assert streamed != digest_of(b'{"a":2}')


@law
@given(
    st.lists(st.sampled_from("abc"), unique=True, min_size=1),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["stream", "stream_options"]))),
    st.booleans(),
)
def test_a_retry_is_known_wherever_its_client_says_that_it_streams(
    keys: list[str], put_in: list[tuple[int, str]], compact: bool
) -> None:
    """First, last, or one after the other; and as each serialiser parts its members."""
    members = dict.fromkeys(keys, 1)
    streamed = list(keys)
    for at, key in {key: (at, key) for at, key in put_in}.values():
        streamed.insert(at, key)

    def written(names: list[str]) -> bytes:
        body: dict[str, object] = {name: members.get(name, {}) for name in names}
        return json.dumps(body, separators=(",", ":") if compact else None).encode()

    assert digest_of(written(streamed)) == digest_of(written(keys))
    assert digest_of(written(streamed)) != digest_of(written(keys[1:]))
