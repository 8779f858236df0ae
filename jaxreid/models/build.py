"""From settings to a model: the one place that names the systems."""

import copy

import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.models import baseline


def build(experiment: config.Experiment, *, num_ids: int, dtype: jnp.dtype, axis_name: str | None = None) -> nn.Module:
    """The model of an experiment.

    `model.init(key, clips, train=False)` gives variables 'params' and 'batch_stats';
    `model.apply(variables, clips, train=True, mutable=['batch_stats'])` gives a ModelOutput and the new statistics.
    Clips are [B, T, H, W, 3], normalised.

    Args:
      experiment: the settings; not kept, so that later changes to them do not reach the model.
      num_ids: training identities, the width of the classifier.
      dtype: of the activations. Parameters are float32, or float64 where `dtype` is.
      axis_name: mesh axis that shard_map splits the batch over; BatchNorm takes its statistics over all of it.

    Raises:
      ValueError: unknown system, or STRF units without a 3-D block to sit in.
    """
    e = copy.deepcopy(experiment)
    match e.system:
        case 'baseline':
            if e.backbone.block == 'c2d' and e.strf.stages:
                raise ValueError(
                    f'strf.stages = {e.strf.stages}, but a STRF unit sits inside a 3-D block and '
                    "backbone.block is 'c2d'; set strf.stages to () or choose another block."
                )
            return baseline.Baseline(
                backbone=e.backbone,
                strf=e.strf,
                nonlocal_blocks=e.nonlocal_blocks,
                head=e.head,
                num_ids=num_ids,
                bn_groups=e.train.bn_groups,
                axis_name=axis_name,
                remat=e.train.remat,
                dtype=jnp.dtype(dtype),
            )
    raise ValueError(f'system = {e.system!r} is not known; choose baseline.')
