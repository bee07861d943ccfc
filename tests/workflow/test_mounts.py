"""Two machines that share a store by a file system of the network: each sees it as a mount of its own, under a path of
its own, and nothing of the processes of the other."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.conftest import Checkout
from tests.machines import both, can_mount, events, tiny_job

MACHINES = ("first", "second")


def machine(store: Path, mounted: Path) -> list[str]:
    """A program in a mount and process namespace of its own, which sees the store at `mounted` and is refused else."""
    at = shlex.quote(str(mounted))
    own = f'mount --bind {shlex.quote(str(store))} {at} && mountpoint -q {at} && exec "$@"'
    return ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", own, "sh"]


@pytest.mark.skipif(not can_mount(), reason="mounts of one's own are refused here")
def test_two_machines_with_mounts_of_their_own_train_each_seed_once(built: Checkout, tmp_path: Path) -> None:
    _, words = tiny_job(built)
    store = tmp_path / "shared"
    mounts = {name: tmp_path / name for name in MACHINES}
    for folder in (store, *mounts.values()):
        folder.mkdir()
    records = both(built, words, {name: machine(store, at) for name, at in mounts.items()}, mounts)
    assert records["first"] == records["second"]
    happened = events(store)
    assert len(happened) == 8
    assert all(counts == {"started": 1, "made": 1, "served": 1} for counts in happened.values()), happened
    assert not list((store / "locks").iterdir())
    assert not any(any(at.iterdir()) for at in mounts.values())  # the mounts were real: outside there is nothing
