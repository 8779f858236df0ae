"""Frames per second of TV-L1 flow: OpenCV on one core and on all, JAX on the CPU and on an accelerator if there is one.

  python -m benchmarks.optical_flow

Pairs of textures that move by known amounts, since the work depends on the motion. Every engine is given the same
pairs in turns, and each figure is the median of the turns; JAX's first call, which compiles, is told apart. Prints a
table and writes benchmarks/results/optical_flow.json.
"""

import argparse
import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent import futures

import cv2
import jax
import numpy as np

from jaxreid.data.flow import optical_flow, tv_l1_jax
from jaxreid.process import atomic

SIZES = {(64, 32): 512, (256, 128): 64}  # height, width: pairs on an accelerator
CPU_SHARE = 16  # a CPU computes one of so many
ROOT = pathlib.Path(__file__).resolve().parents[1]

Engine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def pairs(count: int, *, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """[count, H, W, 3] uint8 twice, textures that move by up to six pixels either way."""
    rng = np.random.default_rng(0)
    first, second = np.empty((2, count, height, width, 3), np.uint8)
    for i in range(count):
        right, down = rng.integers(-6, 7, 2)
        field = cv2.GaussianBlur(rng.standard_normal((height + 12, width + 12, 3)), (0, 0), 2)
        field = (field - field.min()) / (field.max() - field.min()) * 255
        first[i] = field[6 : 6 + height, 6 : 6 + width]
        second[i] = field[6 - down : 6 - down + height, 6 - right : 6 - right + width]
    return first, second


def opencv(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One pair after the other."""
    return np.stack([optical_flow.tv_l1(*pair) for pair in zip(first, second, strict=True)])


def in_threads(engine: Engine) -> Engine:
    """As data_pipelines.optical_flow calls an engine that takes a pair at a time."""

    def run(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = pool.map(lambda i: engine(first[i : i + 1], second[i : i + 1]), range(len(first)))
            return np.concatenate(list(parts))

    return run


def jax_on(platform_name: str) -> Engine:
    """JAX's flow on the first device of a platform."""
    device = jax.devices(platform_name)[0]

    def run(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        with jax.default_device(device):
            return tv_l1_jax.of_frames(first, second)

    return run


def measure(engines: dict[str, Engine], *, height: int, width: int, turns: int, scale: float) -> list[dict]:
    """A row per engine."""
    on_cpu = {name: 'accelerator' not in name for name in engines}
    most = max(int(SIZES[height, width] * scale), CPU_SHARE)
    given = pairs(most, height=height, width=width)
    few = tuple(frames[: most // CPU_SHARE] for frames in given)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in engines}
    first_call, flows = {}, {}
    for name, engine in engines.items():
        start = time.perf_counter()
        engine(*(frames[:1] for frames in given))
        first_call[name] = time.perf_counter() - start
    for _ in range(turns):
        for name, engine in engines.items():
            work = few if on_cpu[name] else given
            start, cpu_start = time.perf_counter(), time.process_time()
            flows[name] = engine(*work)
            seconds[name].append(time.perf_counter() - start)
            cpu_seconds[name].append(time.process_time() - cpu_start)
    reference = flows['OpenCV, one core']
    rows = []
    for name in engines:
        count = len(few[0]) if on_cpu[name] else len(given[0])
        difference = np.abs(flows[name][: len(reference)] - reference)
        rows.append(
            {
                'height': height,
                'width': width,
                'engine': name,
                'pairs': count,
                'frames_per_second': count / statistics.median(seconds[name]),
                'frames_per_second_of_turns': [count / one for one in seconds[name]],
                'cpu_seconds_per_frame': statistics.median(cpu_seconds[name]) / count,
                'first_call_seconds': first_call[name],
                'mean_difference_px': float(difference.mean()),
                'difference_px_of_99_percent': float(np.quantile(difference, 0.99)),
            }
        )
    return rows


def cpu_name() -> str:
    """What the machine calls its processor."""
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor()


def commit() -> str:
    """Of the checkout, with a plus where files differ from it; '' where there is none."""
    try:
        said = subprocess.run(
            ['git', 'describe', '--always', '--dirty=+', '--exclude=*'], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return ''
    return said.stdout.strip()


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--turns', type=int, default=5, help='of which the median is told')
    parser.add_argument('--scale', type=float, default=1, help='times as many pairs; below 1 is a quick look')
    parser.add_argument('--date', default=datetime.date.today().isoformat(), help='to write down')
    parser.add_argument('--out', type=pathlib.Path, default=ROOT / 'benchmarks' / 'results' / 'optical_flow.json')
    given = parser.parse_args()
    engines: dict[str, Engine] = {'OpenCV, one core': opencv, f'OpenCV, {os.cpu_count()} threads': in_threads(opencv)}
    if (accelerator := jax.default_backend()) == 'cpu':
        engines |= {'JAX, one pair at a time': jax_on('cpu')}
        engines |= {f'JAX, {os.cpu_count()} threads': in_threads(jax_on('cpu'))}
    else:
        engines |= {f'JAX, accelerator ({accelerator})': jax_on(accelerator)}
    cv2.setNumThreads(1)
    rows = []
    for height, width in SIZES:
        rows += measure(engines, height=height, width=width, turns=given.turns, scale=given.scale)
    report = {
        'benchmark': 'optical_flow',
        'date': given.date,
        'commit': commit(),
        'cpu': f'{cpu_name()}, {os.cpu_count()} cores',
        'device': jax.devices()[0].device_kind,
        'versions': {'python': platform.python_version(), 'jax': jax.__version__, 'opencv': cv2.__version__},
        'load': os.getloadavg()[0],  # of a busy machine's row the CPU seconds say more
        'rows': rows,
    }
    print(f'{report["date"]}, {report["cpu"]}; JAX {jax.__version__} on {report["device"]}, OpenCV {cv2.__version__}')
    print(
        f'{"size":>8}  {"engine":<28}{"frames/s":>10}{"CPU ms/frame":>14}{"first call":>12}  difference: mean, of 99 %'
    )
    for row in rows:
        size = f'{row["height"]}x{row["width"]}'
        print(
            f'{size:>8}  {row["engine"]:<28}{row["frames_per_second"]:>10.1f}'
            f'{1e3 * row["cpu_seconds_per_frame"]:>14.1f}{row["first_call_seconds"]:>10.1f} s'
            f'  {row["mean_difference_px"]:.4f} px, {row["difference_px_of_99_percent"]:.3f} px'
        )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(given.out, report)


if __name__ == '__main__':
    main()
