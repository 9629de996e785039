"""The data port of several workers: theirs together, and nobody else's."""

import socket


def reserve(host: str, port: int) -> socket.socket:
    """Keeps a port for listeners with SO_REUSEPORT, of this process and those it forks; 0 takes a
    free one. It takes no connections itself. Raises OSError where others listen there, though they
    would share it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone:
        port = _bound(alone, host, port)
    kept = socket.socket(family)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bound(kept, host, port)
    except OSError:
        kept.close()
        raise
    return kept


def _bound(to_bind: socket.socket, host: str, port: int) -> int:
    to_bind.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if to_bind.family == socket.AF_INET6:
        to_bind.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        to_bind.bind((host, port))
    except OSError as error:
        raise OSError(error.errno, f"{host}:{port}: {error.strerror}") from error
    return int(to_bind.getsockname()[1])
