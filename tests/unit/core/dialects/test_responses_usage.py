"""Usage of the Responses API: what the provider's own tools did is billed beside the tokens."""

import json

import msgspec
import pytest

from proxy.core.dialects.responses_usage import read_usage
from proxy.core.usage import Extras, Usage

SEARCH = {"type": "web_search_call", "id": "ws", "action": {"type": "search", "query": "q"}}
OPEN = {"type": "web_search_call", "action": {"type": "open_page", "url": "u"}}
FIND = {"type": "web_search_call", "action": {"type": "find_in_page"}}
FILES = {"type": "file_search_call", "queries": ["a", "b"]}


def ran(container: str) -> dict[str, object]:
    return {"type": "code_interpreter_call", "container_id": container}


def extras_of(*output: object, **beside: object) -> Extras | None:
    usage = msgspec.Raw(b'{"input_tokens":1,"output_tokens":1}')
    read = read_usage(usage, msgspec.Raw(json.dumps(output).encode()), **beside)
    assert read is not None
    return read.extras


@pytest.mark.parametrize(
    ("output", "extras"),
    [
        ((), None),
        (({"type": "message"}, {"type": "function_call"}), None),
        ((SEARCH, OPEN, FIND, SEARCH), Extras(web_searches=2)),
        (({"type": "web_search_call"},), Extras(web_searches=1)),  # of a model that does not say
        ((FILES, FILES), Extras(file_searches=2)),
        ((ran("a"), ran("a"), ran("b")), Extras(containers=2)),
        ((SEARCH, 5, {"type": []}), Extras(web_searches=1)),
        (({"type": "message", "content": "web_search_call"},), None),
    ],
)
def test_uses_that_are_billed_are_counted_in_the_output(
    output: tuple[object, ...], extras: Extras | None
) -> None:
    """A page that is opened costs nothing; a container costs once."""
    assert extras_of(*output) == extras


def test_the_providers_own_count_of_searches_wins() -> None:
    """Also where it is nought."""
    assert extras_of(SEARCH, tool_usage={"web_search": {"num_requests": 3}}) == Extras(
        web_searches=3
    )
    assert extras_of(SEARCH, tool_usage={"web_search": {"num_requests": 0}}) is None
    assert extras_of(SEARCH, tool_usage="odd") == Extras(web_searches=1)


def test_an_output_that_is_no_list_says_nothing() -> None:
    usage = msgspec.Raw(b'{"input_tokens":1,"output_tokens":1}')

    assert read_usage(usage, msgspec.Raw(b'"web_search_call"')) == Usage(1, output_tokens=1)
    assert read_usage(usage, msgspec.Raw()) == Usage(1, output_tokens=1)


def test_the_service_tier_is_the_answers() -> None:
    assert extras_of(service_tier="priority") == Extras(terms=("priority",))
    assert extras_of(service_tier="default") is None


def test_images_audio_and_routed_searches_are_read_from_the_usage() -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {
            "cached_tokens": 50,
            "audio_tokens": 60,
            "image_tokens": 7,
            "cached_tokens_details": {"audio_tokens": 40},
        },
        "output_tokens": 30,
        "output_tokens_details": {"image_tokens": 20},
        "server_tool_use_details": {"web_search_requests": 2},
        "service_tier": "flex",
    }

    read = read_usage(msgspec.Raw(json.dumps(usage).encode()), msgspec.Raw())

    extras = Extras(40, 7, 20, web_searches=2, terms=("flex",))
    assert read == Usage(50, 50, output_tokens=30, input_audio_tokens=20, extras=extras)
