"""First measurements on an accelerator, in one command of less than eight minutes.

    python -m benchmarks.gpu [--toy] [--minutes 7.5]

Needs no data set, and of packages jax, flax, optax and orbax only; PyTorch's rows where that is installed, and
re-ranking where tqdm is. Sections run one after the other, what is worth most first, each in a process of its own that
is ended when its time is up; rows are written to benchmarks/results/gpu.json as they come, so that what was measured is
kept whatever happens next. Programs and what was tried for them are cached, so that no section compiles what another
has. On a CPU only `--toy` sizes make sense.

    device     what compilers must know of it: the text for `--target-config` of `python -m jaxreid.plan`
    steps      the training step of STRF-P3DC from the device store, of 32 and 128 clips, 1 and 100 steps per dispatch,
               with and without XLA's Triton products: seconds, memory, and of its compilation, cold and from the cache
    ceilings   matrix product in bfloat16, float32 as it comes (TF32 on NVIDIA's) and exact, copy; of random numbers
    torch      the training step beside PyTorch on CUDA, where that is installed: what is fastest there first
    forms      ResNet-50 (C2D) forward and forward+backward at 128, 192 and 512 frames: folded 2-D or 3-D convolutions,
               bfloat16 or float32
    norms      the training step with the BatchNorm of `layers.batch_norm` and with what autodiff makes of its formula:
               seconds and bytes of buffers
    extract    inference at 1,024 frames with and without folded norms
    ranking    distances and ranks of MARS' size on the device, and k-reciprocal re-ranking
"""

import argparse
import contextlib
import functools
import importlib.util
import itertools
import multiprocessing
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import contender, mars_size
from jaxreid.process import cache

# Of the time.
SHARES = {'device': 1, 'steps': 6, 'ceilings': 1, 'torch': 5, 'extract': 2, 'norms': 2, 'ranking': 2, 'forms': 3}
DESCRIPTION = pathlib.Path(__file__).parent / 'results' / 'gpu.txtpb'
PATIENCE_S = 3.0  # a row is repeated for so long, at least 3 and at most 20 times


def timed(act: Callable[[], Any]) -> dict[str, float]:
    """Cold, median and best seconds of `act`, whose result is waited for."""
    import jax

    def once() -> float:
        start = time.perf_counter()
        jax.block_until_ready(act())
        return time.perf_counter() - start

    cold, runs, start = once(), [once()], time.perf_counter()
    while len(runs) < 3 or (len(runs) < 20 and time.perf_counter() - start < PATIENCE_S):
        runs.append(once())
    return {'cold_s': cold, 'median_s': float(np.median(runs)), 'best_s': min(runs), 'n': len(runs)}


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """A function of a module replaced for as long as this context."""
    old = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, old)


