"""The released programs' words for an initialisation mean ours, and make the same cells."""

from __future__ import annotations

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.init_words import INIT_WORDS, expand_init
from sparse_ortho.registry import available

CELL = {"data": "digits", "model": {"name": "mlp", "depth": 3, "width": 16}, "mask": "snip", "density": 0.5}
MEANT = {
    "AI": "isometry",
    "EI": "eoi",
    "EIS": "eoi_structured",
    "kaiming_normal": "kaiming",
    "scaled_kaiming_normal": {"name": "kaiming_scaled", "fan_in": "global"},
    "plus_kaiming_normal": "kaiming_plus",
    "conv_orthogonal": "orthogonal",
    "delta_orthogonal": {"name": "orthogonal", "kernel": "delta"},
    "bimodal_kaiming_normal": "bimodal",
    "scaled_bimodal_vgg": {"name": "vgg", "mode": 0.8660254037844386},
    "max_sparse_orthogonal_copy": "max_sparse_orthogonal",
    "LRsI": "gradinit",
}


def identity(**more):
    return resolve_cell(CELL | {"init": "kaiming"} | more, "cell").id


@pytest.mark.parametrize("word", MEANT)
def test_a_word_is_the_cell_of_what_it_means(word):
    assert identity(init=word) == identity(init=MEANT[word]) != identity(init="default")


def test_the_network_that_a_score_looks_at_is_called_by_the_same_words():
    plain, spelled = (identity(score_init=said) for said in ("delta_orthogonal", MEANT["delta_orthogonal"]))
    assert plain == spelled != identity(score_init="conv_orthogonal")


def test_every_word_leads_to_a_registered_name_and_hides_none():
    known = available()["inits"]
    assert all(meaning["name"] in known and word not in known for word, meaning in INIT_WORDS.items())


def test_options_stand_beside_a_word():
    assert expand_init({"name": "delta_orthogonal", "gain": 2.0}, "init") == {
        "name": "orthogonal",
        "kernel": "delta",
        "gain": 2.0,
    }
    assert identity(mask="erk_AI", init={"name": "AI", "repair": True}) == identity(
        mask="erk", init={"name": "isometry", "repair": True}
    )


def test_what_a_word_does_not_mean_is_refused():
    with pytest.raises(UserError, match=r"cell\.init\.kernel: delta_orthogonal says kernel=delta.*'eco'"):
        identity(init={"name": "delta_orthogonal", "kernel": "eco"})
    with pytest.raises(UserError, match=r"erk_AI says init=isometry.*'eoi'"):
        identity(mask="erk_AI", init="EOI")
    with pytest.raises(UserError, match=r"cell\.init: unknown init.*'kaiming_norml'.*did you mean 'kaiming"):
        identity(init="kaiming_norml")
