"""What every system returns."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelOutput:
    """Embedding, logits and what is worth seeing beside them; all at least float32.

    Attributes:
      embedding: [B, D] after the neck; the test feature.
      embedding_before_neck: [B, D].
      logits: [B, num_ids].
      extras: by name. The ResNet baselines give `attention` [B, T, H, W], the channel mean of the squared stage-3
        output of every frame (STRF Fig. 5), and `mask_entropy`, a dict of scalars in nats, one per STRF unit: the mean
        over the clips of this device.
    """

    embedding: jax.Array
    embedding_before_neck: jax.Array
    logits: jax.Array
    extras: dict[str, Any]
