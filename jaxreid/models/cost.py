"""What a model costs: trainable parameters and dense multiply-accumulates, neither needing an initialised model."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util


def inputs(*, frames: int, height: int, width: int, flow: bool = False) -> list[jax.ShapeDtypeStruct]:
    """Shapes of what a model is called with for one clip: its frames and, where it sees them, its optical flow."""
    channels = (3, 2) if flow else (3,)
    return [jax.ShapeDtypeStruct((1, frames, height, width, c), jnp.float32) for c in channels]


def shapes(model: nn.Module, *, frames: int, height: int, width: int, flow: bool = False) -> Any:
    """Shapes and dtypes of the model's variables for one clip of so many frames and pixels; computes nothing."""
    clip = inputs(frames=frames, height=height, width=width, flow=flow)
    return jax.eval_shape(lambda key, x: model.init(key, *x, train=False), jax.random.key(0), clip)


def parameters(variables: Any) -> tuple[int, dict[str, int]]:
    """Trainable parameters, in total and by part: BN scale and shift count, running statistics do not.

    Returns:
      The total, and a dict part -> count that adds up to it. Parts are the model's own top-level modules; STRF units
      ('strf'), appearance-preserving modules ('apm'), temporal convolutions beside spatial ones ('temporal'), non-local
      blocks ('nonlocal'), SINet's modules ('idm', 'sbm') and VSLA-CLIP's adapters ('adapter_...') are apart.
    """
    parts: dict[str, int] = {}
    for path, leaf in traverse_util.flatten_dict(variables['params']).items():
        apart = [
            p for p in path if p in ('strf', 'apm', 'temporal') or p.startswith(('nonlocal', 'idm', 'sbm', 'adapter'))
        ]
        part = apart[0].rstrip('0123456789') if apart else path[0]
        parts[part] = parts.get(part, 0) + math.prod(leaf.shape)
    return sum(parts.values()), parts


def gmacs_per_frame(
    model: nn.Module, variables: Any, *, frames: int, height: int, width: int, flow: bool = False
) -> float:
    """Dense multiply-accumulates per frame, in units of 1e9, from pixels to embedding at test time.

    Counted in convolutions and matrix products; taps on padding count, as in published figures, elementwise work and
    the classifier do not.
    """
    clip = inputs(frames=frames, height=height, width=width, flow=flow)
    closed = jax.make_jaxpr(lambda v, x: model.apply(v, *x, train=False).embedding)(variables, clip)
    return macs(closed.jaxpr) / frames / 1e9


def macs(jaxpr: Any) -> int:
    """Dense multiply-accumulates of the equations that the results of a jaxpr depend on."""
    needed = {v for v in jaxpr.outvars if not hasattr(v, 'val')}
    total = 0
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(equation.outvars):
            continue
        needed.update(v for v in equation.invars if not hasattr(v, 'val'))  # literals carry their value
        total += _equation_macs(equation)
    return total


def _equation_macs(equation) -> int:
    out_size = math.prod(equation.outvars[0].aval.shape)
    match equation.primitive.name:
        case 'conv_general_dilated':
            kernel = equation.invars[1].aval.shape
            dense = out_size * math.prod(kernel) // kernel[equation.params['dimension_numbers'].rhs_spec[0]]
            return dense // math.prod(equation.params['lhs_dilation'])  # zeros between, in the gradient of a stride
        case 'dot_general':
            (contracted, _), _ = equation.params['dimension_numbers']
            return out_size * math.prod(equation.invars[0].aval.shape[i] for i in contracted)
        case 'scan':
            return equation.params['length'] * sum(macs(j) for j in _inner(equation))
        case 'cond':  # one of its branches is run; where platforms have their own, the plain one shows all products
            return max(macs(j) for j in _inner(equation))
    return sum(macs(j) for j in _inner(equation))


def _inner(equation) -> Iterator[Any]:
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, 'jaxpr', item)  # a closed jaxpr holds its jaxpr
            if hasattr(item, 'eqns'):
                yield item
