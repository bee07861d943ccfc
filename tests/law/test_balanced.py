"""A balanced draw has equally many of each class, and is fixed by its generator alone."""

import numpy as np
import pytest

from sparse_ortho.data.balanced import balanced
from sparse_ortho.errors import UserError
from sparse_ortho.streams import stream

LABELS = np.repeat([4, 0, 7], [50, 3, 20])


def draw(per_class, candidates=None, seed=0):
    chosen = np.arange(len(LABELS)) if candidates is None else candidates
    return balanced(LABELS, chosen, per_class, stream(seed, "score"))


def test_each_class_gives_the_same_number_or_all_it_has():
    drawn = draw(10)
    assert np.unique(LABELS[drawn], return_counts=True)[1].tolist() == [3, 10, 10]  # classes 0, 4, 7
    assert len(set(drawn.tolist())) == 23 and drawn.dtype == np.int64


def test_only_candidates_are_drawn():
    candidates = np.array([70, 1, 3, 51, 60, 5])
    assert set(draw(2, candidates).tolist()) <= set(candidates.tolist())
    assert sorted(LABELS[draw(2, candidates)].tolist()) == [0, 4, 4, 7, 7]
    assert len(draw(2, np.array([], dtype=np.int64))) == 0


def test_the_draw_is_shuffled_and_fixed_by_its_generator():
    assert draw(10).tolist() == draw(10).tolist() != draw(10, seed=1).tolist()
    labels = LABELS[draw(10)]
    assert (labels[1:] != labels[:-1]).sum() > 5  # sorted by class it would change twice


def test_every_candidate_of_a_class_is_equally_likely():
    hits = np.bincount(np.concatenate([draw(5, seed=seed) for seed in range(400)]), minlength=len(LABELS))
    assert (hits[50:53] == 400).all() and (np.abs(hits[:50] - 40) < 5 * 6).all()  # Binomial(400, .1): sd 6


def test_a_draw_of_nothing_is_refused():
    with pytest.raises(UserError, match="per_class: must be at least 1"):
        draw(0)
