"""What every system holds and returns."""

import dataclasses
from typing import Any

import jax

Variables = dict[str, Any]  # of a Flax model: 'params' and 'batch_stats', each by module and name


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stream:
    """R rows that training supervises by themselves, R a multiple of B; each clip's rows lie side by side.

    embedding, embedding_before_neck: [R, D]. logits: [R, num_ids]. All at least float32.
    """

    embedding: jax.Array
    embedding_before_neck: jax.Array
    logits: jax.Array

    def as_output(self, extras: dict[str, Any], streams: 'dict[str, Stream] | None' = None) -> 'ModelOutput':
        """What a system returns whose result this is."""
        return ModelOutput(self.embedding, self.embedding_before_neck, self.logits, extras, streams or {})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelOutput:
    """Embedding, logits and what is worth seeing beside them; all at least float32."""

    embedding: jax.Array  # [B, D] after the neck; the test feature
    embedding_before_neck: jax.Array  # [B, D]
    logits: jax.Array  # [B, num_ids]
    extras: dict[str, Any]  # by name; see the system's module
    # by name, what training supervises; empty where that is the three arrays above. STMN gives `spatial` and
    # `temporal`, STA in image mode `frames`, B * T rows.
    streams: dict[str, Stream] = dataclasses.field(default_factory=dict)
