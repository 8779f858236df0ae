"""Contenders of a speed comparison: each in a process of its own, all timed in turns."""

import contextlib
import dataclasses
import importlib
import importlib.util
import multiprocessing
import os
import pathlib
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """What all contenders do: the same network on the same clips.

    system: 'c2d' or 'strf' (STRF-P3DC).
    width: planes of the first stage; 64 is ResNet-50.
    """

    system: str = 'strf'
    clips: int = 4
    frames: int = 4
    height: int = 256
    width_px: int = 128
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    ids: int = 625
    dtype: str = 'float32'

    def experiment(self) -> Any:
        """The recipe of STRF on MARS, without random changes of the clips, so that losses can be compared."""
        from configs import strf_mars

        e = strf_mars.get_config()
        if self.system == 'c2d':
            e.strf.stages, e.backbone.stages, e.backbone.block = (), (), 'c2d'
        e.backbone.width, e.backbone.depths = self.width, self.depths
        e.data.height, e.data.width, e.sampler.frames = self.height, self.width_px, self.frames
        e.sampler.num_ids, e.sampler.tracklets_per_id = self.clips // 2, 2
        e.augment.flip = e.augment.erase = 0.0
        e.train.compute_dtype = self.dtype
        return e

    def batch(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """uint8 clips [B, T, H, W, 3] and labels [B], two clips of a person."""
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(self.clips // 2), 2).astype(np.int32)
        shape = self.clips, self.frames, self.height, self.width_px, 3
        return rng.integers(0, 256, shape, np.uint8), labels


def gflop_per_frame(work: Work, *, training: bool) -> float:
    """Dense operations of a frame: 2 per multiply-accumulate; training takes three forwards' worth.

    Less the gradient with respect to the pixels, which nobody needs.
    """
    import jax.numpy as jnp

    from jaxreid.models import build, cost

    model = build.build(work.experiment(), num_ids=work.ids, dtype=jnp.float32)
    size = {'frames': work.frames, 'height': work.height, 'width': work.width_px}
    forward = 2 * cost.gmacs_per_frame(model, cost.shapes(model, **size), **size)
    stem = 2 * (work.height // 2) * (work.width_px // 2) * 7 * 7 * 3 * work.width / 1e9
    return 3 * forward - stem if training else forward


def draw_weights(work: Work, path: pathlib.Path, seed: int = 0) -> None:
    """Writes weights and statistics for all contenders, 'params/layer1/...' -> array; He-normal kernels."""
    import jax.numpy as jnp
    from flax import traverse_util

    from jaxreid.models import build, cost

    model = build.build(work.experiment(), num_ids=work.ids, dtype=jnp.float32)
    shapes = cost.shapes(model, frames=work.frames, height=work.height, width=work.width_px)
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        match name.rsplit('/', 1)[1]:
            case 'scale' | 'var':
                return rng.uniform(0.8, 1.2, shape)
            case 'bias' | 'mean' | 'classifier_bias':
                return rng.normal(0, 0.05, shape)
            case 'classifier':
                return rng.normal(0, 0.01, shape)
            case 'kernel':
                return rng.normal(0, (2 / np.prod([*shape[:-2], shape[-1]])) ** 0.5, shape)
            case _:
                return rng.uniform(-1, 1, shape) * shape[0] ** -0.5

    flat = traverse_util.flatten_dict(shapes, sep='/')
    np.savez(path, **{k: draw(k, v.shape).astype(np.float32) for k, v in flat.items()})


# A narrow network on small frames, to try the commands.
TOY: dict[str, Any] = {'height': 32, 'width_px': 16, 'width': 16, 'depths': (1, 1, 1, 1), 'ids': 5}


# What a contender makes in its process: `with build(work, weights) as act`; `act()` does the work once and returns a
# value.


def jax_variables(weights: pathlib.Path) -> dict:
    from flax import traverse_util

    with np.load(weights) as file:
        return traverse_util.unflatten_dict(dict(file), sep='/')


@contextlib.contextmanager
def keep_freed_memory(kept: bool = True) -> Iterator[Callable[[], None]]:
    """Gives what jaxreid calls after its first step; nothing where memory is not `kept`. Enter before JAX starts."""
    from jaxreid.process import freed_memory

    if not kept:
        yield lambda: None
        return
    freed_memory.one_heap()
    with freed_memory.kept() as keep_freed:
        yield keep_freed


def jax_training(work: Work, weights: pathlib.Path) -> tuple[Any, Any, dict]:
    """jaxreid's own training step, its first state, and a batch on the host, uint8."""
    import jax.numpy as jnp

    from jaxreid import sharding
    from jaxreid.models import build
    from jaxreid.training import optimizer, step

    e, mesh = work.experiment(), sharding.make_mesh()
    model = build.build(e, num_ids=work.ids, dtype=jnp.dtype(work.dtype), axis_name=sharding.AXIS)
    adam = optimizer.build(e.optim, steps_per_epoch=100, epochs=100)
    state = sharding.copy_to_all(step.create_state(jax_variables(weights), adam, 0), mesh)
    train_step = step.make_train_step(model, e, adam, mesh)
    clips, labels = work.batch()
    batch = {'clips': clips, 'labels': labels, 'index': np.arange(work.clips, dtype=np.int32)}
    return train_step, state, batch


@contextlib.contextmanager
def jax_train(work: Work, weights: pathlib.Path, *, kept: bool = True) -> Iterator[Callable[[], float]]:
    """Steps of jaxreid's own training step, uint8 clips on the host; `kept`: with `jaxreid.process.freed_memory`."""
    from jaxreid import sharding

    with keep_freed_memory(kept) as keep_freed:
        train_step, state, batch = jax_training(work, weights)
        mesh = sharding.make_mesh()

        def act() -> float:
            nonlocal state
            state, metrics = train_step(state, sharding.shard_steps([batch], mesh), None)
            loss = float(metrics['loss'][0])
            keep_freed()
            return loss

        yield act


@contextlib.contextmanager
def jax_extract(work: Work, weights: pathlib.Path, *, folded: bool = True) -> Iterator[Callable[[], float]]:
    """Features by jaxreid's own evaluation step, uint8 clips on the host."""
    from jaxreid import sharding
    from jaxreid.models import bn_folding, build
    from jaxreid.training import step

    with keep_freed_memory() as keep_freed:
        mesh = sharding.make_mesh()
        model = build.build(work.experiment(), num_ids=work.ids, dtype=work.dtype)
        variables = jax_variables(weights)
        variables = sharding.copy_to_all(bn_folding.fold(variables) if folded else variables, mesh)
        eval_step = step.make_eval_step(model, mesh)
        clips, _ = work.batch()

        def act() -> float:
            made = eval_step(variables, sharding.shard_batch({'clips': clips}, mesh))
            length = float(np.linalg.norm(np.asarray(made['embedding'])))
            keep_freed()
            return length

        yield act


def _torch_network(work: Work, weights: pathlib.Path, form: str) -> tuple[Any, Any, Any]:
    import torch

    from benchmarks import peer_torch

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = peer_torch.Network(
        strf=work.system == 'strf',
        form=form,
        frames=work.frames,
        num_ids=work.ids,
        width=work.width,
        depths=work.depths,
    )
    with np.load(weights) as file:
        network.load(dict(file))
    network.to(device)
    if form == 'folded':
        network.to(memory_format=torch.channels_last)
    clips, labels = work.batch()
    scaled = (clips.astype(np.float32) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    ready = torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, 1), np.float32)).to(device)
    return network, ready, torch.from_numpy(labels.astype(np.int64)).to(device)


@contextlib.contextmanager
def torch_train(
    work: Work, weights: pathlib.Path, *, form: str, compile_it: bool, amp: bool
) -> Iterator[Callable[[], float]]:
    """Steps of the PyTorch network; the clips are normalised floats on its device beforehand."""
    from benchmarks import peer_torch

    network, clips, labels = _torch_network(work, weights, form)
    step = peer_torch.train_step(network.train(), amp=amp, compile_it=compile_it)
    yield lambda: float(step(clips, labels))


@contextlib.contextmanager
def torch_extract(
    work: Work, weights: pathlib.Path, *, form: str, compile_it: bool, amp: bool
) -> Iterator[Callable[[], float]]:
    """Features of the PyTorch network; the clips are normalised floats on its device beforehand."""
    from benchmarks import peer_torch

    network, clips, _ = _torch_network(work, weights, form)
    run = peer_torch.features(network, amp=amp, compile_it=compile_it)
    yield lambda: float(run(clips).cpu().norm())


def peers(kind: str, choice: Sequence[str]) -> dict[str, tuple[str, dict]]:
    """Contenders beside jaxreid: name -> (function of this module, its arguments).

    Args:
      kind: 'train' or 'extract'.
      choice: of none, eager, compile, amp (compiled, bfloat16) and all.
    """
    if importlib.util.find_spec('torch') is None:
        return {}
    ways = {'eager': (False, False), 'compile': (True, False), 'amp': (True, True)}
    return {
        f'torch {form} {way}': (f'torch_{kind}', {'form': form, 'compile_it': compile_it, 'amp': amp})
        for way, (compile_it, amp) in ways.items()
        if way in choice or 'all' in choice
        for form in ('conv3d', 'folded')
    }


def _device_peak_mib() -> float | None:
    """Peak memory of the accelerator, MiB; None on CPUs."""
    import sys

    if 'torch' in sys.modules and sys.modules['torch'].cuda.is_available():
        return sys.modules['torch'].cuda.max_memory_allocated() / 2**20
    if 'jax' in sys.modules:
        stats = sys.modules['jax'].devices()[0].memory_stats()
        return stats['peak_bytes_in_use'] / 2**20 if stats else None
    return None


def _peak_mib() -> float:
    """Peak resident memory of this process since it was last reset, MiB."""
    status = pathlib.Path('/proc/self/status')
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith('VmHWM'))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _serve(build: str, arguments: dict, work: Work, weights: pathlib.Path, threads: int, conn: Any) -> None:
    if threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    start = time.perf_counter()
    with globals()[build](work, weights, **arguments) as act:
        value = act()
        conn.send({'cold_s': time.perf_counter() - start, 'value': value})
        with contextlib.suppress(OSError):  # the peak of warm steps, not of compiling
            pathlib.Path('/proc/self/clear_refs').write_text('5')
        while conn.recv():
            act()  # what lies in the caches is again this contender's
            wall, cpu = time.perf_counter(), time.process_time()
            value = act()
            conn.send({'wall_s': time.perf_counter() - wall, 'cpu_s': time.process_time() - cpu, 'value': value})
        conn.send({'peak_mib': _peak_mib(), 'device_peak_mib': _device_peak_mib()})


