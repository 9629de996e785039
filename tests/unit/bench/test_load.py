"""What the load generator says is read exactly: a figure misread here is published."""

import pytest

from bench.rig.load import Load, outcome

LINE = (
    b'{"answered":90,"rate":45.0,"chunks":0,"closed":1,"partial":2,"unanswered":3,'
    b'"backlog_ms":0.0,"statuses":{"200":92,"422":4},'
    b'"latency_us":{"p50":1.0,"p90":2.0,"p99":3.0,"p999":4.0,"max":5.0},'
    b'"first_us":{},"chunk_us":{},"example":"HTTP/1.1 422"}\n'
)


def test_every_request_without_a_whole_answer_is_an_error() -> None:
    """A proxy that refuses or cuts is fast; counted as answers, that would look like speed."""
    said = outcome(LINE)

    assert said.answered == 90
    assert said.errors == 4 + 1 + 2 + 3


def test_a_time_that_was_not_measured_is_none() -> None:
    """Not 0, which would win every comparison."""
    said = outcome(LINE)

    assert said.latency_us.p99 == 3.0
    assert said.chunk_us.p50 is None


@pytest.mark.parametrize("line", [b"", b"perror: no such file", b'{"answered":1}'])
def test_anything_but_its_line_is_refused(line: bytes) -> None:
    """A generator that died must end the bench, not fill its table."""
    with pytest.raises(ValueError, match="load generator said"):
        outcome(line)


def test_a_load_without_a_rate_asks_for_none() -> None:
    """`-r 0` and no `-r` are two kinds of load."""
    load = Load(port=1, path="/p", bodies=(), connections=2)

    assert "-r" not in load.argv(1.0)
