"""Counts the output of an answer while it comes."""

_QUARTERS_PER_ASCII_BYTE = 1
"""English text and JSON arguments have 4 bytes a token: recorded answers 3.9 to 5.4 (median 4.4)
where they are longer than twenty tokens."""

_QUARTERS_PER_OTHER_BYTE = 2  # a CJK character is 3 bytes and up to 1.3 tokens
_AUDIO_BYTES_PER_QUARTER = 256  # base64; of 24 kHz, 16 bit PCM a token takes some 3 KB
_QUARTERS_PER_CALL = 16
"""What a provider wraps a call in is billed and never sent: of 1,034 recorded answers a median of
10 tokens a call (Mistral 4, GPT 4 to 11, Claude 60). Only xAI was seen to bill less than 4."""


class OutputCount:
    """Tokens by what has passed, the same for every dialect; a provider's own figure replaces it.

    pieces: how often content came, each time a token at the least. heads: what the heads of calls
    come to beside the pieces that they came in.
    """

    __slots__ = ("_quarters", "heads", "pieces")

    def __init__(self) -> None:
        self._quarters = 0  # of a token
        self.pieces = 0
        self.heads = 0

    @property
    def tokens(self) -> int:
        """The estimate, rounded up."""
        return -(-self._quarters // 4)

    def add(self, text: str) -> None:
        """A piece of text, reasoning or arguments; an empty one is none."""
        if text:
            self.add_pieces(text, 1)

    def add_call(self, name: str) -> None:
        """The head of a tool's call: its name, and what frames it. Without a name there is none
        yet."""
        if name:
            before = self._quarters
            self._quarters += _QUARTERS_PER_CALL
            self.add_pieces(name, 1)
            self.heads += -(-(self._quarters - before) // 4) - 1

    def add_pieces(self, text: str, pieces: int) -> None:
        """So many pieces, none of them empty, in one."""
        self.pieces += pieces
        if text.isascii():
            self._quarters += len(text) * _QUARTERS_PER_ASCII_BYTE
            return
        ascii_bytes = len(text.encode("ascii", "ignore"))
        other_bytes = len(text.encode()) - ascii_bytes
        self._quarters += ascii_bytes * _QUARTERS_PER_ASCII_BYTE
        self._quarters += other_bytes * _QUARTERS_PER_OTHER_BYTE

    def add_audio(self, size_bytes: int) -> None:
        """A piece of base64."""
        self.pieces += 1
        self._quarters += -(-size_bytes // _AUDIO_BYTES_PER_QUARTER)
