"""What an audit has looked at and what of it is wrong: a sentence each, and numbers of what held."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Findings:
    """`checked` counts by kind what was looked at, `skipped` what nothing could be said of, by reason."""

    checked: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def expect(self, holds: bool, where: object, problem: str) -> bool:
        """Note a violation unless it `holds`; returned, so that what depends on it can be left out."""
        if not holds:
            self.wrong.append(f"{where}: {problem}")
        return holds

    def summary(self) -> str:
        """All numbers in one line."""
        looked = ", ".join(f"{number} {kind}" for kind, number in self.checked.items()) or "nothing there yet"
        passed = "; ".join(f"{number} {reason}" for reason, number in sorted(self.skipped.items()))
        return looked + (f"; not checked: {passed}" if passed else "")
