"""Spectral gaps of graphs, and orthogonal matrices on regular graphs that hang together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import sparse_ortho as so
from sparse_ortho.inits.sao import sao
from sparse_ortho.linalg.expander import expander_degrees, expander_orthogonal
from sparse_ortho.linalg.graphs import Graph, graph_of
from sparse_ortho.linalg.ramanujan import regular_orthogonal
from sparse_ortho.measure.graph import graph, worst_group
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def cycle(n: int) -> np.ndarray:
    """A cycle of 2 n vertices: row i meets columns i and i + 1."""
    return np.eye(n, dtype=bool) | np.roll(np.eye(n, dtype=bool), 1, axis=1)


def test_gaps_by_hand() -> None:
    assert graph_of(np.ones((3, 5), bool)) == Graph(1, pytest.approx(1.0), True)  # type: ignore[arg-type]
    two = np.kron(np.eye(2, dtype=bool), np.ones((2, 3), bool))
    assert graph_of(two) == Graph(2, 0.0, False)
    for n in (3, 4, 7):  # s_k of a cycle: |1 + exp(2 pi i k / n)| / 2 = |cos(pi k / n)|
        found = graph_of(cycle(n))
        assert found.components == 1 and found.gap == pytest.approx(1 - math.cos(math.pi / n))
        assert found.ramanujan  # 2-regular: the bound is 1
    assert graph_of(np.zeros((3, 3), bool)) == Graph(0, 0.0, None)


def test_a_star_with_a_tail_is_not_regular_and_dead_units_are_left_out() -> None:
    path = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)  # a path of five vertices
    # the walk on a path of m edges has eigenvalues cos(pi k / m): the second is cos(pi / 4)
    found = graph_of(path)
    assert found.components == 1 and found.ramanujan is None
    assert found.gap == pytest.approx(1 - math.cos(math.pi / 4))


def test_the_fano_plane_is_ramanujan() -> None:
    """Its incidence matrix M has M M^T = 2 I + J: singular values 3 and sqrt(2), under 2 sqrt(2)."""
    lines = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]
    fano = np.zeros((7, 7), bool)
    for row, points in enumerate(lines):
        fano[row, list(points)] = True
    found = graph_of(fano)
    assert found.ramanujan and found.gap == pytest.approx(1 - math.sqrt(2) / 3)


SHAPES = [(12, 12), (16, 16), (8, 16), (16, 8), (12, 36), (32, 32), (24, 30)]
EVERY = [(rows, cols, degree) for rows, cols in SHAPES for degree in expander_degrees(rows, cols)]


@pytest.mark.parametrize(("rows", "cols", "degree"), EVERY)
def test_they_are_orthonormal_regular_and_connected(rows: int, cols: int, degree: int) -> None:
    for seed in range(3):
        matrix = expander_orthogonal(rows, cols, degree, np.random.default_rng(seed))
        wide = matrix if rows <= cols else matrix.T
        assert np.abs(wide @ wide.T - np.eye(len(wide))).max() < 1e-13
        mask = wide != 0
        assert (mask.sum(1) == degree).all() and (mask.sum(0) == len(wide) * degree / len(wide.T)).all()
        found = graph_of(mask)
        assert found.components == 1 and found.gap > 1e-3


def test_degrees_by_hand() -> None:
    # d_1 d_2 <= 12, both from 2, 3, 4, 6 (12 with itself alone), not 2 x 2
    assert expander_degrees(12, 12) == [6, 8, 9, 12]
    assert expander_degrees(16, 16) == [8, 16]
    assert expander_degrees(7, 7) == []


@pytest.mark.parametrize("size", [64, 256])
def test_the_gap_does_not_fall_with_the_size_and_the_published_one_is_zero(size: int) -> None:
    bound = 1 - math.sqrt(12) / 4  # degrees 4 and 4: what a large random graph has
    for seed in range(2):
        gap = graph_of(expander_orthogonal(size, size, 16, np.random.default_rng(seed)) != 0).gap
        assert gap > 0.95 * bound
    assert graph_of(regular_orthogonal(size, size, 16, np.random.default_rng(0)) != 0).gap == 0


def test_every_entry_is_met_equally_often() -> None:
    draws = 300
    hits = sum((expander_orthogonal(12, 12, 6, np.random.default_rng(s)) != 0).astype(float) for s in range(draws))
    # rows and columns sum to 6 draws: the share of an entry is 1/2, its variance that of 121 of 144 free entries
    statistic = ((hits - draws / 2) ** 2).sum() / (draws * 0.25)
    assert 1e-4 < stats.chi2(121).cdf(statistic * 121 / 144) < 1 - 1e-4


@given(st.sampled_from(EVERY), st.integers(0, 3))
def test_another_generator_of_values_leaves_the_graph(case: tuple[int, int, int], seed: int) -> None:
    made = [
        expander_orthogonal(*case, np.random.default_rng(seed), np.random.default_rng(values)) for values in (100, 101)
    ]
    assert ((made[0] != 0) == (made[1] != 0)).all()
    assert np.abs(made[0] - made[1]).max() > 0


def run(shape: tuple[int, int], count: int, seed: int = 0, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    probe = Probe(nn.Identity(), {"w": torch.empty(shape, device="meta")})
    mask = (torch.arange(math.prod(shape)) < count).view(shape)
    weights, masks = sao(probe, {"w": mask}, Streams(seed), **options)
    return weights["w"], masks["w"]


@pytest.mark.parametrize(("shape", "relu"), [((64, 64), False), ((64, 128), False), ((64, 64), True)])
def test_sao_on_expanders_has_the_same_number_of_weights(shape: tuple[int, int], relu: bool) -> None:
    published, expander = (
        run(shape, math.prod(shape) // 4, construction=construction, relu=relu)
        for construction in ("published", "expander")
    )
    assert published[1].sum() == expander[1].sum()
    assert graph_of(expander[1].numpy()).gap > 0 == graph_of(published[1].numpy()).gap


def test_random_values_stand_on_the_same_graph_with_rows_of_norm_one_in_the_mean_square() -> None:
    _, mask = run((128, 128), 2048)
    for values, law in (
        ("normal", stats.norm(0, 1 / 4)),
        ("uniform", stats.uniform(-math.sqrt(3) / 4, math.sqrt(3) / 2)),
    ):
        weight, kept = run((128, 128), 2048, values=values)
        assert torch.equal(kept, mask)  # the graph is drawn first
        assert torch.equal(kept, weight != 0) and int(kept.sum()) == 2048
        assert stats.kstest(weight[kept].double().numpy(), law.cdf).pvalue > 1e-4
        assert float(weight.square().sum(1).mean()) == pytest.approx(1, abs=0.1)  # 128 rows of 16: sd 0.03
    relu, kept = run((32, 32), 256, values="normal", relu=True)
    assert torch.equal(relu[:16, :16], -relu[:16, 16:]) and torch.equal(relu[:16, :16], relu[16:, 16:])


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        ((16, 16), {"degree": 4}, r"\(found 4\); allowed: 8, 16$"),
        ((7, 7), {}, r"w: 7 x 7 is too small for an expander"),
    ],
)
def test_what_no_expander_has_is_refused(shape: tuple[int, int], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(so.UserError, match=sentence):
        run(shape, 20, construction="expander", **options)
    with pytest.raises(so.UserError, match="allowed: 8, 16"):
        expander_orthogonal(16, 16, 4, np.random.default_rng(0))


class Masked:
    """What a measurement is handed, as far as this one looks."""

    def __init__(self, masks: dict[str, torch.Tensor]):
        self.masks = masks


def test_the_measurement_reads_masks_and_weights_where_there_are_none() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.kron(torch.eye(2), torch.ones(2, 2)))
    found = graph(model, Masked({"0.weight": torch.from_numpy(cycle(4))}))  # type: ignore[arg-type]
    gap = 1 - math.cos(math.pi / 4)
    assert found == {
        "gap": pytest.approx(gap / 2),
        "gap_min": 0.0,
        "components": 1.5,
        "regular": 1.0,
        "ramanujan": 0.5,
    }


def test_a_grouped_layer_counts_with_its_worst_group() -> None:
    kernel = torch.zeros(4, 2, 3, 3, dtype=torch.bool)
    kernel[:2, :, 0, 2] = True  # complete
    kernel[2, 0, 1, 1] = kernel[3, 1, 2, 2] = True  # two parts
    assert worst_group(kernel, 2) == Graph(2, 0.0, False)
    assert worst_group(kernel[:2], 1) == Graph(1, pytest.approx(1.0), True)  # type: ignore[arg-type]
