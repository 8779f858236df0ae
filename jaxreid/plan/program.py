"""The real training or evaluation step of an experiment on shapes alone, for any devices."""

import copy
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxreid import config, sharding
from jaxreid.models import bn_folding, build
from jaxreid.training import optimizer, step

Mode = Literal['train', 'eval']
STORE_FRAMES = 509_914  # of data.store=device: MARS' training frames, the largest published set that fits


def on_accelerators(experiment: config.Experiment, platform: str) -> config.Experiment:
    """The same settings with the dtypes that 'auto' means there, and not here where the program is compiled."""
    e = copy.deepcopy(experiment)
    if e.train.compute_dtype == 'auto':
        e.train.compute_dtype = 'bfloat16'
    if e.test.compute_dtype == 'auto' and platform == 'tpu':
        e.test.compute_dtype = 'bfloat16'
    return e


def quick(experiment: config.Experiment) -> config.Experiment:
    """The same settings with one bottleneck per stage, and one module behind it where the stage has any."""
    e = copy.deepcopy(experiment)
    e.backbone.depths = (1, 1, 1, 1)
    blocks = e.nonlocal_blocks
    blocks.stage2, blocks.stage3 = blocks.stage2 and (0,), blocks.stage3 and (0,)
    e.sinet.idm, e.sinet.sbm = e.sinet.idm and (0,), e.sinet.sbm and (0,)
    return e


def clips_of(experiment: config.Experiment, mode: Mode) -> int:
    """Of a step, on all devices together."""
    sampler = experiment.sampler
    return sampler.num_ids * sampler.tracklets_per_id if mode == 'train' else experiment.test.batch_clips


def with_clips(experiment: config.Experiment, mode: Mode, clips: int) -> config.Experiment:
    """The same settings with another batch; `clips` is a multiple of `unit`."""
    e = copy.deepcopy(experiment)
    if mode == 'train':
        e.sampler.num_ids = clips // e.sampler.tracklets_per_id
    else:
        e.test.batch_clips = clips
    return e


def unit(experiment: config.Experiment, mode: Mode, devices: int) -> int:
    """Clips by which a batch can grow."""
    groups = experiment.train.bn_groups, experiment.stmn.spread_groups
    return math.lcm(devices, experiment.sampler.tracklets_per_id, *groups) if mode == 'train' else devices


def step_on(experiment: config.Experiment, mesh: Mesh, mode: Mode) -> tuple[Any, tuple[Any, ...]]:
    """The jitted step and shapes of its arguments, placed on the mesh; nothing is computed.

    Raises:
      ValueError: the batch does not split over the devices.
    """
    sharding.check_divides(clips := clips_of(experiment, mode), mesh)

    def placed(tree, spec):
        place = NamedSharding(mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    data, num_ids = experiment.data, experiment.data.num_ids
    dtype = step.compute_dtype(experiment.train.compute_dtype)
    plain = build.build(experiment, num_ids=num_ids, dtype=dtype)
    variables = jax.eval_shape(lambda: step.init_variables(plain, experiment, jax.random.key(0)))
    size = data.height, data.width
    if mode == 'eval':
        test = experiment.test
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {'clips': ((clips, test.frames, *size, 3), jnp.uint8)}
        if data.flow != 'off':
            shapes['flow'] = (clips, test.frames, *size, 2), jnp.float16
        if test.clips == 'whole':  # of the shortest tracklets; longer ones come in batches of as many frames
            shapes['lengths'] = (clips,), jnp.int32
        if config.with_cameras(experiment, train=False):
            shapes['cameras'] = (clips,), jnp.int32
        inputs = {name: jax.ShapeDtypeStruct(*one) for name, one in shapes.items()}
        model = plain.clone(dtype=step.test_dtype(experiment))
        chunk = test.frames if test.clips == 'whole' else 0
        folded = jax.eval_shape(bn_folding.fold, variables)
        evaluate = step.make_eval_step(model, mesh, flip=test.flip, chunk=chunk)
        return evaluate, (placed(folded, sharding.COPIED), placed(inputs, sharding.SPLIT))

    model = build.build(experiment, num_ids=num_ids, dtype=dtype, axis_name=sharding.AXIS)
    adam = optimizer.build(experiment.optim, steps_per_epoch=100, epochs=experiment.train.epochs)
    state = jax.eval_shape(lambda v: step.create_state(v, adam, 0), variables)
    frames, row_bytes = None, math.prod(size) * 3
    parts: dict[str, tuple[tuple[int, ...], Any]] = {'labels': ((), jnp.int32), 'index': ((), jnp.int32)}
    if config.with_cameras(experiment, train=True):
        parts['cameras'] = (), jnp.int32
    if data.store == 'device':
        parts['rows'] = (experiment.sampler.frames,), jnp.int32
        row_bytes += math.prod(size) * 4 * (data.flow != 'off')  # two float16
        rows = -(-STORE_FRAMES // mesh.size) * mesh.size
        frames = placed(jax.ShapeDtypeStruct((rows, *sharding.row_shape(row_bytes)), jnp.uint8), sharding.SPLIT)
    else:
        parts['clips'] = (experiment.sampler.frames, *size, 3), jnp.uint8
        if data.flow != 'off':
            parts['flow'] = (experiment.sampler.frames, *size, 2), jnp.float16
    batch = {name: jax.ShapeDtypeStruct((1, clips, *shape), kind) for name, (shape, kind) in parts.items()}
    train = step.make_train_step(model, experiment, adam, mesh)
    return train, (placed(state, sharding.COPIED), placed(batch, sharding.SPLIT_STEPS), frames)
