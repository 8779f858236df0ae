"""From settings to a model: the one place that names the systems."""

import copy
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.models import baseline, sinet, sta, star, stmn, tfclip


def build(experiment: config.Experiment, *, num_ids: int, dtype: jnp.dtype, axis_name: str | None = None) -> nn.Module:
    """The model of an experiment.

    `model.init(key, clips, train=False)` gives variables 'params' and 'batch_stats';
    `model.apply(variables, clips, train=True, mutable=['batch_stats'])` gives a ModelOutput and the new statistics.
    Clips are [B, T, H, W, 3], normalised. STAR takes optical flow [B, T, H, W, 2] after the clips,
    TF-CLIP its clips' `cameras` [B] by name.

    Args:
      experiment: the settings; not kept, so that later changes to them do not reach the model.
      num_ids: training identities, the width of the classifier.
      dtype: of the activations. Parameters are float32, or float64 where `dtype` is.
      axis_name: mesh axis that shard_map splits the batch over; BatchNorm takes its statistics over all of it.

    Raises:
      ValueError: unknown system, or STRF units without a block to sit in.
    """
    e = copy.deepcopy(experiment)
    shared: dict[str, Any] = {
        'backbone': e.backbone,
        'head': e.head,
        'num_ids': num_ids,
        'bn_groups': e.train.bn_groups,
        'axis_name': axis_name,
        'remat': e.train.remat,
        'dtype': jnp.dtype(dtype),
    }
    match e.system:
        case 'baseline':
            if e.backbone.block in ('c2d', *config.AP3D_BLOCKS) and e.strf.stages:
                raise ValueError(
                    f'strf.stages = {e.strf.stages}, but a STRF unit sits in one of the blocks i3d, p3da, p3db, p3dc '
                    f'and backbone.block is {e.backbone.block!r}; set strf.stages to () or choose another block.'
                )
            return baseline.Baseline(strf=e.strf, ap3d=e.ap3d, nonlocal_blocks=e.nonlocal_blocks, **shared)
        case 'stmn':
            return stmn.Stmn(stmn=e.stmn, frames=e.sampler.frames, **shared)
        case 'sta':
            return sta.Sta(sta=e.sta, **shared)
        case 'star':
            return star.Star(star=e.star, **shared)
        case 'sinet':
            return sinet.Sinet(sinet=e.sinet, **shared)
        case 'tfclip':
            return tfclip.Tfclip(tfclip=e.tfclip, vit=e.vit, size=(e.data.height, e.data.width), **shared)
    raise config.unknown('system', e.system)
