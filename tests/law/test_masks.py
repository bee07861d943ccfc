"""Selection keeps exactly k; masks follow parameters, zero exactly and survive a file."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, _by_torch, maskable, select

law = settings(deadline=None, derandomize=True)
EIGHT = torch.tensor([[3.0, 1.0, 4.0, 1.0], [5.0, 9.0, 2.0, 6.0]])


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


def convnet():
    parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2), nn.ConvTranspose1d(2, 3, 1)]
    return nn.Sequential(*parts)


def random_masks(model=None):
    generator = torch.Generator().manual_seed(1)
    shapes = {name: weight.shape for name, weight in maskable(model or net()).items()}
    return Masks({n: torch.rand(shape, generator=generator) < 0.5 for n, shape in shapes.items()}, model)


def test_eight_weights_by_hand():
    kept = select({"w": EIGHT}, 3)["w"]
    assert kept.tolist() == [[False, False, False, False], [True, True, False, True]]


def test_ties_go_to_the_lowest_index():
    kept = select({"w": EIGHT}, 7)["w"]  # the two ones tie for the last place
    assert kept.tolist() == [[True, True, True, False], [True, True, True, True]]
    both = select({"a": torch.zeros(3), "b": torch.zeros(3)}, 4)
    assert [m.tolist() for m in both.values()] == [[True, True, True], [True, False, False]]


def test_global_selection_lets_layers_compete_and_layerwise_does_not():
    scores = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.tensor([5.0, 6.0, 7.0, 8.0])}
    assert [int(m.sum()) for m in select(scores, 4).values()] == [0, 4]
    assert [m.tolist() for m in select(scores, {"a": 1, "b": 2}).values()] == [
        [False, False, False, True],
        [False, False, True, True],
    ]


@law
@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=12), min_size=1, max_size=4),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.int32]),
)
def test_exactly_the_first_k_of_a_stable_sort_are_kept(layers, where, dtype):
    scores = {f"l{i}": torch.tensor(values, dtype=dtype) for i, values in enumerate(layers)}
    flat = np.array([v for values in layers for v in values])
    k = round(where * len(flat))
    expected = np.zeros(len(flat), dtype=bool)
    expected[np.argsort(-flat, kind="stable")[:k]] = True
    assert torch.cat(list(select(scores, k).values())).tolist() == expected.tolist()


@law
@given(
    st.lists(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12), min_size=1, max_size=4),
    st.floats(0, 1),
    st.sampled_from([torch.float64, torch.bfloat16, torch.float16, torch.int64]),
)
def test_among_masks_the_first_k_of_those_left_are_kept(layers, where, dtype):
    scores = {f"l{i}": torch.tensor([v for v, _ in values], dtype=dtype) for i, values in enumerate(layers)}
    among = {f"l{i}": torch.tensor([left for _, left in values]) for i, values in enumerate(layers)}
    flat = np.array([v for values in layers for v, _ in values], dtype=float)
    left = np.array([left for values in layers for _, left in values])
    k = round(where * left.sum())
    expected = np.zeros(len(flat), dtype=bool)
    expected[np.argsort(np.where(left, -flat, np.inf), kind="stable")[:k]] = True
    assert torch.cat(list(select(scores, k, among).values())).tolist() == expected.tolist()
    counts = {name: int(mask.sum()) // 2 for name, mask in among.items()}
    alone = {name: select({name: scores[name]}, count, {name: among[name]}) for name, count in counts.items()}
    assert all(torch.equal(mask, alone[name][name]) for name, mask in select(scores, counts, among).items())
    with pytest.raises(UserError, match=rf"allowed: 0 to {left.sum()}$"):
        select(scores, int(left.sum()) + 1, among)


@law
@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=12), min_size=1, max_size=4), st.floats(0, 1))
def test_the_way_of_other_devices_keeps_the_same(layers, where):
    pieces = [torch.tensor(values, dtype=torch.float64) for values in layers]
    among = [piece > -3 for piece in pieces]
    flat, left = np.concatenate(layers), np.concatenate(layers) > -3
    for masks, competing in (([None] * len(pieces), left | True), (among, left)):
        k = round(where * competing.sum())
        expected = np.zeros(len(flat), dtype=bool)
        expected[np.argsort(np.where(competing, -flat, 9), kind="stable")[:k]] = True
        assert torch.cat(_by_torch(pieces, masks, k, "w")).tolist() == expected.tolist()


@pytest.mark.parametrize("value", [0.0, -torch.inf, torch.inf])
def test_scores_that_all_tie_keep_exactly_the_first_k(value):
    scores = {"a": torch.full((3, 4), value), "b": torch.full((5,), value)}
    for k in range(18):
        assert torch.cat([m.flatten() for m in select(scores, k).values()]).tolist() == [True] * k + [False] * (17 - k)
    among = {"a": torch.ones(3, 4, dtype=torch.bool), "b": torch.tensor([True, False, True, False, True])}
    assert select(scores, 14, among)["b"].tolist() == [True, False, True, False, False]


def test_infinite_scores_are_ordered_and_nan_is_refused_by_layer():
    score = torch.tensor([-torch.inf, 0.0, torch.inf, -torch.inf])
    assert select({"w": score}, 3)["w"].tolist() == [True, True, True, False]
    with pytest.raises(UserError, match=r"second: .*NaN"):
        select({"first": torch.ones(2), "second": torch.tensor([1.0, torch.nan])}, 1)


@pytest.mark.parametrize("counts", [-1, 9, {"w": 9}, {"v": 1}, {}])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(UserError):
        select({"w": EIGHT}, counts)


def test_maskable_are_linear_and_convolution_weights_in_module_order():
    assert list(maskable(convnet())) == ["0.weight", "3.weight"]
    assert list(maskable(net(), include=["3.*"])) == ["3.weight"]
    assert list(maskable(net(), exclude=["3.*"])) == ["0.weight"]
    with pytest.raises(UserError, match="no linear or convolution weight"):
        maskable(net(), include=["head.*"])


def test_tied_weights_have_one_mask():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model.get_parameter("0.weight")
    assert list(maskable(model)) == ["0.weight"]


def test_wrappers_do_not_change_names():
    model = net()
    compiled = torch.compile(model)
    assert isinstance(compiled, nn.Module)
    for wrapped in (nn.DataParallel(model), compiled, nn.DataParallel(compiled)):
        assert list(maskable(wrapped)) == list(maskable(model))
        masks = random_masks(model).apply_(wrapped)
        assert masks["module._orig_mod.0.weight"] is masks["0.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_masked_weights_are_plus_zero_and_the_others_untouched(dtype):
    model = net().to(dtype)
    masks = random_masks(model)
    before = model.get_parameter("0.weight").detach().clone()
    with torch.no_grad():
        model.get_parameter("0.weight")[~masks["0.weight"]] = torch.nan
    masks.apply_()
    closed = model.get_parameter("0.weight").detach()[~masks["0.weight"]]
    assert (closed == 0).all() and not torch.signbit(closed).any()
    assert torch.equal(model.get_parameter("0.weight")[masks["0.weight"]], before[masks["0.weight"]])


def test_buffers_stay_and_a_changed_mask_is_applied():
    model = net()
    masks = random_masks(model).apply_()
    buffer = masks["0.weight"]
    masks.update_({"0.weight": torch.zeros(5, 6, dtype=torch.bool)})
    assert masks["0.weight"] is buffer
    assert masks.apply_() is masks and not model.get_parameter("0.weight").any()
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1.0)
    buffer[2, 3] = True
    masks.apply_()
    assert model.get_parameter("0.weight").nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize("changes", range(4))  # the versions that the copy counts may meet those of the original
def test_a_copy_is_bound_to_the_copied_model(changes):
    model = net()
    masks = random_masks(model)
    for _ in range(changes):
        masks["0.weight"].fill_(True)
    masks.apply_()
    twin, copied = copy.deepcopy((model, masks))
    copied["0.weight"].zero_()
    copied.apply_()
    assert not twin.get_parameter("0.weight").any() and model.get_parameter("0.weight").any()


def test_unbound_masks_need_a_model():
    masks = random_masks()
    with pytest.raises(UserError, match="bound to no model"):
        masks.apply_()
    model = net()
    masks.apply_(model)
    assert int((model.get_parameter("0.weight") != 0).sum()) == int(masks["0.weight"].sum())


def test_density_counts_by_hand():
    masks = Masks({"a": torch.tensor([[True, False], [False, False]]), "b": torch.tensor([True, True, True, False])})
    assert (masks.nonzeros, masks.size, masks.density) == (4, 8, 0.5)
    assert masks.layer_densities() == {"a": 0.25, "b": 0.75}
    assert dict(masks).keys() == {"a", "b"} and len(masks) == 2


def test_a_file_gives_the_same_masks_in_eighth_the_bytes(tmp_path):
    masks = Masks({"w": torch.rand(300, 784) < 0.05, "odd": torch.ones(3, 5, dtype=torch.bool)})
    masks.save(tmp_path / "m.safetensors")
    back = Masks.load(tmp_path / "m.safetensors")
    assert sorted(back) == ["odd", "w"] and all(torch.equal(back[n], masks[n]) for n in masks)
    assert back.digest() == masks.digest()
    assert (tmp_path / "m.safetensors").stat().st_size < 300 * 784 / 8 + 1000


def test_digest_tells_one_bit():
    masks = random_masks()
    other = Masks(masks)
    assert other.digest() == masks.digest()
    other["0.weight"][0, 0] ^= True
    assert other.digest() != masks.digest()


def test_a_file_of_another_model_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "m.safetensors"
    random_masks().save(path)
    with pytest.raises(UserError, match=r"m\.safetensors: does not fit .* '0\.weight' has shape \(5, 6\).*\(6, 5\)"):
        Masks.load(path, nn.Sequential(nn.Linear(5, 6)))
    with pytest.raises(UserError, match=r"no parameter '3\.weight'"):
        Masks.load(path, nn.Sequential(nn.Linear(6, 5)))
    with pytest.raises(UserError, match="no such file"):
        Masks.load(tmp_path / "absent")
