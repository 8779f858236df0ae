"""From the command to the first step, with empty caches and with full ones, and how long a checkpoint holds a step up.

    python -m benchmarks.start_up [--repeats 3]

Needs no data set; renders the `demo` benchmark once into a cache folder of its own, which is removed.
"""

import argparse
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import mars_size

DEMO = ('-m', 'jaxreid.main', '--config', 'configs/strf_synthetic.py', '--config.train.max_steps=1')
FIRST_STEP = re.compile(rb'train:.*\| 1/\d+ ')


def first_step(cache: pathlib.Path, workdir: pathlib.Path) -> tuple[float, float]:
    """Wall and CPU seconds until the progress bar of the demo shows its first step; the run is then ended."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *DEMO, f'--workdir={workdir}'],
        env=os.environ | {'JAXREID_CACHE': str(cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    seen = b''
    while piece := os.read(process.stderr.fileno(), 4096):
        seen = (seen + piece)[-4096:]
        if FIRST_STEP.search(seen):
            wall, cpu = time.perf_counter() - started, cpu_seconds(process.pid)
            process.kill()
            process.wait()
            return wall, cpu
    raise RuntimeError(f'the demo ended before its first step:\n{seen.decode(errors="replace")}')


def cpu_seconds(pid: int) -> float:
    """Of a running process, user and system."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def imports(name: str) -> float:
    """CPU seconds to import a module in a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, '-c', f'import {name}'], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def checkpoint(folder: pathlib.Path, repeats: int) -> dict[str, Any]:
    """Milliseconds that saving the state of the full network holds the loop up, beside a copy to the host."""
    import jax
    import numpy as np

    from configs import strf_mars
    from jaxreid import config, sharding
    from jaxreid.models import build
    from jaxreid.training import checkpoint, optimizer, step

    e = strf_mars.get_config()
    e.data.height, e.data.width = 64, 32
    mesh = sharding.make_mesh()
    variables = step.init_variables(build.build(e, num_ids=625, dtype=np.dtype('float32')), e, jax.random.key(0))
    adam = optimizer.build(e.optim, steps_per_epoch=1, epochs=1)
    state = sharding.copy_to_all(step.create_state(variables, adam, 0), mesh)
    copy = jax.jit(lambda tree: jax.tree.map(lambda x: x + 0, tree))
    kept = checkpoint.Checkpoints(folder, keep=1)
    blocked, copied = [], []
    for at in range(repeats + 1):  # the first one starts threads and is not counted
        state = jax.block_until_ready(copy(state))  # new arrays: what was fetched before may be remembered
        started = time.perf_counter()
        jax.tree.map(lambda x: np.array(x), jax.device_get(state))
        copied.append(time.perf_counter() - started)
        state = jax.block_until_ready(copy(state))
        started = time.perf_counter()
        kept.save(at, state, {'config': config.to_dict(e)})
        blocked.append(time.perf_counter() - started)
        started = time.perf_counter()
        kept.wait()
        written = time.perf_counter() - started
    kept.close()
    size = sum(x.nbytes for x in jax.tree.leaves(state))
    return {
        'what': 'checkpoint of STRF (P3D-C), full size',
        'mib': size / 2**20,
        'blocks_ms': 1e3 * statistics.median(blocked[1:]),
        'copy_to_host_ms': 1e3 * statistics.median(copied[1:]),
        'then_writes_ms': 1e3 * written,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--repeats', type=int, default=3, help='second starts, and checkpoints')
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        first_step(base, base / 'rendering')  # renders the data set
        for what, clear in (('empty caches', True), ('second start', False)):
            walls, cpus = [], []
            for i in range(1 if clear else options.repeats):
                if clear:
                    subprocess.run(['rm', '-r', str(base / 'xla')], check=True)
                wall, cpu = first_step(base, base / f'{what}{i}')
                walls.append(wall)
                cpus.append(cpu)
            rows.append(
                {
                    'what': f'demo, command to first step, {what}',
                    'n': len(walls),
                    'wall_s': statistics.median(walls),
                    'best_wall_s': min(walls),
                    'cpu_s': statistics.median(cpus),
                }
            )
        rows.append({'what': 'import jaxreid.main', 'cpu_s': imports('jaxreid.main')})
        rows.append({'what': 'import jax', 'cpu_s': imports('jax')})
        rows.append(checkpoint(base / 'checkpoints', options.repeats))
    for row in rows:
        print(f'{row["what"]:<48}' + '  '.join(f'{k} {v:.2f}' for k, v in row.items() if k != 'what'))
    print(mars_size.write('start_up', rows))


if __name__ == '__main__':
    main()
