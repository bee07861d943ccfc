"""Every seed is made by exactly one bundle, and a new cell moves no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparse_ortho.plan.bundles import Bundle, pack
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "eoi-quick"
SPLIT = 100.0  # seconds
CHEAP, ALONE, BY_SEED = 1.0, 60.0, 101.0  # of one seed, with at most 5 seeds
SEEDS = st.frozensets(st.integers(0, 99), min_size=2, max_size=5)
DIGITS = st.integers(0, 2**48 - 1) | st.integers(0, 40) | st.integers(0, 40).map(lambda n: n << 43)
KINDS = st.sampled_from([("digits", "mlp"), ("digits", "resnet"), ("mnist", "mlp"), ("mnist", "vit@as_released")])


class Cells:
    """Nodes with their seeds and their nominal costs, in an order of their own."""

    def __init__(self, kinds: dict[int, tuple[tuple[str, str], frozenset[int], float]]):
        self.kinds = kinds
        self.nodes = [node_of(number, *kind) for number, (kind, _, _) in kinds.items()]
        self.seeds = {node_of(n, *kind).id: seeds for n, (kind, seeds, _) in kinds.items()}
        self.cost = {node_of(n, *kind).id: cost for n, (kind, _, cost) in kinds.items()}

    def pack(self, size: int) -> list[Bundle]:
        return list(
            pack("train", PREFIX, self.nodes, size, lambda n: self.seeds[n.id], lambda n: self.cost[n.id], SPLIT)
        )

    def without(self, number: int) -> Cells:
        return Cells({n: kind for n, kind in self.kinds.items() if n != number})

    def holds(self, bundle: Bundle) -> list[tuple[str, int]]:
        return [(node.id, seed) for node in bundle.nodes for seed in bundle.seeds_of(self.seeds[node.id])]


def node_of(number: int, data: str, model: str) -> Node:
    return Node("train", f"{data}-{model}-erk-eoi-d0.1-{number:012x}", {"n": number}, {}, frozenset(), data, model)


def costs(*choices: float) -> st.SearchStrategy[Cells]:
    one = st.tuples(KINDS, SEEDS, st.sampled_from(choices))
    return st.dictionaries(DIGITS, one, max_size=40).map(Cells)


ANY = costs(CHEAP, CHEAP, CHEAP, ALONE, BY_SEED)
SIZES = st.integers(1, 9)
NEAR = Cells({n: (("digits", "mlp"), frozenset({0}), CHEAP) for n in (0, 1, 2, 3, 2**47, 2**48 - 1)})


def content(bundles: Iterable[Bundle]) -> dict[str, tuple[tuple[str, ...], tuple[int, ...] | None]]:
    return {bundle.name: (tuple(node.id for node in bundle.nodes), bundle.seeds) for bundle in bundles}


@given(ANY, SIZES)
@example(NEAR, 1)
@example(NEAR, 3)
def test_every_seed_of_every_node_is_in_exactly_one_bundle(cells: Cells, size: int) -> None:
    held = [pair for bundle in cells.pack(size) for pair in cells.holds(bundle)]
    assert sorted(held) == sorted((node.id, seed) for node in cells.nodes for seed in cells.seeds[node.id])


@given(ANY, SIZES)
@example(NEAR, 1)
def test_no_bundle_is_empty_or_larger_than_its_size(cells: Cells, size: int) -> None:
    assert all(1 <= len(bundle.nodes) <= size for bundle in cells.pack(size))


@given(costs(CHEAP))
def test_size_one_gives_singles(cells: Cells) -> None:
    assert sorted(b.nodes[0].id for b in cells.pack(1)) == sorted(node.id for node in cells.nodes)


@given(costs(CHEAP), SIZES)
def test_a_bundle_is_no_smaller_than_it_must_be(cells: Cells, size: int) -> None:
    """Two halves of one bundle together hold more than its size: else they would be one."""
    count: dict[str, int] = {}
    for bundle in cells.pack(size):
        stem, _, bits = bundle.name.rpartition("-")
        for end in range(1, len(bits) if bits != "all" else 0):
            count[f"{stem}-{bits[:end]}"] = count.get(f"{stem}-{bits[:end]}", 0) + len(bundle.nodes)
    assert all(number > size for number in count.values())


@given(ANY, SIZES)
@example(NEAR, 2)
def test_a_bundle_holds_one_data_set_and_model_and_the_bits_of_its_name(cells: Cells, size: int) -> None:
    for bundle in cells.pack(size):
        assert len({(node.data, node.model) for node in bundle.nodes}) == 1
        node = bundle.nodes[0]
        assert bundle.name.startswith(f"{PREFIX}-{node.data}-{node.model}-")
        bits = bundle.name.split("-")[4]
        if re.fullmatch("b[01]+", bits) and cells.cost[node.id] == CHEAP:
            for inside in bundle.nodes:
                assert format(int(inside.id[-12:], 16), "048b").startswith(bits[1:])


@given(ANY.filter(lambda cells: cells.nodes), SIZES, st.data())
def test_a_new_cell_changes_only_the_bundle_that_it_falls_into(cells: Cells, size: int, data: st.DataObject) -> None:
    """Every other bundle keeps its name and its cells; the one that it falls into grows, or is split."""
    number = data.draw(st.sampled_from(sorted(cells.kinds)))
    new = next(node for node in cells.nodes if node.spec["n"] == number)
    after, before = content(cells.pack(size)), content(cells.without(number).pack(size))
    changed = {name for name in before if after.get(name) != before[name]}
    assert len(changed) <= 1
    touched = {identity for name in changed for identity in before[name][0]}
    made = {name: kept for name, kept in after.items() if before.get(name) != kept}
    assert {identity for identities, _ in made.values() for identity in identities} == touched | {new.id}


@given(ANY, SIZES, st.randoms(use_true_random=False))
def test_the_order_of_the_nodes_does_not_matter(cells: Cells, size: int, random: object) -> None:
    before = content(cells.pack(size))
    random.shuffle(cells.nodes)  # type: ignore[attr-defined]
    assert content(cells.pack(size)) == before


@given(ANY, SIZES)
def test_expensive_nodes_stand_alone_and_very_expensive_ones_seed_by_seed(cells: Cells, size: int) -> None:
    for bundle in cells.pack(size):
        kinds = {cells.cost[node.id] for node in bundle.nodes}
        assert len(kinds) == 1 or kinds == {CHEAP}
        if kinds == {BY_SEED}:
            assert len(bundle.nodes) == 1 and len(bundle.seeds or ()) == 1
        else:
            assert bundle.seeds is None
        if kinds == {ALONE}:  # two seeds of it take longer than a job may
            assert len(bundle.nodes) == 1
    by_seed = [node for node in cells.nodes if cells.cost[node.id] == BY_SEED]
    made = [(b.nodes[0].id, b.seeds) for b in cells.pack(size) if b.seeds]
    assert sorted(made) == sorted((node.id, (seed,)) for node in by_seed for seed in cells.seeds[node.id])


def test_the_bounds_are_those_of_one_job() -> None:
    def names(cost: float, seeds: int) -> list[str]:
        cells = Cells(
            {7: (("digits", "mlp"), frozenset(range(seeds)), cost), 8: (("digits", "mlp"), frozenset({0}), 1)}
        )
        return [bundle.name.removeprefix(PREFIX + "-digits-mlp-") for bundle in cells.pack(8)]

    assert names(50, 2) == ["all"]  # as long as a job may be
    assert names(50.1, 2) == ["000000000007", "all"]
    assert names(100, 1) == ["all"]
    assert names(100.1, 2) == ["000000000007-s0", "000000000007-s1", "all"]


@given(ANY, SIZES)
def test_names_are_unique_and_match_the_wildcard_of_the_rules(cells: Cells, size: int) -> None:
    text = (ROOT / "rules" / "common.smk").read_text()
    constraint = re.search(r'^\s+bundle=r"(.+)",$', text, re.MULTILINE)
    assert constraint
    names = [bundle.name for bundle in cells.pack(size)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(constraint[1], name) for name in names)


@pytest.mark.parametrize(
    ("study", "scale", "name", "several"),
    [
        ("er_lottery", "made", "made_table", True),
        ("synflow", "paper", "cifar100", True),
        ("eoi", "quick", "digits", False),
    ],
)
def test_no_process_reads_two_forms_of_a_data_set(study: str, scale: str, name: str, several: bool) -> None:
    """Standardised and not, say: programs take one data artifact. One without options keeps the plain names."""
    layout = Layout({"studies": [study], "scale": scale, "device": "cpu"})
    forms = [node for node in layout.study(study).nodes("data") if node.data == name]
    assert (len(forms) > 1) == several
    for stage in ("mask", "init", "ticket", "train", "measure"):
        for bundle in layout.bundles(study, stage).values():
            read = {node.inputs["data"] for node in bundle.nodes if "data" in node.inputs}
            assert len(read) <= 1, bundle.name
            assert layout.inputs(stage, bundle.name, "data") == [f"results/data/{one}.safetensors" for one in read]
            if read == {forms[0].id} and forms[0].spec["data"] == {"name": name}:
                assert re.fullmatch(r"(l\d+)?(all|b[01]+|[0-9a-f]{12})", bundle.name.split("-")[4])


def test_seeds_of_a_bundle_are_those_planned() -> None:
    node = node_of(1, "digits", "mlp")
    assert Bundle("train", "x", (node,)).seeds_of({3, 1, 2}) == [1, 2, 3]
    assert Bundle("train", "x", (node,), (2, 9)).seeds_of({3, 1, 2}) == [2]


# what one process can hold -------------------------------------------------------------------------------------------

LOADS = st.dictionaries(
    DIGITS.filter(lambda n: n < 2**48), st.sampled_from([0.0, 0.1, 0.4, 1.0, 1.5]), min_size=1, max_size=40
)


def loaded(loads: dict[int, float], size: int) -> list[Bundle]:
    nodes = {number: node_of(number, "digits", "mlp") for number in loads}
    heavy = {node.id: loads[number] for number, node in nodes.items()}
    return list(
        pack("init", PREFIX, nodes.values(), size, lambda _: (1, 2), lambda _: 1.0, SPLIT, lambda n: heavy[n.id])
    )


@given(LOADS, SIZES)
def test_a_bundle_holds_no_more_than_a_process_can(loads: dict[int, float], size: int) -> None:
    bundles = loaded(loads, size)
    held = [(node.spec["n"], seed) for bundle in bundles for node in bundle.nodes for seed in bundle.seeds_of((1, 2))]
    assert sorted(held) == sorted((number, seed) for number in loads for seed in (1, 2))
    for bundle in bundles:
        inside = [loads[node.spec["n"]] for node in bundle.nodes]
        assert sum(inside) <= 1 or (len(inside) == 1 and len(bundle.seeds or ()) == 1)


@given(LOADS, SIZES, st.data())
def test_a_heavy_new_cell_changes_only_the_bundle_that_it_falls_into(
    loads: dict[int, float], size: int, data: st.DataObject
) -> None:
    new = data.draw(st.sampled_from(sorted(loads)))
    before = content(loaded({n: load for n, load in loads.items() if n != new}, size))
    after = content(loaded(loads, size))
    assert len([name for name in before if after.get(name) != before[name]]) <= 1


@given(st.dictionaries(DIGITS, st.just(0.0), max_size=40), SIZES)
def test_light_cells_are_bundled_as_ever(loads: dict[int, float], size: int) -> None:
    nodes = [node_of(number, "digits", "mlp") for number in loads]
    plain = pack("init", PREFIX, nodes, size, lambda _: (1, 2), lambda _: 1.0, SPLIT)
    assert content(loaded(loads, size)) == content(plain)