@contextlib.contextmanager
def _started(entries: dict[str, tuple[str, dict]], work: Work, weights: pathlib.Path, threads: int) -> Iterator[dict]:
    context, running = multiprocessing.get_context('spawn'), {}
    try:
        for name, (build, arguments) in entries.items():
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(build, arguments, work, weights, threads, theirs), daemon=True
            )
            process.start()
            theirs.close()
            running[name] = process, ours
            running[name] += (ours.recv(),)  # one at a time: compiling uses all cores
        yield running
    finally:
        for process, conn, *_ in running.values():
            conn.close()
            process.join(10)
            process.terminate()


def compare(
    entries: dict[str, tuple[str, dict]], work: Work, weights: pathlib.Path, *, repeats: int, threads: int = 0
) -> list[dict[str, Any]]:
    """Times every contender `repeats` times in turns; `threads` limits the cores that each may use (0: no limit).

    In a turn the work is done twice, and the second time counts.

    Returns:
      A row each: median, best and all wall seconds, median CPU seconds, seconds from nothing to the first result,
      first and last value (loss or norm of the features), peak memory of the warm process and of the accelerator;
      `times`: how often the first contender's median fits into its own, by wall and by CPU time.
    """
    rows = []
    with _started(entries, work, weights, threads) as running:
        runs: dict[str, list[dict]] = {name: [] for name in running}
        for _ in range(repeats):
            for name, (_, conn, _) in running.items():
                conn.send(True)
                runs[name].append(conn.recv())
        for name, (_, conn, first) in running.items():
            conn.send(False)
            wall = [run['wall_s'] for run in runs[name]]
            rows.append({
                'what': name, 'median_s': statistics.median(wall), 'best_s': min(wall), 'n': repeats,
                'cpu_s': statistics.median(run['cpu_s'] for run in runs[name]), 'wall_s': wall,
                'cold_s': first['cold_s'], 'first_value': first['value'], 'last_value': runs[name][-1]['value'],
            } | conn.recv())  # fmt: skip
    for row in rows:
        row['times'] = row['median_s'] / rows[0]['median_s']
        row['times_best'] = row['best_s'] / rows[0]['best_s']
        row['times_cpu'] = row['cpu_s'] / rows[0]['cpu_s']
    return rows
