"""The port that workers share."""

import errno
import socket
from contextlib import closing

import pytest

from proxy.workers.ports import reserve


def listener(port: int, *, shared: bool) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    made.listen()
    return made


def test_those_who_share_it_listen_there_and_nobody_else() -> None:
    with closing(reserve("127.0.0.1", 0)) as kept:
        port = kept.getsockname()[1]
        two = [listener(port, shared=True) for _ in range(2)]

        with pytest.raises(OSError, match="in use"):
            listener(port, shared=False)
        for each in two:
            each.close()


def test_it_takes_no_connections_itself() -> None:
    """Else a share of the clients would wait for ever."""
    with closing(reserve("127.0.0.1", 0)) as kept, closing(socket.socket()) as client:
        assert client.connect_ex(kept.getsockname()) == errno.ECONNREFUSED


def test_a_port_that_others_share_is_refused() -> None:
    with closing(listener(0, shared=True)) as others:
        port = others.getsockname()[1]

        with pytest.raises(OSError, match=f"127.0.0.1:{port}: Address already in use"):
            reserve("127.0.0.1", port)


def test_it_may_be_an_address_of_version_6() -> None:
    with closing(reserve("::1", 0)) as kept:
        assert kept.family == socket.AF_INET6
