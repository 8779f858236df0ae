"""BatchNorm folded into the convolution in front of it, for inference.

Where a norm directly follows a convolution, gain * (W x - mean) + bias = (gain * W) x + (bias - gain * mean): the
kernel takes the gain, and only a shift remains of the norm (`layers.batch_norm` knows it by its missing scale).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxreid.layers import batch_norm
from jaxreid.models import output


def fold(variables: output.Variables) -> output.Variables:
    """Variables of the same function in evaluation mode with fewer passes over the activations.

    Folded are the pairs conv<i>, bn<i> and downsample_conv, downsample_bn of a module. Pairs with a temporal
    convolution beside them stay, since there the norm sees a sum; so do all other norms.

    Args:
      variables: {'params', 'batch_stats'} of any system; left as they are.

    Returns:
      Variables for `model.apply(..., train=False)` only: they cannot be trained.
    """
    if 'batch_stats' not in variables:
        return dict(variables)
    params, stats = _fold(variables['params'], variables['batch_stats'])
    return {**variables, 'params': params, 'batch_stats': stats}


def _fold(params, stats):
    params = {k: dict(v) if isinstance(v, Mapping) else v for k, v in params.items()}
    stats = dict(stats)
    for name in list(stats):
        conv = name.replace('bn', 'conv')
        if name not in params:
            continue
        if 'mean' not in stats[name]:
            params[name], stats[name] = _fold(params[name], stats[name])
        elif conv != name and isinstance(params.get(conv), dict) and not (name == 'bn2' and 'temporal' in params):
            kernel, norm, moments = params[conv]['kernel'], params[name], stats.pop(name)
            gain = norm['scale'] * jax.lax.rsqrt(moments['var'] + batch_norm.EPSILON)
            shift = norm['bias'] - moments['mean'] * gain
            params[conv] = {**params[conv], 'kernel': kernel * jnp.expand_dims(gain, range(kernel.ndim - 1))}
            params[name] = {'bias': shift}
    return params, stats
