"""Repairs: no dead unit, no weight in vain, and as many weights as before."""

import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.models.efficientnet import efficientnet
from sparse_ortho.models.lenet import lenet5, lenet300_100
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.repairs.mend import facts, mend
from sparse_ortho.repairs.paths import Paths
from sparse_ortho.repairs.wiring import Wiring
from sparse_ortho.streams import Streams

S = Streams(0)


def probe_of(model, shape):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, None, None, shape)


def chain(*sizes):
    torch.manual_seed(0)
    return nn.Sequential(*(m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())))


def convolutions():
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)]
    parts += [nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4, 3)]
    return nn.Sequential(*parts)


def counts(masks):
    return sum(int(mask.count_nonzero()) for mask in masks.values())


def degrees(mask):
    """Active weights of every output and of every input."""
    flat = mask.flatten(2).sum(2) if mask.ndim > 2 else mask.int()
    return flat.sum(1), flat.sum(0)


def without(shapes, rows=(), columns=(), density=1.0):
    """Masks with dead outputs and dead inputs: (layer, index)."""
    generator = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(shape, generator=generator) < density for n, shape in shapes.items()}
    for name, row in rows:
        masks[name][row] = False
    for name, column in columns:
        masks[name][:, column] = False
    return masks


DEAD = {"one": [1], "two": [1, 3], "all": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize("number", DEAD)
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_linear_units_come_back_and_the_number_of_weights_stays(side, number):
    probe = probe_of(chain(8, 5, 4), (8,))
    where = {"rows": "0.weight", "columns": "2.weight"}[side]
    dead = [(where, index) for index in DEAD[number]]
    masks = without(probe.shapes, dead if side == "rows" else (), dead if side == "columns" else ())
    made = mend("units", probe, masks, None, S)
    assert counts(made) == counts(masks)
    ins, outs = degrees(made["0.weight"])[0], degrees(made["2.weight"])[1]
    assert (ins > 0).all() and (outs > 0).all() and (degrees(made["2.weight"])[0] > 0).all()
    assert number == "all" or all(int(made[n].sum()) == int(masks[n].sum()) for n in made)  # layers keep their numbers


@pytest.mark.parametrize("number", DEAD)
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_channels_come_back_also_two_and_more_at_once(side, number):
    probe = probe_of(convolutions(), (2, 4, 4))
    where = {"rows": "0.weight", "columns": "4.weight"}[side]
    dead = [(where, index) for index in DEAD[number]]
    masks = without(probe.shapes, dead if side == "rows" else (), dead if side == "columns" else (), density=0.4)
    made = mend("units", probe, masks, None, S)
    assert counts(made) == counts(masks)
    assert (degrees(made["0.weight"])[0] > 0).all() and (degrees(made["4.weight"])[1] > 0).all()
    per_channel = degrees(made["7.weight"])[1].view(5, -1).sum(1)  # four pixels of a channel are one unit
    assert (per_channel > 0).all()


def test_what_is_opened_scores_best_and_what_is_closed_scores_worst():
    probe = probe_of(chain(4, 2, 2), (4,))
    masks = {"0.weight": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]).bool(), "2.weight": torch.ones(2, 2).bool()}
    scores = {"0.weight": torch.tensor([[4.0, 1, 2, 3], [5, 7, 6, 8]]), "2.weight": torch.ones(2, 2)}
    made = mend("units", probe, masks, scores, S)
    assert made["0.weight"].int().tolist() == [[1, 0, 1, 1], [0, 0, 0, 1]]
    assert made["2.weight"].all()


def test_pixels_may_stay_without_a_weight_unless_inputs_count():
    probe = probe_of(chain(6, 3, 2), (6,))
    masks = without(probe.shapes, columns=[("0.weight", 0), ("0.weight", 5)])
    assert all(torch.equal(masks[n], mask) for n, mask in mend("units", probe, masks, None, S).items())
    made = mend({"name": "units", "inputs": True}, probe, masks, None, S)
    assert (degrees(made["0.weight"])[1] > 0).all() and counts(made) == counts(masks)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 5), nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.second(self.first(x).relu()))


def test_a_unit_that_a_live_shortcut_carries_is_not_dead():
    probe = probe_of(Residual(), (6,))
    masks = without(probe.shapes, rows=[("second.weight", 1)], columns=[("first.weight", 2)])
    made = mend("units", probe, masks, None, S)
    assert all(torch.equal(masks[n], made[n]) for n in masks)  # the stem feeds channel 1, the head reads channel 2
    assert facts(probe, masks) == {"empty": [], "off_path": 0}


