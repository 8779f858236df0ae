"""Seconds of a training step of full C2D and STRF-P3DC, beside the same networks in PyTorch.

    python -m benchmarks.train_step [--peer eager compile amp]

Needs no data set. All contenders start from the same weights and see the same clips of 256 x 128 pixels, so that the
losses of their first steps can be compared; each has a process of its own, and they take turns: a step that does not
count, then one that does. jaxreid starts from uint8 clips on the host and logs its metrics ('memory not kept': without
what `jaxreid.process.freed_memory` does), PyTorch (in both forms of `peer_torch`) from normalised floats on its
device. `times` is a contender's median over jaxreid's: above 1 jaxreid is faster. MFU counts 2 operations per dense
multiply-accumulate, forward and backward, against `--peak-tflops`.
"""

import argparse
import pathlib
import tempfile

from benchmarks import contender, mars_size

SYSTEMS = ('c2d', 'strf')


def measure(work: contender.Work, *, kind: str, options: argparse.Namespace) -> list[dict]:
    """Rows of jaxreid and its peers on one piece of work; `kind` is train or extract."""
    beside = {
        'train': {'jaxreid, memory not kept': ('jax_train', {'kept': False})},
        'extract': {'jaxreid, norms not folded': ('jax_extract', {'folded': False})},
    }
    entries = {'jaxreid': (f'jax_{kind}', {})} | beside[kind] | contender.peers(kind, options.peer)
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / 'weights.npz'
        contender.draw_weights(work, weights)
        rows = contender.compare(entries, work, weights, repeats=options.repeats, threads=options.threads)
    frames = work.clips * work.frames
    gflop = frames * contender.gflop_per_frame(work, training=kind == 'train')
    for row in rows:
        row |= {'system': work.system, 'frames': frames, 'dtype': 'bfloat16' if 'amp' in row['what'] else work.dtype}
        row |= {'frames_per_s': frames / row['median_s'], 'gflop': gflop, 'tflops': gflop / row['median_s'] / 1e3}
        row['mfu_percent'] = 100 * row['tflops'] / options.peak_tflops if options.peak_tflops else None
    return rows


def table(rows: list[dict]) -> str:
    """Rows as text."""
    head = f'{"system":<8}{"":<26}{"median s":>9}{"best s":>8}{"CPU s":>8}{"times":>7}{"by CPU":>8}'
    lines = [head + f'{"frames/s":>9}{"GFLOP/s":>9}{"peak MiB":>9}{"cold s":>8}  first and last value']
    for row in rows:
        peak = row['device_peak_mib'] or row['peak_mib']
        lines.append(
            f'{row["system"]:<8}{row["what"]:<26}{row["median_s"]:9.3f}{row["best_s"]:8.3f}{row["cpu_s"]:8.3f}'
            f'{row["times"]:7.2f}{row["times_cpu"]:8.2f}{row["frames_per_s"]:9.1f}{1e3 * row["tflops"]:9.0f}{peak:9.0f}'
            f'{row["cold_s"]:8.1f}  {row["first_value"]:.4f} {row["last_value"]:.4f}'
        )
    return '\n'.join(lines)


def arguments(description: str) -> argparse.ArgumentParser:
    """What train_step and extract have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--peer', nargs='+', choices=('none', 'eager', 'compile', 'amp', 'all'), default=['eager'])
    parser.add_argument('--systems', nargs='+', choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument('--clips', type=int, default=4, help='of 4 frames')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
    parser.add_argument('--threads', type=int, default=0, help="limit of everybody's cores; 0 = all")
    parser.add_argument('--peak-tflops', type=float, default=0.0, help='what MFU is counted against; 0 = not at all')
    parser.add_argument('--toy', action='store_true', help='a narrow network on small frames, to try the command')
    parser.add_argument('--write', default='', help='name of the JSON in benchmarks/results; the default is kept')
    return parser


def works(options: argparse.Namespace) -> list[contender.Work]:
    """The work of each system."""
    toy = contender.TOY if options.toy else {}
    return [contender.Work(system=s, clips=options.clips, dtype=options.dtype, **toy) for s in options.systems]


def main():
    options = arguments(__doc__.splitlines()[0]).parse_args()
    rows = []
    for work in works(options):
        rows += measure(work, kind='train', options=options)
        print(table(rows), flush=True)
    if not options.toy or options.write:
        print(mars_size.write(options.write or 'train_step', rows))


if __name__ == '__main__':
    main()
