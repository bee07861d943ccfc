"""Masks that a user brings: identity by content, and every misfit is one sentence, before a job where the plan can."""

import json
import shutil

import numpy as np
import pytest
import torch

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.models.mlp import mlp
from sparse_ortho.plan import mask_sources
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.plan.mask_words import mask_word
from sparse_ortho.plan.shapes import refuse_unreachable
from sparse_ortho.stages import mask as stage
from sparse_ortho.stages.bundle import Bundles, Context
from sparse_ortho.store import Store

CELL = {"data": "digits", "model": {"name": "mlp", "depth": 3, "width": 16}, "init": "kaiming"}


def network():
    return mlp((1, 8, 8), 10, depth=3, width=16)


@pytest.fixture
def file(tmp_path):
    masks = so.make_masks(network(), 0.15, seed=0)
    masks.save(tmp_path / "own.npz")
    return tmp_path / "own.npz"


def node_of(**raw):
    return resolve_cell(CELL | raw, "cell").nodes["mask"]


def made(node, tmp_path, seed=0, more=None):
    """What stage `mask` makes of a node: its row and masks."""
    files = mask_sources.files_of([node]) if more is None else more
    task = Task(node.id, node.spec, [seed], "code", [])
    job = Job("mask", "bundle", {}, [task], {"files": files} if files else {})
    output = tmp_path / "masks.safetensors"
    stage.main(job, Context(Store(tmp_path / "store"), lambda _: None), [], str(output))
    found = Bundles([str(output)])
    return found.entry(node.id, seed)["row"], found.tensors(node.id, seed, "masks/")


def test_a_file_is_the_mask_and_its_density_the_cells(file, tmp_path):
    node = node_of(mask={"file": str(file)})
    row, masks = made(node, tmp_path)
    expected = so.Masks.load(file)
    assert node.spec["density"] == 0.15 and (row["nonzeros"], row["weights"]) == (216, 1440)
    assert masks.keys() == expected.keys() and all(np.array_equal(masks[n], m.numpy()) for n, m in expected.items())
    assert mask_word(node.spec["mask"]) == "file"


def test_identity_is_the_content_not_the_place(file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(file, tmp_path / "elsewhere" / "copy.npz")
    assert node_of(mask={"file": str(copy)}).id == node_of(mask={"file": str(file)}).id
    before = node_of(mask={"file": str(file)}).id
    so.make_masks(network(), 0.15, seed=1).save(file)
    assert node_of(mask={"file": str(file)}).id != before
    assert str(tmp_path) not in json.dumps(dict(node_of(mask={"file": str(file)}).spec))


def test_a_relative_path_starts_at_the_project(file, monkeypatch):
    monkeypatch.setattr(mask_sources, "ROOT", file.parent)
    assert node_of(mask={"file": "own.npz"}).id == node_of(mask={"file": str(file)}).id


def test_weights_are_a_mask_where_they_are_not_zero(tmp_path):
    model = network()
    masks = so.make_masks(model, 0.2, seed=0)
    masks.apply_()
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / "ticket.safetensors")
    where = str(tmp_path / "ticket.safetensors")
    with pytest.raises(UserError, match="is no mask"):
        node_of(mask={"file": where})
    row, found = made(node_of(mask={"file": where, "nonzero": True}), tmp_path)
    assert row["nonzeros"] == masks.nonzeros and all(np.array_equal(found[n], m.numpy()) for n, m in masks.items())


def test_the_plan_refuses_what_it_can_see(file, tmp_path):
    for mask, more, sentence in [
        ({"file": str(tmp_path / "no.npz")}, {}, r"cell\.mask\.file: no such file"),
        ({"file": str(file), "score": "snip"}, {}, r"cell\.mask\.score: .*no score"),
        ({"file": str(file)}, {"density": 0.3}, r"cell\.density: is the file's.*allowed: 0\.15"),
        ({"file": str(file), "nonzero": 1}, {}, r"cell\.mask\.nonzero"),
        ({"layers": {"name": "transplanted"}}, {}, r"cell\.mask\.layers\.file"),
        ({"layers": {"name": "transplanted", "file": str(file), "power": 2}}, {}, r"cell\.mask\.layers\.power"),
    ]:
        with pytest.raises(UserError, match=sentence):
            node_of(mask=mask, **more)
    torch.save({}, tmp_path / "masks.pt")
    with pytest.raises(UserError, match="pickle"):
        node_of(mask={"file": str(tmp_path / "masks.pt")})


