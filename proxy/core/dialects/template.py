"""Reads events that differ from one that was read before only in their text, without decoding them.

Theory of operation. Most events of a stream are the same bytes but for the text that came: who the
answer is from, what model made it, which choice it belongs to is said again with each. So of one
that was read in full a template is kept: its bytes, with a hole where the text was, and holes where
it counts itself (`sequence_number`) or hides its length (`obfuscation`, blanks before a bracket).
What fills the holes of the events that follow is found with a few searches; where there is no hole
but the text, that of many events at once.

Why that is the same as decoding each. JSON is read from its beginning: up to a hole nothing
differs, and where a hole between quotes is filled with what may stand in a JSON string, the string
ends where it ended before, and all is read on as before. (So does a number that is filled with
digits, and blanks mean nothing.) That the text is what its hole holds, and that nothing is made of
what fills the others, is not assumed: `template_making` has an event with other fillings read in
full first.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Kind = Literal["text", "word", "number", "blank"]
"""What fills a hole: of a JSON string, letters and digits, digits, blanks."""

UNASKED: Final = b',"usage":null'
"""What OpenAI adds to each event where usage was asked for."""

_MARK_BYTES: Final = 12
_ZERO, _LONGEST_NUMBER = ord("0"), 15
_PLAIN: Final = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
"""What stands for itself in a JSON string."""

_STRING = msgspec.json.Decoder(str)


class Template:
    """One kind of event of one stream: literals, with a hole between each two.

    What was read last: end: where that ends in the chunk. pieces: the texts that are not empty;
    text: all of them. passed: what is forwarded; changed: that this may be less than what came.
    """

    __slots__ = (
        "_after_text",
        "_before_text",
        "_between",
        "_forwarded_tail",
        "_head",
        "_holes",
        "_mark",
        "_shortest_two",
        "_tail",
        "changed",
        "end",
        "into",
        "passed",
        "pieces",
        "text",
    )

    def __init__(
        self,
        literals: Sequence[bytes],
        kinds: Sequence[Kind],
        forwarded: Sequence[bytes],
        into: list[str] | None,
    ) -> None:
        """forwarded: the literals of what is forwarded."""
        self.into = into
        self.changed = literals != forwarded
        self.end = self.pieces = 0
        self.text = ""
        self.passed = b""
        self._head, self._tail = literals[0], literals[-1]
        self._forwarded_tail = forwarded[-1]
        self._before_text, self._after_text = len(self._head) - 1, 1 - len(self._tail)
        self._holes = tuple(
            (kind, literal, len(literal), -1 if literal == kept else literal.rindex(UNASKED))
            for kind, literal, kept in zip(kinds, literals[1:], forwarded[1:], strict=True)
        )
        self._between = self._tail + self._head if len(kinds) == 1 else b""
        short = self._head[-_MARK_BYTES:]
        self._mark = short if self._between.count(short) == 1 else self._between
        self._shortest_two = 2 * sum(map(len, literals))

    def read_alone(self, event: bytes) -> bool:
        """Reads bytes that are one event of this kind, and nothing else; False where they are
        not."""
        size = len(event)
        if size >= self._shortest_two or not event.startswith(self._head):
            return False
        self.pieces = 1
        if not self._between or self.changed:
            return self._read_one(event, 0, size) and self.end == size
        if not event.endswith(self._tail):
            return False
        try:
            self.text = _STRING.decode(event[self._before_text : self._after_text])
        except ValueError:
            return False
        return True

    def read(self, chunk: bytes, at: int, end: int) -> bool:
        """Reads the events of this kind that begin at `at`, as far as they are whole before `end`.
        False where the first is none."""
        if not chunk.startswith(self._head, at, end):
            return False
        if self._between:
            return self._read_texts(chunk, at, end)
        return self._read_one_by_one(chunk, at, end)

    def _read_texts(self, chunk: bytes, at: int, end: int) -> bool:
        """Where the text is the only hole."""
        tail, between = self._tail, self._between
        begin, size = at + len(self._head), len(tail)
        stop = end - size
        if not chunk.endswith(tail, begin, end):
            stop = chunk.rfind(tail, begin, end)
            if stop < 0:
                return False
        texts = self._split(chunk[begin:stop])
        text, known = _joined(texts)
        if known < len(texts):
            # What is no text may be one, and then an event of another kind.
            last = texts[known].partition(tail)[0]
            del texts[known:]
            if (more := _text(last)) is not None:
                texts.append(last)
                text += more
            elif not texts:
                return False
            stop = begin + sum(map(len, texts)) + (len(texts) - 1) * len(between)
        self.text = text
        self.pieces = len(texts) - texts.count(b"")
        self.end = stop + size
        if self.changed:
            tail = self._forwarded_tail
            self.passed = b"%b%b%b" % (self._head, (tail + self._head).join(texts), tail)
        else:
            self.passed = chunk[at : self.end]
        return True

    def _split(self, texts: bytes) -> list[bytes]:
        """What is between the literals between two texts. They are long, and a search for a part of
        them is five times faster; whether what is around that part is theirs shows at once."""
        mark, between = self._mark, self._between
        parts = texts.split(mark)
        if len(parts) > 1:
            size = len(mark) - len(between)
            last = parts.pop()
            parts = [part[:size] for part in parts]
            parts.append(last)
            if between.join(parts) != texts:
                return texts.split(between)
        return parts

    def _read_one_by_one(self, chunk: bytes, at: int, end: int) -> bool:
        """Where there are other holes beside the text."""
        begin, head = at, self._head
        texts: list[str] = []
        passed: list[bytes] = []
        while chunk.startswith(head, at, end) and self._read_one(chunk, at, end):
            at = self.end
            texts.append(self.text)
            passed.append(self.passed)
        self.text = "".join(texts)
        self.pieces = len(texts) - texts.count("")
        self.end = at
        self.passed = b"".join(passed) if self.changed else chunk[begin:at]
        return at > begin

    def _read_one(self, chunk: bytes, at: int, end: int) -> bool:
        place, cut, first, last = at + self._before_text + 1, 0, 0, 0
        for kind, literal, size, cut_at in self._holes:
            stop = chunk.find(literal, place, end)
            if stop < 0:
                return False
            if kind == "text":
                first, last = place - 1, stop + 1
            elif not _fits(kind, chunk[place:stop]):
                return False
            if cut_at >= 0:
                cut = stop + cut_at
            place = stop + size
        try:
            self.text = _STRING.decode(chunk[first:last])
        except ValueError:
            return False
        self.end = place
        if self.changed:
            self.passed = chunk[at:cut] + chunk[cut + len(UNASKED) : place]
        return True


def _fits(kind: Kind, filling: bytes) -> bool:
    if kind == "word":
        return not filling or filling.isalnum()
    if kind == "blank":
        return not filling.strip(b" ")
    return filling.isdigit() and filling[0] != _ZERO and len(filling) <= _LONGEST_NUMBER


def _joined(texts: Sequence[bytes]) -> tuple[str, int]:
    """The texts in one, up to the first that is none, and how many these are."""
    joined = texts[0] if len(texts) == 1 else b"".join(texts)
    if not joined.translate(None, _PLAIN):
        return joined.decode(), len(texts)
    read: list[str] = []
    for text in texts:
        said = _text(text)
        if said is None:
            break
        read.append(said)
    return "".join(read), len(read)


def _text(written: bytes) -> str | None:
    """What a JSON string says, by what is between its quotes; None where that is no string."""
    try:
        return _STRING.decode(b'"%b"' % written)
    except ValueError:
        return None
