"""Exhibits of analyses: what they draw is what was measured, against hand-made numbers and other people's programs."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
import pandas
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from sparse_ortho.errors import UserError
from sparse_ortho.report import filter_maps, mask_distance, profile, specialisation, spectrum, surface
from sparse_ortho.report.anova import two_way

NAMED = {"study": "s", "scale": "quick", "name": "e", "title": "t", "caption": "", "panels": ["mask"]}


def cell(mask: str, seeds: tuple[int, ...] = (0, 1), **axes: Any) -> dict[str, Any]:
    return {"id": f"{mask}-{axes}", "axes": {"mask": mask, "density": 0.1} | axes, "seeds": list(seeds)}


def rows(of: dict[str, Any], seed: int, **values: Any) -> list[dict[str, Any]]:
    """`name=[...]` as name/0, name/1, ...; `name={place: value}` as name/place."""
    found = []
    for name, given in values.items():
        places = given if isinstance(given, dict) else dict(enumerate(given))
        about = {"cell": of["id"], "seed": seed, "status": "ok", "reason": None}
        found += [about | {"quantity": f"{name}/{place}", "value": value} for place, value in places.items()]
    return found


def read(files: dict[str, Any]) -> list[dict[str, str]]:
    assert files["svg"].startswith(b"<?xml") and files["png"].startswith(b"\x89PNG")
    return list(csv.DictReader(io.StringIO(files["csv"])))


# masks -----------------------------------------------------------------------------------------------------------

EIGHT = {  # masks of eight weights in two layers
    ("a", 0): "1100 1100", ("a", 1): "1100 0011", ("b", 0): "1100 0000", ("b", 1): "1111 1111", ("c", 0): "0000 0000",
}  # fmt: skip


def bits(cell_id: str, seed: int) -> dict[str, np.ndarray] | None:
    text = EIGHT.get((cell_id[0], seed))
    return {f"layer{i}": np.array([c == "1" for c in part]) for i, part in enumerate(text.split())} if text else None


def test_distances_are_those_of_hand_made_masks() -> None:
    told = read(mask_distance.render(NAMED, [cell("a"), cell("b"), cell("c")], bits))
    found = {(row["left"], row["right"]): row for row in told}
    # b and a: 1100 0000 against 1100 1100 (2 apart, 2 of 4); 1111 1111 against 1100 0011 (4 apart, 4 of 8)
    pair = found["b", "a"]
    assert (float(pair["hamming"]), float(pair["overlap"]), pair["n"]) == ((2 / 8 + 4 / 8) / 2, 0.5, "2")
    own = found["a", "a"]  # 1100 1100 against 1100 0011
    assert (float(own["hamming"]), float(own["overlap"]), own["n"]) == (4 / 8, 2 / 6, "1")
    assert (found["c", "c"]["hamming"], found["c", "c"]["n"]) == ("", "0")
    assert (float(found["c", "b"]["hamming"]), float(found["c", "b"]["overlap"])) == (2 / 8, 0.0)


def test_masks_of_different_networks_are_not_compared() -> None:
    left, right = {"w": np.ones(3, bool)}, {"w": np.ones(4, bool)}
    with pytest.raises(UserError, match="different networks"):
        mask_distance.distance("here", left, right)
    nothing = {"w": np.zeros(3, bool)}
    assert mask_distance.distance("here", nothing, nothing) == (0.0, 1.0)


# profiles --------------------------------------------------------------------------------------------------------


def test_a_profile_has_the_mean_and_range_of_every_place() -> None:
    one = cell("erk")
    told = rows(one, 0, zero={"first": 0.2, "second": 0.5}) + rows(one, 1, zero={"first": 0.4, "second": 0.7})
    found = read(profile.render(NAMED | {"x": "layer", "quantities": ["zero"]}, [one], told))
    assert [(r["place"], float(r["mean"]), float(r["min"]), float(r["max"]), r["n"]) for r in found] == [
        ("first", pytest.approx(0.3), 0.2, 0.4, "2"),
        ("second", pytest.approx(0.6), 0.5, 0.7, "2"),
    ]


def test_a_profile_stands_at_the_numbers_that_were_measured() -> None:
    one = cell("erk")
    told = [r for seed in (0, 1) for r in rows(one, seed, alpha=[-1.0, 0.0, 1.0], loss=[4.0 + seed, 1.0, 9.0])]
    found = read(profile.render(NAMED | {"x": "alpha", "quantities": ["loss"]}, [one], told))
    assert [(float(r["alpha"]), float(r["mean"])) for r in found] == [(-1, 4.5), (0, 1), (1, 9)]
    with pytest.raises(UserError, match="found 't'; allowed: alpha, loss"):
        profile.render(NAMED | {"x": "t", "quantities": ["loss"]}, [one], told)


def test_seeds_that_mean_different_things_by_a_place_are_refused() -> None:
    one = cell("erk")
    told = rows(one, 0, alpha=[0.0], loss=[1.0]) + rows(one, 1, alpha=[0.5], loss=[1.0])
    with pytest.raises(UserError, match="alpha differs between seeds"):
        profile.render(NAMED | {"x": "alpha", "quantities": ["loss"]}, [one], told)


# spectra, surfaces, filters --------------------------------------------------------------------------------------


def test_a_spectrum_is_the_sum_of_bells_on_its_axis_and_has_area_one() -> None:
    nodes, weights = {("0", "0"): -1.0, ("0", "1"): 30.0, ("1", "0"): 30.0}, (0.25, 0.75, 1.0)
    found = {"node": nodes, "weight": dict(zip(nodes, weights, strict=True)), "top": {("1",): 30.0}}
    at, dense, top = spectrum.curve([found], 0.5)
    axis = np.arcsinh(at / 0.5)
    bells = [np.exp(-((axis - math.asinh(t / 0.5)) ** 2) / 0.08) / (0.2 * math.sqrt(2 * math.pi)) for t in (-1.0, 30.0)]
    np.testing.assert_allclose(dense, (0.25 * bells[0] + 1.75 * bells[1]) / 2, rtol=1e-9, atol=1e-12)
    assert np.trapezoid(dense, axis) == pytest.approx(1, abs=1e-6) and top == [30.0]


def test_spectra_of_one_figure_have_one_axis() -> None:
    wide, narrow = cell("erk"), cell("snip")
    told = []
    for one, most in ((wide, 100.0), (narrow, 1.0)):
        told += rows(one, 0, node={"0/0": 0.0, "0/1": most}, weight={"0/0": 0.5, "0/1": 0.5}, top={"1": most})
    found = read(spectrum.render(NAMED, [wide, narrow], told))
    assert {float(row["linear"]) for row in found} == {0.1}
    assert [float(row["eigenvalue"]) for row in found if not row["density"]] == [100.0, 1.0]


def test_ticks_of_a_spectrum_are_zero_and_powers_of_ten_in_view() -> None:
    curve = (np.array([-5.0, 80.0]), np.zeros(2), [])
    assert spectrum.ticks([curve], 0.05) == [-1.0, 0.0, 1.0, 10.0]
    assert spectrum.ticks([(np.array([-1e-9, 2e5]), np.zeros(2), [])], 0.01) == [0.0, 0.1, 10.0, 1000.0, 1e5]


def test_a_surface_is_drawn_the_right_way_round() -> None:
    """loss/i/j is at the i-th step along the first direction and the j-th along the second."""
    one = cell("erk", (3, 4))
    values = {f"{i}/{j}": 10.0 * i + j for i in range(3) for j in range(3)}
    told = rows(one, 4, alpha=[-1, 0, 1], loss={"0/0": 1.0}) + rows(one, 3, alpha=[-1.0, 0.0, 1.0], loss=values)
    found = read(surface.render(NAMED, [one], told))
    assert {(float(r["alpha"]), float(r["beta"])): float(r["loss"]) for r in found} == {
        (i - 1.0, j - 1.0): 10.0 * i + j for i in range(3) for j in range(3)
    }
    assert {r["seed"] for r in found} == {"3"}


def test_levels_of_a_surface_enclose_what_is_there_and_are_logarithmic_over_a_decade() -> None:
    levels, norm = surface.scale(np.array([0.1, 1.0, 10.0]))
    assert levels[0] < 0.1 and levels[-1] > 10 and type(norm).__name__ == "LogNorm"
    assert levels[12] == pytest.approx(1.0)
    levels, norm = surface.scale(np.array([1.0, 2.0]))
    assert levels[12] == pytest.approx(1.5) and type(norm).__name__ == "Normalize"


def test_filters_lie_row_by_row_with_a_gap_between_layers() -> None:
    layers = [("one", np.array([0.0, 0.9, 0.95])), ("two", np.array([1.0]))]
    image, middles = filter_maps.picture(layers, 2)
    assert image.tolist() == [[1, 1], [2, 0], [0, 0], [3, 0]] and middles == [0.5, 3.0]


def test_filters_belong_to_their_layers() -> None:
    one = cell("erk")
    told = rows(one, 1, filter=[0.1, 0.2, 0.95], size={"conv.weight": 2.0, "fc.weight": 1.0})
    found = read(filter_maps.render(NAMED, [one], told))
    assert [(r["layer"], float(r["zero_rate"]), r["seed"]) for r in found] == [
        ("conv", 0.1, "1"), ("conv", 0.2, "1"), ("fc", 0.95, "1"),
    ]  # fmt: skip


# specialisation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("complete", [True, False])
def test_two_way_anova_is_that_of_statsmodels(complete: bool) -> None:
    random = np.random.default_rng(0)
    a = random.choice(["one", "two", "three"], 60, p=[0.5, 0.3, 0.2])
    b = random.choice(["dense", "sparse"], 60, p=[0.6, 0.4])
    if not complete:  # a combination that nobody has
        b[a == "three"] = "dense"
    y = random.standard_normal(60) + (a == "two") + 0.5 * (b == "sparse") * (a == "one")
    frame = pandas.DataFrame({"y": y, "a": a, "b": b})
    found = {effect.name: effect for effect in two_way(y.tolist(), a.tolist(), b.tolist(), ("a", "b"))}
    if complete:
        exact = anova_lm(ols("y ~ C(a) + C(b) + C(a):C(b)", frame).fit(), typ=1)
        for name, row in (("a", "C(a)"), ("b", "C(b)"), ("a:b", "C(a):C(b)")):
            assert found[name].squares == pytest.approx(exact.loc[row, "sum_sq"])
            assert found[name].freedom == exact.loc[row, "df"]
            assert found[name].f == pytest.approx(exact.loc[row, "F"])
            assert found[name].p == pytest.approx(exact.loc[row, "PR(>F)"])
    cells = ols("y ~ C(ab)", frame.assign(ab=frame["a"] + frame["b"])).fit()
    assert found["residual"].squares == pytest.approx(cells.ssr) and found["residual"].freedom == cells.df_resid
    total, mse = float(np.square(y - y.mean()).sum()), cells.mse_resid
    assert sum(effect.squares for effect in found.values()) == pytest.approx(total)
    for name in ("a", "b", "a:b"):
        effect = found[name]
        assert effect.eta == pytest.approx(effect.squares / total)
        assert effect.omega == pytest.approx((effect.squares - effect.freedom * mse) / (total + mse))


def test_nothing_left_to_compare_with_has_no_f() -> None:
    found = two_way([1.0, 2.0, 3.0, 4.0], ["x", "x", "y", "y"], ["u", "v", "u", "v"], ("a", "b"))
    assert [effect.f for effect in found] == [None] * 4 and found[-1].freedom == 0


def test_channels_of_all_seeds_are_analysed_by_layer_and_against_the_dense_network() -> None:
    random = np.random.default_rng(1)
    dense, sparse = cell("dense", density=1.0), cell("erk")
    told = []
    for one, shift in ((dense, 0.0), (sparse, 0.3)):
        for seed in (0, 1):
            values = {f"l{i}/{k}": shift + random.random() for i in range(2) for k in range(5)}
            told += rows(one, seed, specialisation=values)
            told.append(told[-1] | {"quantity": "specialisation", "value": 0.5})  # the mean is no channel
    found = read(specialisation.render(NAMED, [dense, sparse], told))
    channels = pandas.DataFrame([row for row in found if row["specialisation"]])
    assert len(channels) == 40 and set(channels["layer"]) == {"l0", "l1"}
    frame = channels.assign(y=channels["specialisation"].astype(float), sparse=channels["row"] != "dense")
    exact = anova_lm(ols("y ~ C(layer) + C(sparse) + C(layer):C(sparse)", frame).fit(), typ=1)
    effects = {row["effect"]: row for row in found if row["effect"]}
    assert float(effects["sparse"]["F"]) == pytest.approx(exact.loc["C(sparse)", "F"])
    assert float(effects["layer:sparse"]["p"]) == pytest.approx(exact.loc["C(layer):C(sparse)", "PR(>F)"])


def test_specialisation_needs_a_dense_network_to_compare_with() -> None:
    with pytest.raises(UserError, match="compares one dense cell with sparse ones"):
        specialisation.render(NAMED, [cell("erk"), cell("snip")], [])


# all of them -----------------------------------------------------------------------------------------------------

KINDS = {"profile": profile, "spectrum": spectrum, "surface": surface, "filter_maps": filter_maps,
         "specialisation": specialisation}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_measured_yet_is_a_figure_that_says_so(kind: str) -> None:
    """Refused, diverged or not there yet: an empty panel, and no row that pretends a value."""
    cells = [cell("dense", density=1.0), cell("erk")]
    none = [{"cell": c["id"], "seed": 0, "status": "diverged", "reason": "r", "quantity": None, "value": None}
            for c in cells]  # fmt: skip
    told = read(KINDS[kind].render(NAMED | {"x": "alpha", "quantities": ["loss"]}, cells, none))
    assert not any(row.get("specialisation") or row.get("loss") or row.get("density") for row in told)


@pytest.mark.parametrize(("kind", "needs"), [("spectrum", "node"), ("surface", "alpha"), ("filter_maps", "filter")])
def test_a_measurement_of_another_kind_is_refused(kind: str, needs: str) -> None:
    one = cell("erk")
    with pytest.raises(UserError, match=rf"{kind} needs.*{needs}"):
        KINDS[kind].render(NAMED, [one], rows(one, 0, zero=[0.5]))
