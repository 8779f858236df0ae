"""What a compiled program sends between devices: every collective operation and its bytes, read from XLA's text."""

import collections
import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxreid import config, sharding
from jaxreid.models import build
from jaxreid.training import optimizer, step

KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'collective-permute', 'all-to-all')
BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8, 'f64': 8}


@dataclasses.dataclass(frozen=True)
class Collectives:
    """count, bytes: by kind; bytes are those of the results on one device."""

    count: dict[str, int]
    bytes: dict[str, int]


def read(text: str) -> Collectives:
    """Collectives of a compiled program (`compiled.as_text()`); one inside a loop counts once."""
    count: collections.Counter = collections.Counter()
    total: collections.Counter = collections.Counter()
    operation = re.compile(rf'= (.+?) ({"|".join(KINDS)})(-start)?\(')
    for line in text.splitlines():
        if collective := operation.search(line):
            size = sum(
                BYTES[dtype] * math.prod(int(n) for n in shape.split(',') if n)
                for dtype, shape in re.findall(r'(\w+)\[([\d,]*)\]', collective[1])
            )
            count[collective[2]] += 1
            total[collective[2]] += size
    return Collectives(dict(count), dict(total))


def of_train_step(experiment: config.Experiment, devices: int) -> tuple[Collectives, int]:
    """Those of a training step, compiled for so many devices of this machine but not run; the gradient's bytes."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    dtype = step.compute_dtype(experiment.train.compute_dtype)
    num_ids = experiment.data.num_ids
    model = build.build(experiment, num_ids=num_ids, dtype=dtype, axis_name=sharding.AXIS)
    plain = build.build(experiment, num_ids=num_ids, dtype=dtype)
    adam = optimizer.build(experiment.optim, steps_per_epoch=1, epochs=experiment.train.epochs)
    variables = jax.eval_shape(lambda: step.init_variables(plain, experiment, jax.random.key(0)))
    state = jax.eval_shape(lambda v: step.create_state(v, adam, 0), variables)
    copied, split = (NamedSharding(mesh, s) for s in (sharding.COPIED, sharding.SPLIT_STEPS))
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=copied), state)
    s, data = experiment.sampler, experiment.data
    clips = s.num_ids * s.tracklets_per_id

    def rows(shape, kind):
        return jax.ShapeDtypeStruct((1, clips, *shape), kind, sharding=split)

    size = s.frames, data.height, data.width
    batch = {'clips': rows((*size, 3), jnp.uint8), 'labels': rows((), jnp.int32), 'index': rows((), jnp.int32)}
    if data.flow != 'off':
        batch['flow'] = rows((*size, 2), np.float16)
    train_step = step.make_train_step(model, experiment, adam, mesh)
    gradient = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(variables['params']))
    return read(train_step.lower(state, batch, None).compile().as_text()), gradient
