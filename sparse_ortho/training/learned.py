"""A learned mask as a part of a training: what `Rewired` is for a rule.

Masks move with every step, so `run.masks` are brought up to date where somebody looks: at the end of an epoch, before
its evaluation, and at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparse_ortho.training.rewired import Rewired

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class Learned(Rewired):
    live: Any  # a learned/latent.py Learned

    def begin(self, run: Run) -> None:
        super().begin(run)
        run.extra.extend(self.live.latent.values())
        self._publish()

    def end_epoch(self, run: Run) -> None:
        if run.clock.epoch + 1 == run.options.epochs:
            self.live.finish()
        self._publish()

    def end(self, run: Run) -> None:
        self._publish()

    def facts(self) -> dict[str, int]:
        """Nothing for the record, which counts weights itself; the numbers are in `arrays`."""
        return {}

    def arrays(self) -> dict[str, Any]:
        """What was learned besides weights and masks, such as thresholds."""
        return {f"learned/{name}": np.array([value]) for name, value in self.live.facts().items()}
