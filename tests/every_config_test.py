"""Every variant of every config builds and takes a step at toy size.

Variants that come to the same toy network and objective are run once. The step runs operation by operation: compiling
some hundred programs of which each runs once would take many times as long.
"""

import functools
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import configs
from jaxreid import config
from jaxreid.models import build
from jaxreid.training import optimizer, step

pytestmark = pytest.mark.slow

NUM_IDS, CLIPS, FRAMES, HEIGHT, WIDTH = 3, 4, 3, 32, 16
FILES = sorted(p.stem for p in pathlib.Path(configs.__file__).parent.glob('*_*.py') if p.stem != '__init__')


def shrink(e: config.Experiment) -> config.Experiment:
    """Toy sizes in place of all numbers that do not change what is computed."""
    e.backbone.width, e.backbone.depths, e.backbone.strides, e.backbone.init = 4, (1, 1, 1, 1), (1, 1, 1, 1), 'random'
    e.backbone.weights = ''
    e.data = config.Data(height=HEIGHT, width=WIDTH, num_ids=NUM_IDS, flow='off' if e.data.flow == 'off' else 'tvl1')
    frames = 4 if e.system == 'sinet' else FRAMES  # it takes frames by fours
    e.sampler = config.Sampler(num_ids=2, tracklets_per_id=2, frames=frames)
    e.augment = config.Augment(translate_px=min(e.augment.translate_px, 1))
    e.optim, e.test = config.Optim(), config.Test(frames=frames)
    e.train = config.Train(compute_dtype='float32')
    e.strf.reduction, e.ap3d.reduction = 4, 4
    if e.nonlocal_blocks.stage2:
        e.nonlocal_blocks = config.NonLocal(stage2=(0,), stage3=(0,))
    e.stmn.spatial_items, e.stmn.temporal_items, e.stmn.mlp_hidden, e.stmn.alpha = 3, 2, 3, 0.3
    e.sta.dim, e.star.hidden, e.star.attention_reduction = 8, 8, 4
    e.sinet.idm, e.sinet.sbm = e.sinet.idm and (0,), e.sinet.sbm and (0,)
    e.vit = config.Vit(width=8, depth=1, heads=2, patch=8, projection=6)
    return e


def default(module) -> str:
    """The variant that a config has where none is named."""
    return module.get_config.__defaults__[0]


@functools.cache
def toys() -> dict[str, str]:
    """repr of a toy experiment -> its first variant.

    Rows on synthetic make the same changes as on the other data sets, to a base that their default shows.
    """
    found: dict[str, str] = {}
    for file in FILES:
        module = importlib.import_module(f'configs.{file}')
        for variant in (default(module),) if file.endswith('_synthetic') else module.VARIANTS:
            found.setdefault(repr(shrink(module.get_config(variant))), f'{file}:{variant}')
    return found


@functools.cache
def batch(flow: bool, cameras: bool, frames: int) -> dict[str, jax.Array]:
    """Noise."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (CLIPS, frames, HEIGHT, WIDTH, 3), np.uint8)
    made = {'clips': clips, 'labels': np.array([0, 0, 2, 2], np.int32), 'index': np.arange(CLIPS, dtype=np.int32)}
    if cameras:
        made['cameras'] = np.array([1, 2, 1, 3], np.int32)
    if flow:
        made['flow'] = rng.normal(0, 5, (CLIPS, frames, HEIGHT, WIDTH, 2)).astype(np.float16)
    return jax.tree.map(jnp.asarray, made)


@pytest.fixture(autouse=True)
def quick_programs():
    """The programs run once: compile them with little care, and do not keep them in memory."""
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', False)
    jax.clear_caches()


def portions(size: int = 12) -> dict[str, list[str]]:
    """Toys in portions of a few variants of one file, which share most operations; by name."""
    of_file: dict[str, list[str]] = {}
    for spec in toys().values():
        of_file.setdefault(spec.split(':')[0], []).append(spec)
    return {
        f'{file} from {start}': specs[start : start + size]
        for file, specs in of_file.items()
        for start in range(0, len(specs), size)
    }


@pytest.mark.parametrize('specs', portions().values(), ids=portions())
def test_every_variant_builds_and_takes_a_step(specs):
    failures = []
    for spec in specs:
        try:
            take_a_step(spec)
        except Exception as e:  # every broken variant is to be named, not the first
            failures.append(f'{spec}: {type(e).__name__}: {e}')
    assert not failures, '\n'.join(failures)


def take_a_step(spec):
    """Builds a variant at toy size, differentiates its objective and updates it, checking each."""
    file, variant = spec.split(':')
    e = config.validate(shrink(importlib.import_module(f'configs.{file}').get_config(variant)))
    model = build.build(e, num_ids=NUM_IDS, dtype=jnp.float32)
    shapes = jax.eval_shape(lambda: step.init_variables(model, e, jax.random.key(0)))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda s: jnp.asarray(rng.normal(0.1, 0.1, s.shape), s.dtype), dict(shapes))
    variables['batch_stats'] = jax.tree.map(jnp.abs, variables['batch_stats'])
    gradient = step.make_gradient(model, e, axis_name=None)
    gradients, statistics, metrics = gradient(
        variables['params'],
        variables['batch_stats'],
        jax.random.key(2),
        batch(e.data.flow != 'off', config.with_cameras(e, train=True), e.sampler.frames),
    )
    assert jax.tree.structure(statistics) == jax.tree.structure(variables['batch_stats'])
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, variables['params'])
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradients)])
    assert np.isfinite(flat).all()
    assert np.any(flat)
    assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())

    # The optimizer does not know the variant: its step is traced once per system.
    if variant == default(importlib.import_module(f'configs.{file}')):

        def update(params, gradients):
            adam = optimizer.build(e.optim, steps_per_epoch=1, epochs=e.train.epochs)
            updates, _ = adam.update(gradients, adam.init(params), params)
            return optax.apply_updates(params, updates)

        after = jax.eval_shape(update, variables['params'], gradients)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, variables['params'])