def test_a_unit_whose_shortcut_is_dead_too_comes_back_once():
    probe = probe_of(Residual(), (6,))
    masks = without(probe.shapes, rows=[("second.weight", 1), ("stem.weight", 1)])
    made = mend("units", probe, masks, None, S)
    assert counts(made) == counts(masks)
    opened = [int(made[n][1].sum()) for n in ("stem.weight", "second.weight")]
    assert opened == [1, 0]  # either of them would do
    masks = without(probe.shapes, columns=[("first.weight", 2), ("head.weight", 2)])
    made = mend("units", probe, masks, None, S)
    assert made["head.weight"][:, 2].any() and counts(made) == counts(masks)  # what the block adds has no other way out


def test_the_inner_units_of_a_block_are_dead_without_a_weight():
    probe = probe_of(Residual(), (6,))
    masks = without(probe.shapes, rows=[("first.weight", 0)], columns=[("second.weight", 3)])
    made = mend("units", probe, masks, None, S)
    assert (degrees(made["first.weight"])[0] > 0).all() and (degrees(made["second.weight"])[1] > 0).all()
    assert counts(made) == counts(masks)


def test_a_layer_with_too_few_weights_for_its_units_gets_some_of_the_others():
    probe = probe_of(chain(20, 10, 10, 2), (20,))
    masks = without(probe.shapes)
    masks["2.weight"] = torch.zeros(10, 10, dtype=torch.bool)
    made = mend("units", probe, masks, None, S)
    assert counts(made) == counts(masks) and int(made["2.weight"].sum()) == 10
    assert (degrees(made["2.weight"])[0] == 1).all() and (degrees(made["2.weight"])[1] == 1).all()


def test_a_budget_under_the_number_of_units_is_refused_with_the_range():
    probe = probe_of(chain(20, 10, 10, 2), (20,))
    masks = {n: torch.zeros(s, dtype=torch.bool) for n, s in probe.shapes.items()}
    masks["0.weight"][0, 0] = True
    with pytest.raises(UserError, match=r"density: 1 of 320 .*\(30 to 320 weights\)"):
        mend("units", probe, masks, None, S)


NETS = {
    "lenet300_100": (lambda: lenet300_100((1, 8, 8), 10), (1, 8, 8), 0.01),
    "lenet5": (lambda: lenet5((1, 28, 28), 10), (1, 28, 28), 0.004),
    "resnet": (lambda: cifar_resnet((3, 8, 8), 10, depth=8, width=4), (3, 8, 8), 0.04),
    "mlp": (lambda: mlp((1, 8, 8), 10, depth=40, width=30), (1, 8, 8), 0.07),
    "efficientnet": (lambda: efficientnet((3, 32, 32), 10), (3, 32, 32), 0.1),
}


@pytest.mark.parametrize("net", NETS)
def test_after_a_repair_of_the_flow_every_weight_changes_the_output(net):
    """Oracle: SynFlow's own gradient in float64, in which a weight on no path is exactly 0."""
    build, shape, density = NETS[net]
    torch.manual_seed(0)
    model = build()
    probe = probe_of(model, shape)
    masks = choose(probe, density, score="random", layers="uniform", streams=S)
    made = mend("flow", probe, masks, None, S)
    assert counts(made) == counts(masks) and facts(probe, made)["off_path"] == 0
    assert facts(probe, masks)["off_path"] > 0 or net == "efficientnet"
    if net in ("lenet300_100", "resnet", "mlp"):  # maxima and gates hide paths from a gradient
        assert torch.equal(flows(model, made, shape), torch.ones(counts(made)).bool())


def flows(model, masks, shape):
    """Whether each active weight's slope is positive, on ones, with everything else positive and linear."""
    model = model.double().eval()
    weights = maskable(model)
    for module in model.modules():
        for name, child in module._modules.items():
            if isinstance(child, nn.BatchNorm2d | nn.ReLU | nn.Tanh):
                module._modules[name] = nn.Identity()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(masks[name].double())
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    out = model(torch.ones(1, *shape, dtype=torch.float64)).sum()
    slopes = torch.autograd.grad(out, list(weights.values()))
    return torch.cat([slope[masks[n]] > 0 for n, slope in zip(weights, slopes, strict=True)])


def test_paths_of_a_hand_made_network():
    model = chain(2, 2, 1)
    probe = probe_of(model, (2,))
    masks = {"0.weight": torch.tensor([[1, 0], [1, 1]]).bool(), "2.weight": torch.tensor([[1, 0]]).bool()}
    through = Paths(probe).on_path(masks)  # nothing reads the second unit
    assert through["0.weight"].int().tolist() == [[1, 0], [0, 0]] and through["2.weight"].int().tolist() == [[1, 0]]
    assert facts(probe, masks) == {"empty": [], "off_path": 2}
    masks["0.weight"][:] = False
    assert facts(probe, masks) == {"empty": ["0.weight"], "off_path": 1}
    made = mend("flow", probe, {**masks, "0.weight": torch.tensor([[0, 0], [1, 1]]).bool()}, None, S)
    assert counts(made) == 3 and facts(probe, made)["off_path"] == 0


