"""Ids as the providers make them: random-looking, unique, the same again under the same seed."""

import secrets
from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

IdStyle = Literal["random", "constant"]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Ids:
    """Makes ids. Unique within one instance; two instances of one seed make the same sequence.

    style `constant`: tool-call ids are `call_0`, `call_1`, … in every answer, as some local servers
    do it: what relies on them to tell sessions apart must notice.
    """

    def __init__(self, seed: int | None = None, style: IdStyle = "random") -> None:
        self._key = secrets.token_bytes(16) if seed is None else str(seed).encode()
        self._count = 0
        self._style = style

    def base62(self, prefix: str, length: int) -> str:
        """`prefix` and `length` letters and digits."""
        number = int.from_bytes(self._digest(), "big")
        letters = []
        for _ in range(length):
            number, index = divmod(number, 62)
            letters.append(_BASE62[index])
        return prefix + "".join(letters)

    def hexadecimal(self, prefix: str, length: int) -> str:
        """`prefix` and `length` (at most 96) hexadecimal digits."""
        return prefix + self._digest().hex()[:length]

    def tool_call(self, index: int, make: Callable[["Ids"], str]) -> str:
        """The id of the `index`-th tool call of an answer, `make` giving it the provider's form."""
        return f"call_{index}" if self._style == "constant" else make(self)

    def _digest(self) -> bytes:
        self._count += 1
        return blake2b(self._count.to_bytes(8, "big"), digest_size=48, key=self._key[:64]).digest()