def test_shapes_that_no_layer_has_are_refused_where_the_plan_knows_the_model(file):
    spec = {"data": "digits", "model": {"name": "mlp", "width": 64}, "init": "kaiming", "mask": {"file": str(file)}}
    cell = resolve_cell(spec, "cell")
    sources = cell.nodes["mask"].sources
    facts = {"weights": [[1, [64, 64]], [5, [64, 64]], [1, [10, 64]]]}
    with pytest.raises(UserError, match=r"cell\.mask: .*own\.npz does not fit mlp: it has 3 layers.*allowed: 7 layers"):
        mask_sources.refuse_misfit(sources, facts, "mlp", "cell")
    mask_sources.refuse_misfit(sources, {"weights": [[1, [16, 64]], [1, [16, 16]], [1, [10, 16]]]}, "mlp", "cell")
    refuse_unreachable(resolve_cell(CELL | {"mask": {"file": str(file)}}, "cell"), "cell")


def test_the_stage_refuses_other_names_shapes_and_contents(file, tmp_path):
    node = node_of(mask={"file": str(file)}, model={"name": "mlp", "depth": 3, "width": 17})
    assert "(16, 64), the weight (17, 64)" in made(node, tmp_path)[0]["reason"]
    masks = so.Masks.load(file)
    so.Masks({n: m for n, m in masks.items() if "1" not in n}).save(file)
    assert "no mask for 'layers.1.weight'" in made(node_of(mask={"file": str(file)}), tmp_path)[0]["reason"]
    so.Masks({**masks, "layers.9.weight": torch.ones(2, 2)}).save(file)
    assert "'layers.9.weight'" in made(node_of(mask={"file": str(file)}), tmp_path)[0]["reason"]


def test_a_file_that_changes_under_the_job_is_no_property_of_the_cell(file, tmp_path):
    """A refusal in the store would be served when the file is back."""
    node, whole = node_of(mask={"file": str(file)}), file.read_bytes()
    so.make_masks(network(), 0.15, seed=1).save(file)
    with pytest.raises(UserError, match="not the file any more"):
        made(node, tmp_path)
    with pytest.raises(UserError, match="does not say where"):
        made(node, tmp_path, more={})
    file.write_bytes(whole)
    assert made(node, tmp_path)[0]["status"] == "ok"


def test_transplanted_layers_have_the_files_numbers_and_other_positions(file, tmp_path):
    expected = so.Masks.load(file)
    node = node_of(mask={"score": "random", "layers": {"name": "transplanted", "file": str(file)}})
    row, masks = made(node, tmp_path, seed=3)
    assert row["nonzeros"] == 216 and node.spec["density"] == 0.15
    assert {n: int(m.sum()) for n, m in masks.items()} == {n: int(m.sum()) for n, m in expected.items()}
    assert any(not np.array_equal(masks[n], m.numpy()) for n, m in expected.items())


def test_transplanted_layers_share_another_density_in_proportion(file, tmp_path):
    node = node_of(density=0.3, mask={"layers": {"name": "transplanted", "file": str(file)}})
    row, masks = made(node, tmp_path)
    counts = {n: int(m.sum()) for n, m in so.Masks.load(file).items()}
    assert row["nonzeros"] == 432
    assert {n: int(m.sum()) for n, m in masks.items()} == {n: 2 * count for n, count in counts.items()}


def test_a_mask_from_a_file_can_be_repaired(file, tmp_path):
    masks = so.Masks.load(file)
    masks["layers.1.weight"][3] = False
    masks.save(file)
    row, repaired = made(node_of(mask={"file": str(file), "repair": "units"}), tmp_path)
    assert row["nonzeros"] == masks.nonzeros and row["repair"] == "units"
    assert row["opened"] == row["closed"] > 0 and repaired["layers.1.weight"][3].any()


def test_rows_say_the_unit_what_was_asked_and_which_layers_collapsed(tmp_path):
    row, masks = made(node_of(mask={"name": "erk", "structure": "fan_in"}, density=0.1), tmp_path)
    assert (row["unit"], row["asked"], row["nonzeros"]) == ("fan_in", 144, sum(int(m.sum()) for m in masks.values()))
    assert 144 - 10 < row["nonzeros"] <= 144
    given = {"layers": {"layers.0.weight": 0.01, "layers.1.weight": 0.0001, "layers.2.weight": 0.01}}
    row, _ = made(node_of(mask=given), tmp_path)
    assert row["empty"] == [] and row["nonzeros"] == 13
    row, masks = made(node_of(mask={"score": "magnitude", "layers": "global"}, density=0.001), tmp_path)
    assert row["nonzeros"] == row["off_path"] == 1
    assert row["empty"] == [n for n, m in masks.items() if not m.any()] and len(row["empty"]) == 2