def test_a_path_is_found_where_there_are_too_few_weights_for_all_units():
    probe = probe_of(chain(30, 20, 20, 4), (30,))
    masks = {n: torch.zeros(s, dtype=torch.bool) for n, s in probe.shapes.items()}
    masks["2.weight"].view(-1)[[3, 77, 120, 250, 251, 300]] = True
    made = mend("flow", probe, masks, None, S)
    assert counts(made) == 6 and facts(probe, made) == {"empty": [], "off_path": 0}
    masks["2.weight"].view(-1)[[3, 77, 120, 250]] = False
    with pytest.raises(UserError, match="density: no paths of 2 of 1080 weights"):
        mend("flow", probe, masks, None, S)


def test_taps_that_only_see_padding_are_on_no_path():
    probe = probe_of(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(1, 1)), (1, 1, 1))
    masks = {n: torch.ones(s).bool() for n, s in probe.shapes.items()}
    assert Paths(probe).on_path(masks)["0.weight"].flatten().nonzero().tolist() == [[4]]


def test_a_thousand_layers_neither_vanish_nor_overflow():
    with torch.device("meta"):
        model = mlp((1, 2, 2), 3, depth=1000, width=4)
    probe = probe_of(model, (1, 2, 2))
    masks = {n: torch.ones(s).bool() for n, s in probe.shapes.items()}
    assert facts(probe, masks)["off_path"] == 0


def test_asking_for_paths_leaves_the_model_and_the_generator_alone():
    model = convolutions()
    before, state = {n: v.clone() for n, v in model.state_dict().items()}, torch.get_rng_state()
    flags = [m.training for m in model.modules()], [len(m._forward_hooks) for m in model.modules()]
    probe = probe_of(model, (2, 4, 4))
    mend("units", probe, without(probe.shapes, rows=[("0.weight", 0)]), None, S)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert flags == ([m.training for m in model.modules()], [len(m._forward_hooks) for m in model.modules()])
    assert torch.equal(torch.get_rng_state(), state) and all(p.requires_grad for p in model.parameters())


def test_wiring_sees_what_feeds_what():
    wiring = Wiring(probe_of(Residual(), (6,)))
    (found,) = wiring.readers([("stem.weight", 2)])
    assert found == {"first.weight": [2], "head.weight": [2]}
    assert wiring.readers([("head.weight", 1)]) == [{"": [1]}]
    flat = Wiring(probe_of(convolutions(), (2, 4, 4)))
    assert flat.readers([("4.weight", 1)]) == [{"7.weight": [4, 5, 6, 7]}]
    assert not flat.between()["0.weight"].any() and flat.between()["4.weight"].all()


def test_the_released_repair_adds_weights_to_each_tensor_alone():
    probe = probe_of(chain(6, 5, 4), (6,))
    masks = without(probe.shapes, rows=[("0.weight", 1), ("0.weight", 3)], columns=[("2.weight", 0), ("2.weight", 2)])
    made = mend("units@as_released", probe, masks, None, S)
    assert counts(made) == counts(masks) + 4 and not any((masks[n] & ~made[n]).any() for n in masks)
    assert degrees(made["0.weight"])[0][[1, 3]].tolist() == [1, 1]
    assert degrees(made["2.weight"])[1][[0, 2]].tolist() == [1, 1]


@pytest.mark.parametrize(("dead", "added"), [([2], 1), ([2, 4], 0)])
def test_the_released_repair_of_convolutions_loses_two_dead_inputs(dead, added):
    probe = probe_of(convolutions(), (2, 4, 4))
    masks = without(probe.shapes, columns=[("4.weight", index) for index in dead])
    assert counts(mend("units@as_released", probe, masks, None, S)) == counts(masks) + added


def test_make_masks_repairs_and_keeps_the_budget():
    torch.manual_seed(0)
    model, x = chain(30, 20, 20, 5), [(torch.randn(4, 30), torch.arange(4) % 5)]
    plain = so.make_masks(model, 0.06, score="magnitude", layers="global", seed=0, data=x)
    made = so.make_masks(model, 0.06, score="magnitude", layers="global", seed=0, data=x, repair="units")
    assert made.nonzeros == plain.nonzeros and (degrees(made["2.weight"])[0] > 0).all()
    assert not (degrees(plain["2.weight"])[0] > 0).all()
    with pytest.raises(UserError, match="repair: moves single weights"):
        so.make_masks(model, 0.1, seed=0, data=x, repair="units", structure="kernel")
    with pytest.raises(UserError, match="repair: needs the shape"):
        so.make_masks(model, 0.1, seed=0, repair="units")
    with pytest.raises(UserError, match="did you mean 'flow'"):
        so.make_masks(model, 0.1, seed=0, data=x, repair="flo")
