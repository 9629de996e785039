"""Which recorded request goes on from which: the tree of a session's histories.

A history is the digests of its messages in a row (`equivalence.SteadyChains`), 16 bytes each. A
step goes on from the one with the longest history that its own begins with. Each node keeps only
what it adds, so that a session's tree is as long as its messages, not their square.
"""

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

DIGEST_BYTES: Final = 16
_TRIED: Final = 8


def beginnings(chain: bytes) -> Iterator[bytes]:
    """What a step with each beginning of this history has as its `chain`, shortest first; the last
    is its own."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for at in range(0, len(chain), DIGEST_BYTES):
        digest.update(chain[at : at + DIGEST_BYTES])
        yield digest.copy().digest()


class Node(msgspec.Struct, frozen=True, gc=False):
    """A step's history. added: what comes after that of `parent`, a call id; "" for none.
    size_bytes: of all of it."""

    call_id: str
    parent: str
    added: bytes
    size_bytes: int


def _digest(chain: bytes) -> bytes:
    return blake2b(chain, digest_size=DIGEST_BYTES).digest()


class Histories:
    """A session's tree; grows with its log. Its owner's."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._ends: dict[bytes, list[str]] = {}
        self._sizes: set[int] = set()

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._nodes

    def add(self, call_id: str, chain: bytes) -> None:
        """One more step. Steps are added in the order in which they were made."""
        parent = self.before(chain)
        start = self._nodes[parent].size_bytes if parent else 0
        self._nodes[call_id] = Node(call_id, parent, chain[start:], len(chain))
        if chain:
            self._ends.setdefault(_digest(chain), []).append(call_id)
            self._sizes.add(len(chain))

    def before(self, chain: bytes) -> str:
        """The step whose history is the longest that this one begins with and is longer than;
        "" for none. Of several with the same, the first."""
        sizes = [size for size in sorted(self._sizes, reverse=True) if size < len(chain)]
        for size in sizes[:_TRIED]:
            if found := self.of(chain[:size]):
                return found[0]
        if rest := sizes[_TRIED:]:  # of many histories beside this one
            digests = [*beginnings(chain)]
            for size in rest:
                if found := self._ends.get(digests[size // DIGEST_BYTES - 1], ()):
                    return found[0]
        return ""

    def of(self, chain: bytes) -> Sequence[str]:
        """The steps that have this history, in order."""
        return self._ends.get(_digest(chain), ())

    def after(self, call_id: str) -> Iterator[str]:
        """The steps that go on from this one, or from another with the same history, in order."""
        first = next(iter(self.of(self.chain(call_id))), call_id)
        for node in self._nodes.values():
            if node.parent == first:
                yield node.call_id

    def chain(self, call_id: str) -> bytes:
        return b"".join([node.added for node in self._path(call_id)])

    def without(self, call_id: str, skipped: Collection[str]) -> bytes | None:
        """Its history without what followed the skipped steps: the answer that was not given, and
        what came of it. None where none of them is on the way to it."""
        path = self._path(call_id)
        if not any(node.parent in skipped for node in path):
            return None
        return b"".join([node.added for node in path if node.parent not in skipped])

    def is_shortened(self, call_id: str, skipped: Collection[str], chain: bytes) -> bool:
        """Whether its history `without` the skipped steps is this one. Most are told apart by
        their last message."""
        node = self._nodes[call_id]
        last = b"" if node.parent in skipped else node.added[-DIGEST_BYTES:]
        return chain.endswith(last) and self.without(call_id, skipped) == chain

    def _path(self, call_id: str) -> list[Node]:
        """From its beginning to it."""
        path = []
        while call_id:
            node = self._nodes[call_id]
            path.append(node)
            call_id = node.parent
        path.reverse()
        return path
