"""What one client can make the server hold or wait for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on every client connection; a slow or greedy one costs no more than this.

    `head_seconds`: from the first byte of a request to the end of its head. `body_seconds`: between
    two parts of a body, which must also come faster than `body_bytes_per_second` on the whole.
    `write_seconds`: how long a client may leave what it is sent unread. `idle_seconds`: a kept
    connection between requests; longer than any client keeps its own, so that it is the client who
    closes and no request crosses our close.
    """

    connections: int = 10_000
    line_bytes: int = 16_384
    header_bytes: int = 32_768
    head_bytes: int = 65_536
    header_count: int = 128
    head_seconds: float = 20.0
    body_seconds: float = 30.0
    body_bytes_per_second: int = 1_024
    write_seconds: float = 300.0
    idle_seconds: float = 620.0
    lingering_seconds: float = 5.0
