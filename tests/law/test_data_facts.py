"""What the plan knows of a data set before it is there: its FACTS, with the options of the cell in them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparse_ortho import registry
from sparse_ortho.errors import UserError
from sparse_ortho.facts import with_options
from sparse_ortho.plan.cost import seed_seconds
from sparse_ortho.plan.data_facts import facts_of
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.identity import resolve_cell

PLAIN = {"shape": (3, 4, 5), "classes": 7, "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "scale": 255.0}


@pytest.mark.parametrize(
    ("data", "shape", "classes", "mean"),
    [
        ({"name": "digits"}, (1, 8, 8), 10, (0.3054,)),
        ({"name": "image_folder"}, (3, 32, 32), 10, (0.5, 0.5, 0.5)),
        ({"name": "image_folder", "size": 48, "classes": 4}, (3, 48, 48), 4, (0.5, 0.5, 0.5)),
        ({"name": "image_folder", "channels": 1, "mean": [0.2]}, (1, 32, 32), 10, (0.2,)),
        ({"name": "image_folder", "mean": [0.1, 0.2, 0.3]}, (3, 32, 32), 10, (0.1, 0.2, 0.3)),
        ({"name": "tiny_imagenet"}, (3, 64, 64), 200, (0.5, 0.5, 0.5)),
        ({"name": "tiny_imagenet", "classes": 20}, (3, 64, 64), 20, (0.5, 0.5, 0.5)),
        ({"name": "imagenet"}, (3, 224, 224), 1000, (0.485, 0.456, 0.406)),
        ({"name": "imagenet", "classes": 100}, (3, 224, 224), 100, (0.485, 0.456, 0.406)),
        ({"name": "higgs"}, (24,), 1, (0.0,)),
        ({"name": "acs_employment"}, (16,), 2, (0.0,)),
    ],
)
def test_options_given_or_by_default_stand_where_facts_name_them(data, shape, classes, mean):
    facts = facts_of(data)
    assert (facts["shape"], facts["classes"], facts["mean"]) == (shape, classes, mean)
    assert len(facts["std"]) == len(mean) and all(isinstance(value, float) for value in facts["std"])


@pytest.mark.parametrize("name", registry.available()["datasets"])
def test_every_data_set_resolves_to_numbers(name):
    facts = facts_of({"name": name})
    assert all(isinstance(side, int) and side > 0 for side in (*facts["shape"], facts["classes"]))
    channels = facts["shape"][0] if len(facts["shape"]) == 3 else 1
    assert len(facts["mean"]) == len(facts["std"]) == channels and min(facts["std"]) > 0
    assert facts["train"] is None or facts["train"] > 0


def test_facts_without_names_of_options_stay_as_they_are():
    assert with_options(PLAIN, {"classes": 3, "size": 9}, "x") == PLAIN


@pytest.mark.parametrize("key", ["shape", "classes", "mean", "std", "scale"])
def test_a_plug_in_that_states_too_little_is_told_what_is_missing(key):
    facts = {name: value for name, value in PLAIN.items() if name != key}
    with pytest.raises(UserError, match=rf"data mine: its module states no {key} in FACTS"):
        with_options(facts, {}, "data mine")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classes": "klasses"}, r"x: FACTS.classes: names no option of the data set \(found 'klasses'\); .*'classes'"),
        ({"shape": (3, "height", 4)}, r"x: FACTS.shape"),
        ({"shape": 3}, r"x: FACTS.shape: must be a tuple of sizes \(found 3\)"),
        ({"mean": (0.1, 0.2)}, r"x.mean: needs a number for each channel .*1 or 3 of them"),
    ],
)
def test_facts_that_make_no_sense_end_in_one_sentence(change, sentence):
    with pytest.raises(UserError, match=sentence):
        with_options(PLAIN | change, {"classes": 3}, "x")


def plug_in(monkeypatch, tmp_path, text: str) -> None:
    """A data set `mine` of a third party, as an entry point would add it."""
    module = f"their_data_{len(text)}"  # sources are read once a process
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = registry.table
    more = {"datasets": {"mine": f"{module}:mine"}}
    monkeypatch.setattr(registry, "table", lambda kind: table(kind) | more.get(kind, {}))


def test_a_plug_in_without_facts_is_refused_by_name(monkeypatch, tmp_path):
    plug_in(monkeypatch, tmp_path, "def mine(fetch, *, size: int = 5): ...\n")
    with pytest.raises(UserError, match=r"cell.data.name: the module of the data set mine states no FACTS"):
        resolve_cell({"data": "mine", "model": "mlp", "init": "kaiming"}, "cell")


def test_a_plug_in_with_facts_decides_the_shape_of_its_networks(monkeypatch, tmp_path):
    literal = PLAIN | {"shape": (3, "size", "size"), "classes": "kinds"}
    plug_in(monkeypatch, tmp_path, f"FACTS = {literal!r}\ndef mine(fetch, *, size: int = 5, kinds: int = 2): ...\n")
    cell = resolve_cell({"data": {"name": "mine", "size": 6}, "model": "mlp", "init": "kaiming"}, "cell")
    assert cell.nodes["train"].spec["shape"] == [3, 6, 6] and cell.nodes["train"].spec["classes"] == 2


def cell_of(data, **more):
    return resolve_cell({"data": data, "model": "mlp", "init": "kaiming", **more}, "cell")


def test_cells_take_shape_and_classes_from_the_options_of_their_data():
    cell = cell_of({"name": "image_folder", "size": 16, "channels": 1, "classes": 5})
    for stage in ("init", "train", "measure"):
        assert (cell.nodes[stage].spec["shape"], cell.nodes[stage].spec["classes"]) == ([1, 16, 16], 5)


def test_a_default_written_out_is_the_same_cell_and_another_size_is_not():
    plain = cell_of("image_folder").id
    assert cell_of({"name": "image_folder", "size": 32, "classes": 10, "mean": [0.5]}).id == plain
    assert cell_of({"name": "image_folder", "size": 33}).id != plain
    assert cell_of("tiny_imagenet").id != cell_of({"name": "tiny_imagenet", "classes": 20}).id


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"name": "image_folder", "sise": 3}, r"cell.data.sise: unknown key .*did you mean 'size'"),
        ({"name": "image_folder", "size": "big"}, r"cell.data.size: "),
        ({"name": "image_folder", "channels": 2}, r"cell.data.channels: "),
        ({"name": "image_folder", "mean": [0.1, 0.2]}, r"mean: needs a number for each channel"),
        ({"name": "tiny_imagenet", "archive": "x.zip"}, r"cell.data.archive: "),
        ("image_folders", r"cell.data: unknown dataset .*did you mean 'image_folder'"),
    ],
)
def test_wrong_options_end_before_anything_is_read(data, sentence):
    with pytest.raises(UserError, match=sentence):
        cell_of(data)


def test_a_data_set_of_unknown_size_costs_as_much_as_cifar():
    """images = 50,000: then epochs and batch size decide alone, and no run of a user's set looks free."""
    nodes = [cell_of({"name": "image_folder"}, train={"epochs": n}).nodes["train"] for n in (1, 10)]
    one, ten = (seed_seconds(node, "cpu") for node in nodes)
    assert one > 0 and ten == pytest.approx(10 * one)


def test_the_plan_reads_facts_without_importing_the_data_set():
    code = (
        "import sys; from sparse_ortho.plan.data_facts import facts_of; facts_of({'name': 'image_folder'});"
        "print(sorted({'torch', 'PIL', 'sklearn', 'pyarrow', 'sparse_ortho.data.image_folder'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
