"""What runs would cost: steps, multiply-accumulates, and an estimate of the time on this device."""

import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxreid import config, summary
from jaxreid.data.datasets import catalogue
from jaxreid.reproduce import one_run
from jaxreid.training import step

SECONDS = 0.5  # of calibration
CPU_LIMIT = 48 * 3600  # seconds of training on a CPU; who has more to do needs an accelerator


def show(title: str, runs: Sequence[tuple[str, one_run.Run]]) -> None:
    """Prints label, command, steps, GMACs per frame and predicted training time of every run, and the sum."""
    print(f'{title}\n')
    seen: dict[str, one_run.Run] = {}
    total, unknown = 0.0, 0
    for label, run in runs:
        e = run.experiment
        print(f'{label}\n  {run.command()}')
        if (twin := seen.setdefault(run.trained_as(), run)) is not run:
            print(f'  no training: tests the last step of {twin.folder.name}')
            continue
        network = costs(json_key(e), e)
        steps = planned_steps(e)
        frames = e.sampler.num_ids * e.sampler.tracklets_per_id * e.sampler.frames
        cost = f'{network["gmacs_per_frame"]:.4g} GMACs per frame, {network["trainable_parameters"]:,} parameters'
        if steps is None:
            unknown += 1
            print(f'  steps: unknown until the data set is opened; {frames} frames a step; {cost}')
            continue
        seconds = 3 * network['gmacs_per_frame'] * frames * steps / calibrate(e.backbone.width, compute_dtype(e))
        total += seconds
        print(f'  {steps:,} steps of {frames} frames; {cost}; estimated training time: {estimate(seconds)}')
    missing = f', {unknown} runs of unknown length not counted' if unknown else ''
    print(
        f'\nall: {estimate(total)}{missing}. An estimate: forward and backward at the speed of one 3x3 '
        f'convolution on this device ({jax.devices()[0].device_kind}); data, compilation and evaluation are not in it.'
    )


def json_key(e: config.Experiment) -> str:
    """What the cost of a network depends on, so that seeds and trials are counted once."""
    parts = (e.system, e.data.num_ids, e.data.height, e.data.width, e.sampler.frames, e.backbone, e.strf, e.ap3d)
    return repr((*parts, e.nonlocal_blocks, e.stmn, e.sta, e.star, e.sinet, e.tfclip, e.vit, e.head, e.data.flow))


_costs: dict[str, summary.Summary] = {}


def costs(key: str, e: config.Experiment) -> summary.Summary:
    """`summary.compute`, once per network."""
    if key not in _costs:
        _costs[key] = summary.compute(e)
    return _costs[key]


def compute_dtype(e: config.Experiment) -> jnp.dtype:
    """Of the activations."""
    return step.compute_dtype(e.train.compute_dtype)


def planned_steps(e: config.Experiment) -> int | None:
    """Training steps, from published facts or the renderer's plan; None where only the data can tell."""
    per_epoch = steps_per_epoch(e)
    if per_epoch is None:
        return e.train.max_steps or None
    return min(e.train.epochs * per_epoch, e.train.max_steps or e.train.epochs * per_epoch)


def steps_per_epoch(e: config.Experiment) -> int | None:
    """See `planned_steps`."""
    s, data = e.sampler, e.data
    if s.kind.startswith('identity_epoch'):
        return data.num_ids // s.num_ids
    if data.part != 'official' or data.dense_frames or s.kind != 'tracklet_epoch':
        return None
    groups = catalogue.find(data.dataset).groups(data, s.tracklets_per_id)
    return groups // s.num_ids if groups else None


@functools.cache
def calibrate(width: int, dtype: jnp.dtype) -> float:
    """Multiply-accumulates per second, in units of 1e9, of a 3x3 convolution of `width` channels with its gradient."""
    batch = 16 if jax.default_backend() == 'cpu' else 512
    rows, columns = 64, 32
    x = jnp.ones((batch, rows, columns, width), dtype)
    kernel = jnp.full((3, 3, width, width), 0.01, dtype)

    def loss(x, kernel):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        return jnp.square(y).sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    jax.block_until_ready(gradient(x, kernel))
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        jax.block_until_ready(gradient(x, kernel))
        calls += 1
    seconds = (time.perf_counter() - began) / calls
    return 3 * batch * rows * columns * 9 * width * width / seconds / 1e9


def estimate(seconds: float) -> str:
    """How long it takes, in words; weeks of a CPU are no plan."""
    if jax.default_backend() == 'cpu' and seconds > CPU_LIMIT:
        return 'not for a CPU'
    return duration(seconds)


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'
