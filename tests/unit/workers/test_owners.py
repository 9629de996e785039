"""Who lives and who is gone: told by locks, which end with their process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import StoreUnavailable
from proxy.workers.owners import FolderOwners, owners_folder

DIES = """
import os, sys
from pathlib import Path
from proxy.workers.owners import FolderOwners
FolderOwners(Path(sys.argv[1]), sys.argv[2]).claim()
os.kill(os.getpid(), 9)
"""


def owner(folder: Path, name: str) -> FolderOwners:
    made = FolderOwners(folder / "owners", name)
    made.claim()
    return made


def died(folder: Path, name: str) -> None:
    """A process of that name that was killed."""
    subprocess.run([sys.executable, "-c", DIES, str(folder / "owners"), name], check=False)


def test_an_owner_lives_until_it_leaves(tmp_path: Path) -> None:
    one, two = owner(tmp_path, "1-a"), owner(tmp_path, "2-b")

    assert one.lives("1-a")
    assert one.lives("2-b")
    assert one.gone() == []
    two.leave(settled=True)
    assert not one.lives("2-b")
    assert one.gone() == []


def test_one_that_was_killed_is_gone_and_found_once(tmp_path: Path) -> None:
    """Two that booked its holds at the same time would do no harm, but twice the work."""
    died(tmp_path, "9-f")
    one, two = owner(tmp_path, "1-a"), owner(tmp_path, "2-b")

    assert not one.lives("9-f")
    (gone,) = one.gone()
    assert gone.name == "9-f"
    assert two.gone() == []
    gone.let_go()
    (again,) = two.gone()
    again.bury()
    again.let_go()
    assert one.gone() == []
    assert not one.lives("9-f")


def test_one_that_leaves_holds_behind_is_gone_at_once(tmp_path: Path) -> None:
    """It could not reach the ledger at its end; others may later."""
    one, two = owner(tmp_path, "1-a"), owner(tmp_path, "2-b")
    two.leave(settled=False)

    (gone,) = one.gone()
    assert gone.name == "2-b"
    gone.let_go()


def test_of_one_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    """Not that it lives, nor that it is gone: its holds wait for their deadline."""
    one = owner(tmp_path, "1-a")

    assert not one.lives("3-c")
    assert not one.lives("../owners/1-a")
    assert one.gone() == []


def test_before_anyone_has_come_nobody_is_there(tmp_path: Path) -> None:
    one = FolderOwners(tmp_path / "owners", "1-a")

    assert (one.gone(), one.others()) == ([], [])


def test_looking_at_the_living_does_not_disturb_them(tmp_path: Path) -> None:
    one, two = owner(tmp_path, "1-a"), owner(tmp_path, "2-b")
    for _ in range(3):
        assert one.lives("2-b")
        assert two.lives("1-a")


def test_a_ledger_in_memory_has_one_owner() -> None:
    one = FolderOwners(None, "1-a")
    one.claim()

    assert one.lives("1-a")
    assert not one.lives("2-b")
    assert (one.gone(), one.others()) == ([], [])
    one.leave(settled=True)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "owners").write_text("")

    with pytest.raises(StoreUnavailable, match="check the owner and permissions"):
        owner(tmp_path, "1-a")


def test_the_folder_is_its_users_own(tmp_path: Path) -> None:
    """Whoever may write there can end sessions."""
    owner(tmp_path, "1-a")

    assert oct(os.stat(tmp_path / "owners").st_mode & 0o777) == "0o700"


def test_it_lies_beside_the_ledger() -> None:
    assert owners_folder("sqlite:////var/lib/ledger.db") == Path("/var/lib/ledger.db.owners")
    assert owners_folder("memory://") is None