def work(toy: bool, *, system: str = 'c2d', frames: int = 128, dtype: str = 'bfloat16') -> contender.Work:
    """So many frames in clips of 4."""
    if toy:
        return contender.Work(system, 4, 2, 32, 16, 4 if system == 'c2d' else 16, (1, 1, 1, 1), 5, dtype)
    return contender.Work(system=system, clips=frames // 4, dtype=dtype)


def device(toy: bool) -> Iterator[dict]:
    import jax
    from jaxlib import xla_client

    del toy
    text = getattr(xla_client.get_topology_for_devices(jax.devices()), 'target_config', None)
    if text:
        DESCRIPTION.write_text(str(text))
    yield {'what': f'description in {DESCRIPTION.name}' if text else 'this backend describes no target'}


def ceilings(toy: bool) -> Iterator[dict]:
    import jax
    import jax.numpy as jnp

    n = 64 if toy else 8192
    for dtype, precision in (('bfloat16', 'default'), ('float32', 'default'), ('float32', 'highest')):
        # Not ones: products of ones take less power, and so run at a higher clock than any network's.
        a = jax.random.normal(jax.random.key(0), (n, n), dtype)
        timing = timed(functools.partial(jax.jit(functools.partial(jnp.matmul, precision=precision)), a, a))
        yield {'what': f'matmul {n} {dtype}, {precision}', 'tflops': 2 * n**3 / timing['best_s'] / 1e12} | timing
    x = jax.random.normal(jax.random.key(1), (1 << (16 if toy else 30),), jnp.bfloat16)
    timing = timed(functools.partial(jax.jit(lambda x: x + 1), x))
    yield {'what': f'copy {x.nbytes >> 20} MiB', 'tb_per_s': 2 * x.nbytes / timing['best_s'] / 1e12} | timing


def convolve_3d(x, kernel, *, stride, frames):
    """`spatial_conv.convolve` as a 3-D convolution with a (1, k, k) kernel, as the field writes it."""
    from jax import lax

    pad = kernel.shape[0] // 2
    y = lax.conv_general_dilated(
        x.reshape(-1, frames, *x.shape[1:]), kernel[None], (1, stride, stride), ((0, 0), (pad, pad), (pad, pad)),
        dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
    )  # fmt: skip
    return y.reshape(-1, *y.shape[2:])


def _network(piece: contender.Work) -> tuple[Any, dict, Any]:
    """Model, variables on the device and normalised clips."""
    import jax
    import jax.numpy as jnp

    from jaxreid.models import build
    from jaxreid.training import augment

    model = build.build(piece.experiment(), num_ids=piece.ids, dtype=jnp.dtype(piece.dtype))
    with tempfile.TemporaryDirectory() as folder:
        contender.draw_weights(piece, pathlib.Path(folder) / 'weights.npz')
        variables = jax.device_put(contender.jax_variables(pathlib.Path(folder) / 'weights.npz'))
    return model, variables, augment.normalise(jnp.asarray(piece.batch()[0]), jnp.dtype(piece.dtype))


def _gradient(model: Any, variables: dict, clips: Any) -> Callable:
    """`params -> gradient` of a loss that all outputs enter, jitted."""
    import jax

    def loss(params):
        output, changed = model.apply({**variables, 'params': params}, clips, train=True, mutable=['batch_stats'])
        return (output.logits**2).mean() + output.embedding.mean(), changed

    return jax.jit(jax.grad(loss, has_aux=True))


def forms(toy: bool) -> Iterator[dict]:
    import jax

    from jaxreid.layers import spatial_conv

    for frames, form, dtype in itertools.product(
        (128,) if toy else (128, 512, 192), ('folded', 'conv3d'), ('float32',) if toy else ('bfloat16', 'float32')
    ):
        piece = work(toy, frames=frames, dtype=dtype)
        model, variables, clips = _network(piece)
        three = functools.partial(convolve_3d, frames=piece.frames)
        with replaced(spatial_conv, 'convolve', three) if form == 'conv3d' else contextlib.nullcontext():
            forward = jax.jit(lambda v, x, model=model: model.apply(v, x, train=False).embedding)
            gradient = _gradient(model, variables, clips)
            runs = {'forward': functools.partial(forward, variables, clips),
                    'forward+backward': functools.partial(gradient, variables['params'])}  # fmt: skip
            for what, act in runs.items():
                timing, number = timed(act), piece.clips * piece.frames
                gflop = number * contender.gflop_per_frame(piece, training=what != 'forward')
                yield {
                    'what': f'{what}, {form}, {number} frames, {dtype}', 'frames_per_s': number / timing['median_s'],
                    'tflops': gflop / timing['median_s'] / 1e3,
                } | timing  # fmt: skip


def plain_normalise(x, scale, bias, mean, variance, shortcut, relu, groups, axis_name):
    """`batch_norm.normalise` with the gradient that autodiff makes of the formula."""
    from jaxreid.layers import batch_norm

    mean, variance, _ = batch_norm.group_moments(x.astype(mean.dtype), mean[0], groups=groups, axis_name=axis_name)
    return batch_norm.formula(x, scale, bias, mean, variance, shortcut, relu)


def norms(toy: bool) -> Iterator[dict]:
    from jaxreid.layers import batch_norm

    for system, dtype in (('c2d', 'bfloat16'), ('strf', 'bfloat16'), ('c2d', 'float32')):
        for what in ('own gradient', 'autodiff'):
            model, variables, clips = _network(work(toy, system=system, dtype=dtype))
            with replaced(batch_norm, 'normalise', plain_normalise) if what == 'autodiff' else contextlib.nullcontext():
                compiled = _gradient(model, variables, clips).lower(variables['params']).compile()
            timing = timed(functools.partial(compiled, variables['params']))
            mib = compiled.memory_analysis().temp_size_in_bytes / 2**20
            yield {'what': f'{system}, {dtype}, norms by {what}', 'temp_mib': mib} | timing


def steps(toy: bool) -> Iterator[dict]:
    for clips, count, triton in ((32, 1, False), (128, 1, False), (32, 1, True), (32, 3 if toy else 100, False)):
        if not (toy and clips > 32):
            yield from _steps(toy, clips, count, {'xla_gpu_enable_triton_gemm': triton})


def _steps(toy: bool, clips: int, count: int, options: dict[str, bool]) -> Iterator[dict]:
    """So many steps per dispatch, compiled with `options` where the device is a GPU."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding

    from jaxreid import sharding
    from jaxreid.models import build
    from jaxreid.training import optimizer, step

    piece, mesh = work(toy, system='strf', frames=4 * clips), sharding.make_mesh()
    e = piece.experiment()
    model = build.build(e, num_ids=piece.ids, dtype=jnp.dtype(piece.dtype), axis_name=sharding.AXIS)
    adam = optimizer.build(e.optim, steps_per_epoch=100, epochs=100)
    _, variables, _ = _network(piece)
    rows_held = 8 * piece.clips * piece.frames
    pixels = np.random.default_rng(0).integers(0, 256, (rows_held, piece.height * piece.width_px * 3), np.uint8)
    frames = jax.device_put(pixels, NamedSharding(mesh, sharding.SPLIT))
    rng = np.random.default_rng(1)
    state = sharding.copy_to_all(step.create_state(jax.device_get(variables), adam, 0), mesh)
    one = {'labels': piece.batch()[1], 'index': np.arange(piece.clips, dtype=np.int32)}
    shape = piece.clips, piece.frames
    sent = sharding.shard_steps(
        [one | {'rows': rng.integers(0, rows_held, shape, np.int32)} for _ in range(count)], mesh
    )
    options, compiling = options if jax.default_backend() == 'gpu' else {}, []
    for _ in range(2):  # the second time from the cache
        lowered = step.make_train_step(model, e, adam, mesh).lower(state, sent, frames)
        start = time.perf_counter()
        train_step = lowered.compile(options)
        compiling.append(time.perf_counter() - start)
    memory = train_step.memory_analysis()

    def act():
        nonlocal state
        state, metrics = train_step(state, sent, frames)
        return metrics

    timing = timed(act)
    number = count * piece.clips * piece.frames
    gflop = number * contender.gflop_per_frame(piece, training=True)
    stats = jax.devices()[0].memory_stats() or {}
    yield {
        'what': f'strf, {piece.clips} clips, {piece.dtype}, {count} steps per dispatch {options or ""}'.strip(),
        'step_s': timing['median_s'] / count,
        'frames_per_s': number / timing['median_s'], 'tflops': gflop / timing['median_s'] / 1e3,
        'minutes_of_58750_steps': 58_750 * timing['median_s'] / count / 60,
        'compile_s': compiling[0], 'compile_cached_s': compiling[1],
        'temp_mib': memory.temp_size_in_bytes / 2**20, 'peak_mib': stats.get('peak_bytes_in_use', 0) / 2**20,
    } | timing  # fmt: skip


def extract(toy: bool) -> Iterator[dict]:
    import jax

    from jaxreid.models import bn_folding

    for system, dtype in itertools.product(('c2d', 'strf'), ('float32', 'float16', 'bfloat16')):
        piece = work(toy, system=system, frames=1024, dtype=dtype)
        model, variables, clips = _network(piece)
        run = jax.jit(lambda v, x, model=model: model.apply(v, x, train=False).embedding)
        if dtype == 'float32':
            with jax.default_matmul_precision('highest'):
                exact = np.asarray(run(variables, clips))
            continue
        for folded in (True, False):
            given = bn_folding.fold(variables) if folded else variables
            timing, number = timed(functools.partial(run, given, clips)), piece.clips * piece.frames
            apart = np.linalg.norm(np.asarray(run(given, clips)) - exact, axis=1) / np.linalg.norm(exact, axis=1)
            yield {
                'what': f'{system}, {number} frames, {piece.dtype}, norms {"folded" if folded else "as they are"}',
                'frames_per_s': number / timing['median_s'],
                'features_off_float32': float(np.median(apart)),
                'minutes_of_681089_frames': 681_089 * timing['median_s'] / number / 60,
            } | timing  # fmt: skip


def ranks_on_device(query, gallery, matches):
    """How many gallery items lie nearer than each match: [Q, M] int32.

    Args:
      query, gallery: [Q, D] and [G, D], of length 1.
      matches: [Q, M] int32, columns of each query's matches, repeated where it has fewer.
    """
    import jax
    import jax.numpy as jnp

    distance = -jnp.einsum('qd,gd->qg', query, gallery, precision='highest')

    def count(row):
        d, columns = row
        return (d[None, :] < d[columns][:, None]).sum(1)

    return jax.lax.map(count, (distance, matches), batch_size=8)


def ranking_section(toy: bool) -> Iterator[dict]:
    import jax
    import jax.numpy as jnp

    size = {'queries': 20, 'gallery': 100, 'd': 16} if toy else {}
    embedding, pid, camera, query, _ = mars_size.draw(**size)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    matching = (pid[query][:, None] == pid[None, :]) & (camera[query][:, None] != camera[None, :])
    most = int(matching.sum(1).max())
    matches = np.argsort(~matching, axis=1, kind='stable')[:, :most].astype(np.int32)
    args = [jnp.asarray(x) for x in (unit[query], unit, matches)]
    timing = timed(functools.partial(jax.jit(ranks_on_device), *args))
    yield {'what': f'distances and ranks, {query.sum()} x {len(pid)}, on the device'} | timing
    if importlib.util.find_spec('tqdm') is None:
        yield {'what': 'no re-ranking: tqdm is not installed'}
        return
    from benchmarks import ranking
    from jaxreid.evaluation.ordering import rerank

    _, wall, cpu = ranking.timed(
        lambda: rerank.rerank(embedding[query], embedding[~query], distance='cosine', device=True)
    )
    yield {'what': f'k-reciprocal re-ranking of {len(pid)} items', 'median_s': wall, 'cpu_s': cpu, 'n': 1}


def torch(toy: bool) -> Iterator[dict]:
    if importlib.util.find_spec('torch') is None:
        yield {'what': 'PyTorch is not installed'}
        return
    import torch as pytorch

    if not pytorch.cuda.is_available() and not toy:
        yield {'what': 'PyTorch sees no CUDA device'}
        return
    for system in ('strf', 'c2d'):
        piece = work(toy, system=system, dtype='float32' if toy else 'bfloat16')
        peers = contender.peers('train', ['eager'] if toy else ['amp', 'eager'])
        first = sorted(peers, key=lambda name: ('amp' not in name, 'folded' not in name))
        entries = {'jaxreid': ('jax_train', {})} | {name: peers[name] for name in first}
        with tempfile.TemporaryDirectory() as folder:
            weights = pathlib.Path(folder) / 'weights.npz'
            contender.draw_weights(piece, weights)
            # In pairs, so that both fit in the memory of the device beside one another.
            for name, entry in list(entries.items())[1:]:
                pair = {'jaxreid': entries['jaxreid'], name: entry}
                for row in contender.compare(pair, piece, weights, repeats=2 if toy else 20):
                    yield row | {'what': f'{system}, {row["what"]} (beside {name})'}


SECTIONS = {
    'device': device, 'steps': steps, 'ceilings': ceilings, 'torch': torch, 'extract': extract, 'norms': norms,
    'ranking': ranking_section, 'forms': forms,
}  # fmt: skip


def _serve(section: str, toy: bool, conn: Any) -> None:
    if section != 'torch':
        import jax

        device = jax.devices()[0]
        conn.send({'what': f'device {device.device_kind}', 'platform': device.platform, 'jax': jax.__version__})
    for row in SECTIONS[section](toy):
        conn.send(row)


def run(section: str, *, toy: bool, limit_s: float) -> Iterator[dict]:
    """Rows of a section as they come; a last one says if it failed or was ended."""
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(section, toy, theirs))
    process.start()
    theirs.close()
    end, ended = time.monotonic() + limit_s, 'failed, see its error above'
    with contextlib.suppress(EOFError):
        while ours.poll(max(end - time.monotonic(), 0)):
            yield ours.recv()
        ended = f'ended after its {limit_s:.0f} s'
        process.terminate()
    process.join(10)
    if process.exitcode:
        yield {'what': ended}


def keep_programs(folder: pathlib.Path) -> None:
    """Compiled programs, and what was tried to make them, are kept there by this process's children."""
    os.environ |= {
        'JAX_COMPILATION_CACHE_DIR': str(folder),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
        'JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES': 'xla_gpu_per_fusion_autotune_cache_dir',
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--toy', action='store_true', help='small sizes, to try the command on a CPU')
    parser.add_argument('--minutes', type=float, default=7.5, help='for all sections together')
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument('--write', default='', help='name of the JSON in benchmarks/results')
    options = parser.parse_args()
    keep_programs(cache.folder() / 'gpu-benchmark')
    end, rows = time.monotonic() + 60 * options.minutes, []
    for i, section in enumerate(options.sections):
        # What sections before it left unused is shared among those that follow.
        share = SHARES[section] / sum(SHARES[s] for s in options.sections[i:])
        for row in run(section, toy=options.toy, limit_s=share * (end - time.monotonic())):
            rows.append({'section': section} | row)
            numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
            print(f'{section:<10}{row["what"]:<62}' + '  '.join(f'{k} {v:.4g}' for k, v in numbers.items()), flush=True)
            if not options.toy or options.write:
                path = mars_size.write(options.write or 'gpu', rows)
    if not options.toy or options.write:
        print(path)


if __name__ == '__main__':
    main()
