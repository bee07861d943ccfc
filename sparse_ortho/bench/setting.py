"""What a bench may look at: the streams of its seed, and the network of a cell when it asks for one.

A bench is `function(setting, **options) -> {quantity: number}`. One that wants a network says so with a module-level
`NEEDS = ("network",)`: its cell then has data, model, mask and init like any other, and `bench.network` builds what the
setting holds. What is here are plain arrays, so that a bench without a network depends on no code of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparse_ortho.streams import Streams


@dataclass(frozen=True)
class Setting:
    streams: Streams
    spec: Mapping[str, Any] = field(default_factory=dict)  # model, shape and classes
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)  # of the network as it was initialised
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)  # none if it is dense
    images: Mapping[str, Any] = field(default_factory=dict)  # arrays and facts of the data set
