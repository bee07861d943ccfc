"""Scale `paper` holds exactly the published grids: every run of the nine released experiment files, and no other.

The grids below are written out from those files; the plan is read back from the specs of its cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from sparse_ortho.plan.fields import BUILD, INITIALIZE, TRAIN
from sparse_ortho.plan.identity import Cell
from sparse_ortho.plan.job import LIMIT
from sparse_ortho.plan.layout import HELD
from sparse_ortho.plan.options import defaults
from sparse_ortho.plan.shapes import facts_of, layers, size_of
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.registry import resolve
from sparse_ortho.report.collect import unique

SEEDS = (1, 2, 3, 4, 5)
M5 = ("uniform", "erk", "snip", "grasp", "synflow")
THREE = ("orthogonal", "isometry@as_released", "eoi")  # masked dense weights, AI, EOI
SCORE_AND_LAYERS = {
    "uniform": ("random", "uniform"),
    "erk": ("random", "erk"),
    "uniform_skip": ("random", "uniform_skip"),
    "snip": ("snip", "global"),
    "grasp": ("grasp", "global"),
    "synflow": ("synflow", "global"),
}
MLP = ("linear", "tanh", "hard_tanh", "relu")
CNN = ("relu", "tanh", "lrelu", "selu")
TWELVE = (0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TABLES = ("deep_networks", "contemporary", "contemporary_5_percent", "activations", "learning_rates")
NOTHING_TRAINED = ("theory", "timing")  # figures of matrices, of no experiment file
ONE_ARGUMENT = 131_072  # bytes that Linux takes: a rule's command is one argument of its shell

Place = tuple[str, float, str, str, float]  # activation, density, mask, initialisation, learning rate


def grid(
    activations: Iterable[str], densities: Iterable[float], masks: Iterable[str], inits: Iterable[str], *lrs: float
) -> set[Place]:
    return set(itertools.product(activations, densities, masks, inits, lrs))


def dense(activations: Iterable[str], inits: Iterable[str], lr: float) -> set[Place]:
    return grid(activations, [1.0], ["dense"], inits, lr)


def image_net(*inits: str) -> set[Place]:
    """ResNet-32 and VGG-C: dense and 10 % with four activations, 5 % with relu."""
    ten = grid(["relu"], [0.05, 0.1], M5, THREE, 0.1) | grid(["tanh", "lrelu", "selu"], [0.1], M5, THREE, 0.1)
    return dense(CNN, ("orthogonal", *inits), 0.1) | ten


DEEP_RES = (
    dense(["relu"], ["orthogonal", "default"], 0.1)
    | grid(["relu"], [0.05, 0.1], M5, THREE[:2], 0.1)
    | grid(["relu"], [0.05, 0.1], M5[:4], ["eoi"], 0.1, 0.01)
    | grid(["relu"], [0.05, 0.1], ["synflow"], ["eoi"], 0.1)
)
ENDS = grid(["tanh"], [0.125], ["uniform_skip"], ["sao"], 1e-4)
EIGHTH = dense(["tanh"], ["orthogonal"], 1e-4) | grid(["tanh"], [0.125], M5, THREE, 1e-4) | ENDS
STRUCTURED = grid(["tanh"], [0.125], ["uniform_skip"], ["eoi", "eoi_structured"], 1e-4) | grid(
    ["tanh"], [0.125], ["erk"], ["eoi_structured"], 1e-4
)

# Name, depth -> (data set, cells, runs, weights that could have a mask)
NETWORKS: dict[tuple[str, int | None], tuple[str, set[Place], int, int]] = {
    ("mlp", 1000): ("mnist", EIGHTH, 85, 998 * 128 * 128 + 794 * 128),
    ("deep_conv", 1000): ("cifar10", EIGHTH | STRUCTURED, 100, 146_890_112),
    ("resnet", 32): ("cifar10", image_net("default"), 415, 464_432),
    ("vgg_c", None): ("cifar10", image_net("default", "vgg"), 435, 11_307_712),
    ("resnet", 56): ("cifar10", DEEP_RES, 200, 851_504),
    ("resnet", 110): ("cifar10", DEEP_RES, 200, 1_722_416),
    ("efficientnet", None): (
        "tiny_imagenet",
        dense(["silu"], ["orthogonal", "default"], 0.01) | grid(["silu"], [0.1], M5, THREE, 0.01),
        85,
        4_263_748 - 42_016 - 200 - 8_960 - 380,  # parameters less normalisation, biases of the head and of squeezing
    ),
}
FIGURES = {
    "jacobian": (grid(MLP, TWELVE, M5, THREE, 0.01), 3600),
    "loss_curves_activations": (
        dense(MLP, ["orthogonal", "default"], 0.01) | grid(MLP, [0.05, 0.1], M5, THREE, 0.01),
        640,
    ),
}

SGD = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "batch_size": 128, "weight_decay": 1e-4, "decay": "all"}
STEPS = {"schedule": "step", "milestones": [0.5, 0.75], "gamma": 0.1}
CROPPED = {"crop": 4, "crop_fill": "reflect", "flip": True}
PLAIN = defaults(TRAIN) | SGD | STEPS
COLOURS = {"hue": 0.05, "saturation": 0.05, "rotation": 10.0}
TRAINING: dict[str, dict[str, Any]] = {
    "mlp": PLAIN | {"epochs": 100},
    "deep_conv": PLAIN | CROPPED | {"epochs": 100},
    "resnet": PLAIN | CROPPED | {"epochs": 200},
    "vgg_c": PLAIN | CROPPED | {"epochs": 200},
    "efficientnet": PLAIN | CROPPED | COLOURS | {"epochs": 120, "weight_decay": 1e-3},
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan({"scale": "paper", "device": "cpu"})


@pytest.fixture(scope="module")
def network_cells(plan: Plan) -> dict[tuple[str, int | None], dict[str, Cell]]:
    """The cells of all tables, once each, by network."""
    study = plan.study("eoi")
    found: dict[tuple[str, int | None], dict[str, Cell]] = {}
    for exhibit in TABLES:
        for view in study.exhibits[exhibit][2]:
            cell = study.cells[view.id]
            model = cell.nodes["train"].spec["model"]
            found.setdefault((model["name"], model.get("depth")), {})[cell.id] = cell
    return found


def options(kind: str, method: Mapping[str, Any], *shared: str) -> dict[str, Any]:
    return defaults(resolve(kind, method["name"]), *shared) | dict(method)


def place_of(cell: Cell) -> Place:
    spec = cell.nodes["train"].spec
    mask = cell.nodes["mask"].spec if "mask" in cell.nodes else None
    words = {pair: word for word, pair in SCORE_AND_LAYERS.items()}
    return (
        options("models", spec["model"])["activation"],
        mask["density"] if mask else 1.0,
        words[mask["mask"]["score"]["name"], mask["mask"]["layers"]["name"]] if mask else "dense",
        cell.nodes["init"].spec["init"]["name"],
        (defaults(TRAIN) | spec["train"])["lr"],
    )


# the runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_network_has_the_products_of_its_experiment_file(plan, network_cells, network):
    _, wanted, runs, _ = NETWORKS[network]
    cells = network_cells[network]
    places = [place_of(cell) for cell in cells.values()]
    assert len(set(places)) == len(places) and set(places) == wanted
    assert sum(len(plan.study("eoi").seeds[identity]) for identity in cells) == runs


@pytest.mark.parametrize("exhibit", FIGURES)
def test_a_figure_of_the_mlp_has_the_products_of_its_experiment_file(plan, exhibit):
    wanted, runs = FIGURES[exhibit]
    views = plan.study("eoi").exhibits[exhibit][2]
    places = [place_of(plan.study("eoi").cells[view.id]) for view in views]
    assert len(set(places)) == len(places) and set(places) == wanted
    assert sum(len(view.seeds) for view in views) == runs


def test_the_nine_experiment_files_have_5760_runs(plan, network_cells):
    assert network_cells.keys() == NETWORKS.keys()
    assert sum(runs for _, _, runs, _ in NETWORKS.values()) + sum(runs for _, runs in FIGURES.values()) == 5760
    assert set(plan.study("eoi").exhibits) == {*TABLES, *FIGURES, *NOTHING_TRAINED}
    assert set(plan.study("eoi").seeds.values()) == {frozenset(SEEDS)}


def test_nothing_is_trained_for_the_singular_values(plan):
    trained = {node.id for node in plan.study("eoi").nodes("train")}
    views = plan.study("eoi").exhibits["jacobian"][2]
    only = [view for view in views if view.axes["density"] not in (0.05, 0.1)]
    assert len(only) == 10 * 4 * 5 * 3 and not trained & {plan.study("eoi").cells[view.id].id for view in only}


# what a run is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_network_trains_by_the_published_protocol(network_cells, network):
    for cell in network_cells[network].values():
        train = defaults(TRAIN) | cell.nodes["train"].spec["train"]
        lr = train.pop("lr")
        assert {**train, "milestones": list(train["milestones"])} == {
            key: value for key, value in TRAINING[network[0]].items() if key != "lr"
        }
        assert lr == place_of(cell)[-1]


def test_the_mlp_of_the_figures_trains_by_the_published_protocol(plan):
    for exhibit in FIGURES:
        for view in plan.study("eoi").exhibits[exhibit][2]:
            cell = plan.study("eoi").cells[view.id]
            spec, init = cell.nodes["train"].spec, cell.nodes["init"].spec["init"]
            train = defaults(TRAIN) | spec["train"]
            assert {**train, "milestones": list(train["milestones"])} == TRAINING["mlp"] | {"lr": 0.01}
            model = options("models", spec["model"])
            assert (model["depth"], model["width"], spec["shape"]) == (7, 100, [1, 28, 28])
            check_start(cell, init, gain=1.0, bias_std=0.0, steps=10_000, more_nonzeros=False)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_network_starts_as_published(network_cells, network):
    deep = network[1] == 1000
    for cell in network_cells[network].values():
        check_start(
            cell,
            cell.nodes["init"].spec["init"],
            gain=1.0247 if deep else 1.0,
            bias_std=0.00448 if deep else 0.0,
            steps=1000 if deep else 10_000,
            more_nonzeros=not deep,
            kernel="delta" if network[0] == "deep_conv" and "mask" not in cell.nodes else "block",
        )


def check_start(
    cell: Cell,
    init: Mapping[str, Any],
    *,
    gain: float,
    bias_std: float,
    steps: int,
    more_nonzeros: bool,
    kernel: str = "block",
) -> None:
    """An initialisation with all its options, and what the score of the mask saw: the dense one of the same seed."""
    biases = {"bias_std": bias_std}
    wanted: dict[str, dict[str, Any]] = {
        "orthogonal": {"gain": gain, "kernel": kernel},
        "default": {},
        "vgg": {"mode": 0.0},
        "isometry@as_released": {"gain": gain, "start": "orthogonal", "steps": steps, "lr": 0.1},
        "eoi": {"gain": gain, "more_nonzeros": more_nonzeros, "shuffle": False},
        "eoi_structured": {"gain": gain},
        "sao": {"gain": gain, "degree": 16, "relu": False}
        | {"construction": "published", "values": "orthogonal", "kernel": "delta"},
    }
    name = init["name"]
    assert options("inits", init, INITIALIZE) == {"name": name} | wanted[name] | biases
    mask = cell.nodes["mask"].spec if "mask" in cell.nodes else None
    if mask and mask["mask"]["score"]["name"] != "random":
        seen = options("inits", mask["score_init"], INITIALIZE)
        assert seen == {"name": "orthogonal", "gain": gain, "kernel": "block"} | biases


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_network_has_the_published_size_and_data(network_cells, network):
    data, _, _, weights = NETWORKS[network]
    for cell in network_cells[network].values():
        spec, set_ = cell.nodes["train"].spec, cell.nodes["data"].spec["data"]
        facts = facts_of(spec)
        assert facts and size_of(facts) == weights
        assert set_["name"] == data
        held_out = (defaults(BUILD) | set_)["validation"]
        assert held_out == (0 if data == "tiny_imagenet" else 0.1)  # Tiny-ImageNet trains on all 100,000
        assert (spec["shape"], spec["classes"]) == {
            "mnist": ([1, 28, 28], 10),
            "cifar10": ([3, 32, 32], 10),
            "tiny_imagenet": ([3, 64, 64], 200),
        }[data]
        assert options("models", spec["model"]).get("variant", "b0") == "b0"


def test_the_networks_of_a_thousand_layers_have_998_and_1000():
    from sparse_ortho.plan.shapes import known

    depths = sorted(len(layers(facts)) for facts in known().values())
    assert depths[-2:] == [998, 1000] and depths[-3] == 112  # the next is ResNet-110


# what can be made of it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exhibit", TABLES)
def test_every_cell_of_a_table_has_a_place_of_its_own(plan, exhibit):
    shown, _, views = plan.study("eoi").exhibits[exhibit]
    cells = [vars(view) for view in views]
    assert len(unique(exhibit, cells, (*shown.rows, *shown.columns))) == len(views)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_command_fits_in_one_argument(device):
    plan = Plan({"scale": "paper", "device": device})
    for stage in ("data", "mask", "init", "train", "measure"):
        for name in plan.bundles("eoi", stage):
            assert len(plan.job(stage, name)) < LIMIT
    for exhibit in plan.study("eoi").exhibits:
        files = plan.exhibit_inputs("eoi", exhibit)
        assert len(plan.exhibit_job("eoi", exhibit)) + sum(len(file) + 1 for file in files) < ONE_ARGUMENT - 1000


def test_no_process_holds_more_results_than_it_can(plan):
    """float32 weights and a mask, 5 bytes a weight: all of a bundle until it is written."""
    for stage, each in (("mask", 1), ("init", 5), ("train", 5)):
        for bundle in plan.bundles("eoi", stage).values():
            held = 0
            for node in bundle.nodes:
                facts = facts_of(node.spec)
                assert facts
                held += each * size_of(facts) * len(bundle.seeds_of(plan.study("eoi").seeds[node.id]))
            assert held <= HELD