@pytest.mark.parametrize(
    ("mask", "more", "sentence"),
    [
        ({"name": "snip", "structure": "kernl"}, {}, r"cell\.mask\.structure.*did you mean 'kernel'"),
        ({"name": "snip", "structure": {"name": "block", "row": 2}}, {}, r"cell\.mask\.structure\.row: unknown key"),
        ({"name": "snip", "structure": "n_m"}, {"density": 0.3}, r"cell\.density: .*n_m with 2 of 4.*allowed: 0\.5"),
        ({"name": "erk", "structure": "n_m"}, {}, r"cell\.mask\.layers: .*density 0\.5 in every layer"),
        ({"score": "snip", "structure": {"name": "n_m", "n": 5}}, {}, r"cell\.mask\.structure: n_m keeps 5 of 4"),
        ({"name": "erk", "structure": "kernel", "repair": "flow"}, {}, r"cell\.mask\.repair: .*structure kernel"),
        ({"name": "erk", "repair": "flw"}, {}, r"cell\.mask\.repair.*did you mean 'flow'"),
        ({"name": "erk", "structure": "fan_in"}, {"init": "eoi"}, r"cell\.init: eoi has positions of its own"),
    ],
)
def test_words_beside_a_mask_are_checked_by_the_plan(mask, more, sentence):
    with pytest.raises(UserError, match=sentence):
        node_of(**({"density": 0.1} if "n_m" not in str(mask) else {}), mask=mask, **more)


def test_a_structure_of_one_density_needs_none_in_the_cell():
    one, other = (node_of(mask={"score": "snip", "structure": "n_m"}, **d) for d in ({}, {"density": 0.5}))
    assert one.id == other.id and one.spec["density"] == 0.5 and "snip_uniform_n_m-d0.5" in one.id
    third = {"score": "random", "structure": {"name": "n_m", "n": 1, "m": 3}}
    assert node_of(mask=third, density=0.333333).id == node_of(mask=third).id


def test_an_initialisation_in_the_same_unit_keeps_the_structure():
    assert node_of(mask={"name": "erk", "structure": "kernel"}, init="eoi_structured", density=0.3)


def test_a_structure_under_its_smallest_unit_is_refused_by_the_plan():
    raw = {"data": "digits", "model": {"name": "mlp", "width": 64}, "init": "kaiming", "density": 0.0001}
    cell = resolve_cell(raw | {"mask": {"name": "erk", "structure": "fan_in"}}, "cell")
    from sparse_ortho.plan.structure_words import least_weights

    runs = [[6, [64, 64]], [1, [10, 64]]]
    assert list(least_weights(cell.nodes["mask"].spec["mask"], runs)) == [("structure fan_in", 10)]
    kernels = {"structure": {"name": "kernel"}}
    assert list(least_weights(kernels, [[1, [8, 3, 3, 3]], [1, [8, 8, 1, 1]]])) == [("structure kernel", 1)]


@pytest.mark.parametrize("more", [{"structure": "kernel"}, {"repair": "units"}])
def test_a_word_with_more_said_about_it_is_that_word(more):
    long = {"score": "taylor", "layers": "global"} | more
    long["score"] = {"name": "taylor", "squares": "after"}  # type: ignore[assignment]
    assert node_of(mask={"name": "TP"} | more, density=0.1).id == node_of(mask=long, density=0.1).id
    assert resolve_cell(
        {k: v for k, v in CELL.items() if k != "init"} | {"mask": {"name": "snip_AI"} | more, "density": 0.1}, "c"
    )


@pytest.mark.parametrize(
    ("mask", "label"),
    [
        ({"name": "erk", "repair": {"name": "flow"}}, "erk+flow"),
        ({"score": "snip", "structure": {"name": "n_m", "n": 1}}, "snip+n_m"),
        ({"file": "masks/a.npz", "nonzero": True}, "masks/a.npz"),
        ({"score": "magnitude", "layers": {"name": "transplanted", "file": "a"}}, "magnitude+transplanted"),
        ({"score": "random", "layers": "snip"}, "random+snip"),
    ],
)
def test_tables_call_a_mask_by_all_that_it_says(mask, label):
    from sparse_ortho.plan.grid import axis_value

    assert axis_value({"mask": mask}, "mask", "cell") == label
