"""The spellings of papers and released programs mean the masks that they say."""

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.mask_words import expand_aliases, expand_mask, mask_word
from sparse_ortho.registry import available

WORDS = {  # word -> score, layers
    "ER_init": ("random", "uniform"),
    "ER_same_params": ("random", "balanced"),
    "ER_same_params_per_layer": ("random", "balanced"),
    "pyramid_sparsity": ("random", "pyramid"),
    "pyramidal": ("random", "pyramid"),
    "pyramid": ("random", "pyramid"),
    "ERK": ("random", "erk"),
    "ER": ("random", "er"),
    "ERK_plus": ("random", "erk_plus"),
    "uni_skip": ("random", "uniform_skip"),
    "ER_flow": ("random_flow", "uniform"),
    "ER_synflow": ("random", "synflow"),
    "ER_init_global": ("random", "synflow"),
    "ER-SNIP": ("random", "snip"),
    "ER-GraSP": ("random", "grasp"),
    "ER-SynFlow": ("random", "synflow"),
    "snip_ratio": ("random", "snip"),
    "global_magnitude": ("magnitude", "global"),
    "OMP": ("magnitude", "global"),
    "RP": ("random", "global"),
    "TP": ("taylor", "global"),
    "FORCE": ("force", "global"),
    "SNIP": ("snip", "global"),
    "snip_direct": ("snip", "global"),
    "GraSP": ("grasp", "global"),
    "SynFlow": ("synflow", "global"),
    "grasp@as_released": ("grasp@as_released", "global"),
    "erk@as_released": ("random", "erk@as_released"),
}


def mask_of(word):
    return expand_mask(expand_aliases({"mask": word}, "cell")["mask"], "cell.mask")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_a_score_and_layers(word):
    mask = mask_of(word)
    assert mask is not None and (mask["score"]["name"], mask["layers"]["name"]) == WORDS[word]


@pytest.mark.parametrize("kind", ["scores", "densities"])
def test_every_registered_name_is_a_mask_and_the_word_for_it(kind):
    for name in available()[kind]:
        word = mask_word(mask_of(name))
        assert word == (name if name != "random" else "random")
        assert mask_of(word) == mask_of(name)


@pytest.mark.parametrize("score", available()["scores"])
def test_the_word_for_a_ratio_can_be_written(score):
    ratio = expand_mask({"score": "random", "layers": score}, "cell.mask")
    assert mask_of(mask_word(ratio)) == ratio


def test_a_word_may_name_an_initialisation_too():
    raw = expand_aliases({"mask": "ER_same_params_EI"}, "cell")
    assert raw["mask"] == "balanced" and raw["init"]["name"] == "eoi"
    raw = expand_aliases({"mask": "synflow_ratio_AI"}, "cell")
    assert raw["mask"] == {"score": "random", "layers": "synflow"} and raw["init"]["name"] == "isometry"


def test_options_of_tost_reach_the_score_and_fixed_takes_a_list():
    mask = mask_of("TP")
    assert mask is not None and mask["score"] == {"name": "taylor", "squares": "after"}
    mask = expand_mask({"layers": {"name": "fixed", "layers": ["first", "fc*"], "rest": "erk"}}, "cell.mask")
    assert mask is not None and mask["layers"] == {"name": "fixed", "layers": ["first", "fc*"], "rest": "erk"}
    with pytest.raises(UserError, match=r"cell\.mask\.layers\.rest.*'erc'"):
        expand_mask({"layers": {"name": "fixed", "rest": "erc"}}, "cell.mask")


def test_unknown_words_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'synflow'"):
        mask_of("synflw_ratio"[:6])
