"""When a network is looked at: the option that every measurement has.

init: as it was initialised, and nothing is trained for it
end:  after its training, whose weights are in the store
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Moment:
    at: Literal["init", "end"] = "init"
