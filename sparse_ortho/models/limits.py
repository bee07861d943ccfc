"""Options of networks out of their range, refused in one sentence before anything is built."""

from __future__ import annotations

from collections.abc import Collection

from sparse_ortho.errors import UserError


def at_least(least: float, **options: float) -> None:
    for name, value in options.items():
        if value < least:
            raise UserError(f"model.{name}", f"must be at least {least:g}", found=value)


def probabilities(**options: float) -> None:
    """Of dropping something: 1 would leave nothing."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise UserError(f"model.{name}", "must be a probability under 1", found=value, allowed="[0, 1)")


def one_of(allowed: Collection[object], **options: object) -> None:
    for name, value in options.items():
        if value not in allowed:
            raise UserError(f"model.{name}", f"unknown {name.replace('_', ' ')}", found=value, allowed=allowed)
