"""Train and evaluation step: pure functions of state and batch, split over devices. The only caller of shard_map."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.experimental import layout
from jax.sharding import Mesh

from jaxreid import config, sharding
from jaxreid.data.stores import device_read
from jaxreid.layers.memories import memory_match
from jaxreid.losses import objective
from jaxreid.training import augment

# Of the training step, by platform. On GPUs XLA's own (Triton) products leave additions to other kernels; cuBLAS adds
# the gradient of the shortcut to that of the branch: compiled for an H200, a bottleneck moves a seventh less. Products
# of one input that are merged have results to be cut apart and gradients to be joined: 0.2 GB of a step.
COMPILER_OPTIONS = {'gpu': {'xla_gpu_enable_triton_gemm': False, 'xla_gpu_dot_merger_threshold_mb': 0}}
# Clips draw from their positions in the global batch, loss and dropout from positions no clip has.
LOSS_DRAWS, DROPOUT_DRAWS = 2**31 - 1, 2**31 - 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a run carries from one step to the next."""

    step: jax.Array  # [] int32, number of updates made
    params: dict  # trees of the model; parameters float32 (float64 in float64 runs)
    batch_stats: dict  # likewise
    opt_state: optax.OptState  # of the optimizer
    key: jax.Array  # [2] uint32, data of the key from which every draw on the device descends; constant

    @property
    def variables(self) -> dict:
        """What the model is applied to."""
        return {'params': self.params, 'batch_stats': self.batch_stats}


def compute_dtype(name: str) -> jnp.dtype:
    """The dtype that a config's `train.compute_dtype` stands for on the present devices."""
    match name:
        case 'auto':
            return jnp.dtype('float32' if jax.default_backend() == 'cpu' else 'bfloat16')
        case 'float32' | 'bfloat16' | 'float64':
            return jnp.dtype(name)
        case _:
            raise config.unknown('train.compute_dtype', name)


def test_dtype(experiment: config.Experiment) -> jnp.dtype:
    """The dtype of the activations in evaluation, on the present devices.

    Three more bits of the significand than bfloat16 has bring features eight times nearer to those of float32 at the
    same speed; no gradients need bfloat16's range. TPUs have no units for float16.
    """
    if experiment.test.compute_dtype != 'auto':
        return jnp.dtype(experiment.test.compute_dtype)
    trained = compute_dtype(experiment.train.compute_dtype)
    return jnp.dtype('float16') if trained == jnp.bfloat16 and jax.default_backend() != 'tpu' else trained


def init_variables(model: nn.Module, experiment: config.Experiment, key: jax.Array) -> dict:
    """Random parameters and statistics of a model."""
    size = (1, experiment.sampler.frames, experiment.data.height, experiment.data.width)
    dtype = compute_dtype(experiment.train.compute_dtype)
    inputs = [jnp.zeros((*size, 3), dtype)]
    if experiment.data.flow != 'off':
        inputs.append(jnp.zeros((*size, 2), dtype))
    return jax.jit(functools.partial(model.init, train=False))(key, *inputs)


def create_state(variables: dict, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        batch_stats=variables['batch_stats'],
        opt_state=optimizer.init(variables['params']),
        key=jax.random.key_data(jax.random.key(seed)),
    )


