"""What the model and the client are told."""

import pytest

from proxy.core.tools import wording


@pytest.mark.parametrize(
    "said",
    [
        wording.denied("pay\x1b[31m\nnow" + "x" * 500),
        wording.duplicate("pay\x1b[31m\nnow" + "x" * 500, "s1"),
        wording.too_many_replays("pay\x1b[31m\nnow" + "x" * 500, "s1", 3),
        wording.no_room_to_go_on("pay\x1b[31m\nnow" + "x" * 500, "why"),
        wording.needs_approval("pay\x1b[31m\nnow" + "x" * 500, again=True),
        wording.needs_approval("pay\x1b[31m\nnow" + "x" * 500, again=False),
    ],
)
def test_names_that_a_model_wrote_are_made_safe_to_show(said: str) -> None:
    assert said.isprintable()
    assert "pay?[31m?now" in said
    assert "x" * 65 not in said


def test_a_humans_words_are_told_as_theirs() -> None:
    assert wording.refused_by_human("Not now.").endswith("They said: Not now.")
    assert "They said" not in wording.refused_by_human("")
