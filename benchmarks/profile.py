"""Where the time of a training step goes: by kind of layer, forward and backward.

    python -m benchmarks.profile

Needs no data set. Compiles jaxreid's training step for full C2D and STRF-P3DC, traces some steps with `jax.profiler`,
and adds up the operations by the layers that the compiled program says they come from; an operation that XLA fused
from several layers counts for the last. Writes benchmarks/results/profile.json.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import tempfile

from benchmarks import contender, mars_size

# By the part of the layer's path that tells, most telling first.
KINDS = {
    'STRF units': r'/strf/',
    'temporal kernels': r'/temporal/',
    'convolutions': r'/(\w*conv\d?)/',
    'norms, shortcuts, ReLU': r'/(\w*bn\d?|neck)/',
    'pooling': r'stem|frames|pool|max',
}
REST = 'loss, Adam, the rest'
KERNEL_GRADIENT = 'transpose()/conv/'
STEPS = 3


def kind(path: str) -> tuple[str, str]:
    """What layer an operation comes from, and 'forward' or 'backward', by its name in the program."""
    layers = next((name for name, telling in KINDS.items() if re.search(telling, path)), REST)
    return layers, 'backward' if 'transpose(' in path else 'forward'


def names(program: str) -> dict[str, str]:
    """Operation -> name with the layer's path, of a compiled program's text.

    What XLA makes for the gradients of kernels of 3 x 3 and more has no name: convolutions and transpositions without
    one are called KERNEL_GRADIENT.
    """
    bodies = dict(re.findall(r'^%([\w.-]+) [^\n]*\{\n(.*?)^\}', program, re.M | re.S))
    paths = {}
    for name, line in re.findall(r'^\s+(?:ROOT )?%([\w.-]+) = (.*)$', program, re.M):
        if named := re.search(r'op_name="([^"]*)"', line):
            paths[name] = named[1]
            continue
        called = re.search(r'calls=%([\w.-]+)', line)
        if re.search(r'\b(convolution|transpose)\(', bodies.get(called[1], '') if called else line):
            paths[name] = KERNEL_GRADIENT
    return paths


def milliseconds(events: list[dict], paths: dict[str, str]) -> dict[tuple[str, str], float]:
    """Of all steps together, by kind and direction."""
    total: collections.Counter = collections.Counter()
    for event in events:
        if event.get('ph') == 'X' and 'hlo_op' in event.get('args', {}):
            total[kind(paths.get(event['args']['hlo_op'], ''))] += event['dur'] / 1e3
    return total


def measure(work: contender.Work) -> list[dict]:
    """A row per kind of layer."""
    import jax

    from jaxreid import sharding

    with contender.keep_freed_memory() as keep_freed, tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / 'weights.npz'
        contender.draw_weights(work, weights)
        train_step, state, batch = contender.jax_training(work, weights)
        batch = sharding.shard_steps([batch], sharding.make_mesh())
        compiled = train_step.lower(state, batch, None).compile()
        state, _ = compiled(state, batch, None)
        jax.block_until_ready(state)
        keep_freed()
        for _ in range(STEPS):  # which find their memory
            state, _ = compiled(state, batch, None)
            jax.block_until_ready(state)
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                state, _ = compiled(state, batch, None)
                jax.block_until_ready(state)
        (trace,) = pathlib.Path(folder).glob('**/*.trace.json.gz')
        events = json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']
    spent = milliseconds(events, names(compiled.as_text()))
    whole = sum(spent.values())
    rows = []
    for name in (*KINDS, REST):
        both = {way: spent.get((name, way), 0.0) for way in ('forward', 'backward')}
        if sum(both.values()):
            rows.append({
                'system': work.system, 'frames': work.clips * work.frames, 'what': name,
                **{f'{way}_ms': ms / STEPS for way, ms in both.items()}, 'percent': 100 * sum(both.values()) / whole,
            })  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--systems', nargs='+', choices=('c2d', 'strf'), default=('c2d', 'strf'))
    parser.add_argument('--clips', type=int, default=2, help='of 4 frames')
    parser.add_argument('--toy', action='store_true', help='a narrow network on small frames, to try the command')
    parser.add_argument('--write', default='profile', help='name of the JSON')
    options = parser.parse_args()
    size = contender.TOY if options.toy else {}
    rows = []
    for system in options.systems:
        rows += measure(contender.Work(system=system, clips=options.clips, **size))
    for row in rows:
        print(
            f'{row["system"]:<6}{row["what"]:<24}{row["forward_ms"]:9.1f}{row["backward_ms"]:9.1f} ms'
            f'{row["percent"]:6.1f} %'
        )
    print(mars_size.write(options.write, rows))


if __name__ == '__main__':
    main()
