"""Two translations, one behind the other: what each promises alone holds for both."""

from dataclasses import dataclass

from proxy.core.translation.base import StreamTranslation, Translation


@dataclass(frozen=True, slots=True)
class Composed:
    """Implements `Translation`. outer: of the client's dialect, to the one between. inner: from
    there to the one that is spoken; its answers need nothing of the request."""

    outer: Translation
    inner: Translation

    def request(self, body: bytes, *, output_bound: int) -> bytes:
        between = self.outer.request(body, output_bound=output_bound)
        return self.inner.request(between, output_bound=output_bound)

    def answer(self, body: bytes, *, asked: bytes, created: int) -> bytes:
        told = self.inner.answer(body, asked=b"", created=created)
        return self.outer.answer(told, asked=asked, created=created)

    def error(self, status: int, body: bytes) -> bytes:
        return self.outer.error(status, self.inner.error(status, body))

    def stream(self, body: bytes, *, created: int) -> StreamTranslation:
        inner = self.inner.stream(b"", created=created)
        return _Stream(self.outer.stream(body, created=created), inner)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Implements `StreamTranslation`."""

    outer: StreamTranslation
    inner: StreamTranslation

    def feed(self, chunk: bytes) -> bytes:
        return self.outer.feed(self.inner.feed(chunk))

    def close(self) -> bytes:
        return self.outer.feed(self.inner.close()) + self.outer.close()