def _those(*names: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of these names that are there."""
    return {name: of[name] for name in names if name in of}


def make_gradient(model: nn.Module, experiment: config.Experiment, *, axis_name: str | None) -> Callable:
    """`(params, batch_stats, key, batch) -> (gradient, batch_stats, metrics)` of one (local part of a) batch.

    The objective takes means over the devices itself: only a loss that is reduced *inside* the differentiated function
    has the right gradient under shard_map's default checks.
    """
    dtype = compute_dtype(experiment.train.compute_dtype)

    def gradient(params, batch_stats, key, batch):
        sample = batch['clips'], key, batch['index'], experiment.augment, dtype
        inputs = augment.augment(*sample, flow=batch['flow']) if 'flow' in batch else (augment.augment(*sample),)
        loss_key = jax.random.fold_in(key, LOSS_DRAWS)

        def loss(params):
            params = sharding.varying(params, axis_name)
            output, changed = model.apply(
                {'params': params, 'batch_stats': batch_stats}, *inputs, train=True, mutable=['batch_stats'],
                rngs={'dropout': jax.random.fold_in(key, DROPOUT_DRAWS)}, **_those('cameras', of=batch),
            )  # fmt: skip
            value, metrics = objective.objective(
                output, batch['labels'], experiment, index=batch['index'], key=loss_key, axis_name=axis_name
            )
            masks = output.extras.get('masks', {})
            if axis_name is not None:
                masks = jax.lax.pmean(masks, axis_name)
            return value, (changed['batch_stats'], metrics | masks)

        (_, (batch_stats, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return gradients, batch_stats, metrics

    return gradient


def _in_place(gradient: jax.Array) -> jax.Array:
    """The gradient, laid out as the state is where it is of a kernel that sees several positions.

    cuDNN gives those in a layout of its own; XLA would copy the kernel, and what Adam keeps of it, once more.
    """
    if max(gradient.shape[:-2], default=1) == 1:
        return gradient
    return layout.with_layout_constraint(gradient, layout.Layout(tuple(range(gradient.ndim))))


def make_train_step(
    model: nn.Module, experiment: config.Experiment, optimizer: optax.GradientTransformation, mesh: Mesh
) -> Callable:
    """`(state, batches, frames) -> (state, metrics)`, jitted, split over the mesh, the state donated.

    `batches` holds the global [S, B, ...] arrays of S steps from `sharding.shard_steps`, which are made one after the
    other; metrics are [S] floats. `frames` is the array of a `DeviceStore` where `batches` holds rows of it, else None.
    """
    gradient = make_gradient(model, experiment, axis_name=sharding.AXIS)
    data, platform = experiment.data, mesh.devices.flat[0].platform
    read = functools.partial(
        device_read.read,
        height=data.height, width=data.width, with_flow=data.flow != 'off', axis_name=sharding.AXIS,
        singly=sharding.sends_singly(mesh),
    )  # fmt: skip

    def one_step(state: TrainState, batch):
        batch = jax.lax.optimization_barrier(batch)  # what makes the batch is not fused into the step
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        gradients, batch_stats, metrics = gradient(state.params, state.batch_stats, key, batch)
        if platform == 'gpu':
            gradients = jax.tree.map(_in_place, gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        metrics['gradient_norm'] = optax.tree.norm(gradients)
        return (
            dataclasses.replace(
                state,
                step=state.step + 1,
                params=optax.apply_updates(state.params, updates),
                batch_stats=batch_stats,
                opt_state=opt_state,
            ),
            metrics,
        )

    def local_steps(state: TrainState, batches, frames):
        if frames is not None:
            batches |= {'rows': jax.lax.all_gather(batches['rows'], sharding.AXIS, axis=1, tiled=True)}  # [S, B, T]

        def next_step(state, batch):
            return one_step(state, batch if frames is None else batch | read(frames, batch['rows']))

        if len(batches['index']) > 1:
            return jax.lax.scan(next_step, state, batches)
        # Not a loop of one turn: XLA's convolutions are 9 times slower inside loops on CPU.
        state, metrics = next_step(state, jax.tree.map(lambda x: x[0], batches))
        return state, jax.tree.map(lambda x: x[None], metrics)

    mapped = jax.shard_map(
        local_steps,
        mesh=mesh,
        in_specs=(sharding.COPIED, sharding.SPLIT_STEPS, sharding.SPLIT),
        out_specs=(sharding.COPIED, sharding.COPIED),
    )
    return jax.jit(mapped, donate_argnums=0, compiler_options=COMPILER_OPTIONS.get(platform))


@functools.lru_cache(maxsize=4)
def make_eval_step(
    model: nn.Module, mesh: Mesh, *, flip: bool = False, one_frame: bool = False, chunk: int = 0
) -> Callable:
    """`(variables, inputs) -> {'embedding', 'embedding_before_neck'}`, [B, D] each, jitted and split over the mesh.

    Networks with memories give `spatial_items` [B, M] and `temporal_items` [B, N] too: how many of a clip's queries
    read each item most. Those that weigh frames give `frame_weights` [B, T], but not of whole tracklets.

    `inputs` holds `clips` [B,T,H,W,3] uint8 and may hold `flow` [B,T,H,W,2] in pixels, `lengths` and `cameras` [B]
    int32; what is there is given to the model. Asked again for the same network it returns the same function, so that
    monitoring during training compiles once.

    `one_frame` replaces every frame of a clip by its first, without motion, to see what time contributes; `chunk`: with
    `lengths`, frames that pass the model's CNN at a time.
    """

    def apply(variables, inputs):
        motion = {'flow': augment.normalise_flow(inputs['flow'], model.dtype)} if 'flow' in inputs else {}
        whole = {'lengths': inputs['lengths'], 'chunk': chunk} if 'lengths' in inputs else {}
        whole |= _those('cameras', of=inputs)
        return model.apply(variables, augment.normalise(inputs['clips'], model.dtype), **motion, train=False, **whole)

    def local_step(variables, inputs):
        if one_frame:
            inputs = inputs | {'clips': jnp.broadcast_to(inputs['clips'][:, :1], inputs['clips'].shape)}
            if 'flow' in inputs:
                inputs['flow'] = jnp.zeros_like(inputs['flow'])
        views = [inputs]
        if flip:
            motion = {'flow': augment.mirror_flow(inputs['flow'])} if 'flow' in inputs else {}
            views.append(inputs | {'clips': augment.mirror(inputs['clips'])} | motion)
        outputs = [apply(variables, v) for v in views]
        extras = outputs[0].extras
        items = _those('spatial_match', 'temporal_match', of=extras)
        weights = {} if 'lengths' in inputs else _those('frame_weights', of=extras)
        return (
            weights
            | {
                'embedding': sum(o.embedding for o in outputs) / len(outputs),
                'embedding_before_neck': sum(o.embedding_before_neck for o in outputs) / len(outputs),
            }
            | {k.replace('match', 'items'): memory_match.item_counts(match) for k, match in items.items()}
        )

    return jax.jit(
        jax.shard_map(local_step, mesh=mesh, in_specs=(sharding.COPIED, sharding.SPLIT), out_specs=sharding.SPLIT)
    )
