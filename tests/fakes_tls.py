"""Providers and proxies that speak TLS, by the tests' own certificate (for `localhost`)."""

import asyncio
import ssl
from pathlib import Path

from tests.fakes_wire import answer

CERTIFICATE = Path(__file__).parent / "data" / "tls" / "localhost.pem"
YES = b"HTTP/1.1 200 OK\r\n\r\n"


def trusting() -> ssl.SSLContext:
    """A client's context that knows the tests' authority."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


class TlsUpstream:
    """Answers over TLS; as a proxy, tunnels to itself, saying `yes` first.

    `heads`: what it was asked. `names` and `protocols`: what handshakes asked for.
    """

    def __init__(self, *, raw: bytes = answer(b"secret"), yes: bytes = YES) -> None:
        self.heads: list[bytes] = []
        self.names: list[str | None] = []
        self.protocols: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(CERTIFICATE)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self.context.sni_callback = self._named
        self._raw = raw
        self._yes = yes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For `asyncio.start_server`."""
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if self.heads[-1].startswith(b"CONNECT"):
                    writer.write(self._yes)
                    await writer.start_tls(self.context)
                else:
                    tls = writer.get_extra_info("ssl_object")
                    self.protocols.append(tls and tls.selected_alpn_protocol())
                    writer.write(self._raw)
        except (asyncio.IncompleteReadError, OSError):
            writer.transport.abort()

    def _named(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.names.append(name)
