"""Masks and initialisations come in bundles that are as large as one job's text, whatever a spec holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.artifacts import TensorFile, read_tensors, write_tensors
from sparse_ortho.plan.bundles import pack
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.job import ABOUT, LIMIT, Job, Task, dump, length
from sparse_ortho.plan.workflow import Plan

NAMES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**6) | st.text(max_size=20), max_size=4)


@given(st.lists(st.fixed_dictionaries({"seed": st.integers(), "model": NAMES, "density": st.floats(0, 1)}), max_size=9))
def test_a_job_is_no_longer_than_its_length_says(specs: list[dict[str, object]]) -> None:
    """Besides what a job of no cells is."""
    cells = [Task(f"{n:0100d}", spec, [0], "c" * 32, []) for n, spec in enumerate(specs)]
    bare = len(dump(Job("mask", "b", {}, ())))
    assert len(dump(Job("mask", "b", {}, cells))) - bare <= (length(specs) + ABOUT if specs else 0)


@pytest.mark.parametrize("most", [1, 10, 100])
def test_what_does_not_fit_is_split_like_what_is_too_many(most: int) -> None:
    """Node n weighs n: no bundle of several weighs more than `most`, and every node is in one."""
    nodes = [Node("mask", f"d-m-{n << 42:012x}", {"n": n}, {}, frozenset(), "d", "m") for n in range(32)]
    packed = pack(
        "mask",
        "s",
        nodes,
        8,
        lambda _: (0,),
        lambda _: 0.0,
        1.0,
        fits=lambda some: sum(n.spec["n"] for n in some) <= most,
    )
    held = [[node.spec["n"] for node in bundle.nodes] for bundle in packed]
    assert sorted(sum(held, [])) == list(range(32))
    assert all(len(some) == 1 or (len(some) <= 8 and sum(some) <= most) for some in held)
    assert max(map(len, held)) > 1


@pytest.fixture(scope="module")
def large() -> Plan:
    return Plan({"studies": ["eoi"], "scale": "paper", "device": "cpu", "bundle": 64})


@pytest.mark.parametrize(("stage", "most"), [("mask", 256), ("init", 256), ("train", 64), ("measure", 64)])
def test_processes_that_only_start_up_hold_four_times_as_many(large: Plan, stage: str, most: int) -> None:
    sizes = {name: len(bundle.nodes) for name, bundle in large.bundles("eoi", stage).items()}
    assert max(sizes.values()) <= most
    assert most == 64 or max(sizes.values()) > 64
    assert all(len(large.job(stage, name)) <= LIMIT for name, size in sizes.items() if size > 64)


def test_a_file_that_is_asked_many_times_says_what_reading_it_says(tmp_path) -> None:
    import numpy as np

    rng, path = np.random.default_rng(0), tmp_path / "x.safetensors"
    arrays = {f"c{n}/{s}/w": rng.random(3) for n in (1, 10, 2) for s in (1, 11)}
    arrays |= {f"c{n}/{s}/m": rng.random((2, 5)) > 0.5 for n in (1, 10) for s in (1, 11)}
    write_tensors(path, arrays, {"a": 1})
    file = TensorFile(path)
    assert file.facts == {"a": 1}
    for prefix in ("", "c1/", "c1/1/", "c10/11/", "c2/1/m", "d", "\u00e9"):
        wanted = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        for found in (file.tensors(prefix), read_tensors(path, prefix)[0]):
            assert found.keys() == wanted.keys()
            assert all(found[n].dtype == wanted[n].dtype and (found[n] == wanted[n]).all() for n in wanted)
