"""Ids: sessions are told apart by them."""

from proxy.simulator.chat import call_id
from proxy.simulator.ids import Ids


def test_one_seed_makes_one_sequence() -> None:
    """A failing run can be played again."""
    one, two = Ids(7), Ids(7)

    assert [one.base62("call_", 24) for _ in range(3)] == [
        two.base62("call_", 24) for _ in range(3)
    ]


def test_ids_are_unique_and_have_the_providers_form() -> None:
    """Prefix and length are what clients and proxies match on."""
    ids = Ids(1)
    made = [ids.base62("call_", 24) for _ in range(1000)]

    assert len(set(made)) == 1000
    assert all(len(one) == 29 and one[5:].isalnum() for one in made)
    assert len(ids.hexadecimal("resp_", 48)) == 53


def test_two_instances_without_a_seed_differ() -> None:
    """Two simulators in one test are two providers."""
    assert Ids().base62("", 20) != Ids().base62("", 20)


def test_constant_ids_repeat_in_each_answer() -> None:
    """Some local servers send `call_0` always: what relies on ids must notice."""
    ids = Ids(1, "constant")

    assert [call_id(ids, 0), call_id(ids, 1), call_id(ids, 0)] == ["call_0", "call_1", "call_0"]
