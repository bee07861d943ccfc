"""No rule: the masks stay what they were at the start."""

from __future__ import annotations

from sparse_ortho.rewiring.rule import Rule


def static() -> Rule:
    return Rule("static")
