"""Identity classification loss, with label smoothing (Szegedy et al. 2016)."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array, *, smoothing: float) -> jax.Array:
    """-sum_i target_i log softmax(logits)_i with the target (1 - smoothing) onehot + smoothing / n.

    Args:
      logits: [B, n] float.
      labels: [B] int, 0 ... n - 1; a label outside gives NaN.
      smoothing: share of the target that is spread over all n classes, 0 for the plain loss.

    Returns:
      [B], at least float32; the caller reduces.
    """
    log_probs = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=1)
    loss = -jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * log_probs.mean(axis=1)
    return loss
