"""Events read by their like: how far, and what is left to be read in full."""

import pytest

from proxy.core.dialects.template import Kind, Template

HEAD, TAIL = b'data: {"delta":{"content":"', b'"},"finish_reason":null}\n\n'
USAGE = b'"},"usage":null}\n\n'


def event(text: bytes) -> bytes:
    return HEAD + text + TAIL


def plain() -> Template:
    return Template([HEAD, TAIL], ["text"], [HEAD, TAIL], [])


def counted(*, stripped: bool = False) -> Template:
    """With a number before the text, a word after it, and blanks at the end."""
    literals = [b'data: {"n":', b',"t":"', b'","usage":null,"w":"', b'","b":{}', b"}\n\n"]
    kinds: list[Kind] = ["number", "text", "word", "blank"]
    kept = [literal.replace(b',"usage":null', b"") for literal in literals]
    return Template(literals, kinds, kept if stripped else literals, None)


def numbered(number: bytes, text: bytes, word: bytes, blank: bytes) -> bytes:
    return b'data: {"n":%b,"t":"%b","usage":null,"w":"%b","b":{}%b}\n\n' % (
        *(number, text, word),
        blank,
    )


USUAL = numbered(b"7", b"a\\n", b"x", b" ")


@pytest.mark.parametrize(
    ("texts", "said", "pieces"),
    [
        ([b"a"], "a", 1),
        ([b"a", b"", b" b"], "a b", 2),
        ([b"\\u0041", "ü".encode(), b'\\"'], 'Aü"', 3),
    ],
)
def test_all_texts_of_a_run_are_read(texts: list[bytes], said: str, pieces: int) -> None:
    """At once, whatever stands in them, and each counts that is not empty."""
    template, chunk = plain(), b"".join(map(event, texts))

    assert template.read(b"data: b\n\n" + chunk, 9, len(chunk) + 9)
    assert (template.text, template.pieces, template.end) == (said, pieces, len(chunk) + 9)
    assert template.passed == chunk


@pytest.mark.parametrize(
    "rest",
    [
        *(b": ping\n\n", HEAD, HEAD + b"b", HEAD + b'b","x":"' + TAIL, event(b"\xc3")),
        *(event(b"\n"), HEAD + b'"},"finish_reason":"stop"}\n\n', b"data: [DONE]\n\n" + event(b"")),
    ],
)
def test_a_run_ends_where_something_else_begins(rest: bytes) -> None:
    """And what that is, is for a decoder to say, wherever it stands."""
    for behind in (b"", event(b"c")):
        template, chunk = plain(), event(b"a") + event(b"b") + rest + behind

        assert template.read(chunk, 0, len(chunk))
        assert (template.text, template.pieces) == ("ab", 2)
        assert template.end == len(event(b"a")) * 2


@pytest.mark.parametrize("chunk", [b"data: [DONE]\n\n", HEAD + b"a", event(b"\n"), event(b'"')])
def test_another_event_is_not_read(chunk: bytes) -> None:
    """Alone or first of a run."""
    assert not plain().read_alone(chunk)
    assert not plain().read(chunk, 0, len(chunk))


def test_a_run_is_read_no_further_than_it_may_be() -> None:
    """A chunk is searched in windows."""
    template, chunk = plain(), event(b"a") * 3

    assert template.read(chunk, 0, len(chunk) - 1)
    assert template.end == len(event(b"a")) * 2
    assert not template.read(chunk, 0, len(event(b"a")) - 1)


def test_one_event_is_read_alone_and_several_are_not() -> None:
    """The shortest way is for the usual chunk."""
    template = plain()

    assert template.read_alone(event(b"a\\n"))
    assert (template.text, template.pieces) == ("a\n", 1)
    assert not template.read_alone(event(b"") * 2)
    assert not template.read_alone(event(b"a") + b": ping\n\n")


def test_a_head_may_say_twice_what_a_text_follows() -> None:
    """Then the texts cannot be found by the end of it alone."""
    head = b'data: {"x":{"content":""},"y":{"content":"'
    template = Template([head, TAIL], ["text"], [head, TAIL], None)
    chunk = b"".join([head + text + TAIL for text in (b"a", b"b", b"c")])

    assert template.read(chunk, 0, len(chunk))
    assert (template.text, template.end) == ("abc", len(chunk))


def test_what_was_not_asked_for_is_not_forwarded() -> None:
    """Of one event and of several."""
    template = Template([HEAD, USAGE], ["text"], [HEAD, b'"}}\n\n'], None)
    one, stripped = HEAD + b"a" + USAGE, HEAD + b'a"}}\n\n'

    assert template.changed
    assert template.read_alone(one)
    assert template.passed == stripped
    assert template.read(one * 3, 0, len(one) * 3)
    assert template.passed == stripped * 3


@pytest.mark.parametrize("stripped", [False, True])
def test_several_holes_are_filled_as_they_may_be(stripped: bool) -> None:
    """A number, a word, blanks; and the text between them."""
    template, chunk = counted(stripped=stripped), USUAL + numbered(b"10", b"", b"", b"")

    assert template.read(chunk + b": ping\n\n", 0, len(chunk) + 8)
    assert (template.text, template.pieces, template.end) == ("a\n", 1, len(chunk))
    assert template.passed == (chunk.replace(b',"usage":null', b"") if stripped else chunk)
    assert not template.read_alone(USUAL + b": ping\n\n")
    assert template.read_alone(USUAL)
    assert (template.text, template.pieces) == ("a\n", 1)


@pytest.mark.parametrize(
    "other",
    [
        *(numbered(number, b"a", b"x", b"") for number in (b"", b"07", b"-1", b"1.5", b"9" * 16)),
        *(numbered(b"7", b"a", word, b"") for word in (b" ", b'"', b"\\n", b"\xc3\xbc")),
        *(numbered(b"7", b"a", b"x", blank) for blank in (b"\t", b",", b"x")),
        *(numbered(b"7", text, b"x", b"") for text in (b'"', b"\n", b"\xc3")),
        *(USUAL[:-1], USUAL[:30], b'data: {"n":'),
    ],
)
def test_a_hole_that_is_filled_otherwise_is_for_a_decoder(other: bytes) -> None:
    """What does not fit may end elsewhere."""
    template = counted()

    assert not template.read_alone(other)
    assert not template.read(other, 0, len(other))
    assert template.read(USUAL + other, 0, len(USUAL + other))
    assert template.end == len(USUAL)
