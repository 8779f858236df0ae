"""Systems x targets, compiled for accelerators that are not here: memory, traffic, collectives and bound of each step.

    python -m benchmarks.accelerators [--whole] [--only STRF v5e:4x4 ...] [--table]

A row is one `python -m jaxreid.plan` in a process of its own and is kept in benchmarks/results/plan/; a row that is
there is not made again, so that the command can be stopped and started. At the end, or with --table at once, the rows
that are there are printed as the table of docs/scaling.md.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys

from jaxreid import command_line
from jaxreid.plan import program, targets
from jaxreid.process import atomic

RESULTS = pathlib.Path(__file__).parent / 'results' / 'plan'
SYSTEMS: dict[str, tuple[str, program.Mode]] = {
    'STRF': ('strf_mars', 'train'),
    'STMN': ('stmn_mars', 'train'),
    'STA': ('sta_mars', 'train'),
    'STAR': ('star_mars', 'train'),
    'TF-CLIP': ('tfclip_mars', 'train'),
    'C2D': ('ap3d_mars:c2d', 'train'),
    'STRF, evaluation': ('strf_mars', 'eval'),
}
TARGETS = ('v5e:4x4', 'h200:8', 'v6e:4x4', 'v5p:2x2x4', 'v5e:1x1', 'h200:1', 'v5e:2x2', 'v5e:8x8')


def command(system: str, target: str, *, quick: bool) -> list[str]:
    """Arguments of `jaxreid.plan`; the recipe's batch, or the next larger one that the devices divide."""
    config, mode = SYSTEMS[system]
    e, devices = command_line.read_config(config), targets.parse(target).devices
    clips, unit = program.clips_of(e, mode), program.unit(e, mode, devices)
    settings = []
    if clips % devices:
        e = program.with_clips(e, mode, math.ceil(clips / unit) * unit)
        settings = (
            [f'--config.sampler.num_ids={e.sampler.num_ids}']
            if mode == 'train'
            else [f'--config.test.batch_clips={e.test.batch_clips}']
        )
    depth = '--quick' if quick else '--once'
    return ['--config', config, '--target', target, '--mode', mode, depth, *settings]


def path(system: str, target: str, *, quick: bool) -> pathlib.Path:
    """Where a row is kept."""
    name = f'{system.replace(", ", "_")}_{target.replace(":", "_")}' + '_quick' * quick
    return RESULTS / f'{name}.json'


def make(system: str, target: str, *, quick: bool) -> None:
    """Compiles a row, and keeps what was found or why there is nothing."""
    out, arguments = path(system, target, quick=quick), command(system, target, quick=quick)
    RESULTS.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, '-m', 'jaxreid.plan', *arguments, '--json', str(out)], stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        said = [line for line in done.stderr.split('\n') if line.startswith('jaxreid: ')] or done.stderr.split('\n')
        if 'is not installed' in said[0]:
            sys.exit(said[0])
        atomic.write_json(out, {'error': said[0].removeprefix('jaxreid: ')})
    row = json.loads(out.read_text())
    atomic.write_json(out, {'command': 'python -m jaxreid.plan ' + ' '.join(arguments)} | row)
    print(f'{out.name}: {row.get("error", "done")}', flush=True)


def line(system: str, target: str) -> str | None:
    """A row of the table: of the whole network if it is there, else of one bottleneck per stage."""
    found = next((p for quick in (False, True) if (p := path(system, target, quick=quick)).exists()), None)
    if found is None:
        return None
    kept = json.loads(found.read_text())
    head = f'| {system}{", quick" * found.stem.endswith("_quick")} | `{target}` |'
    if 'error' in kept:
        return f'{head} {kept["error"]} | | | | | |'
    (row,) = kept['rows']
    memory, traffic = row['memory'], sum(row['bytes'].values())
    needed = memory['arguments'] + memory['temporaries'] + memory['results'] + memory['code']
    sums = [one for one in row['sends'] if one['op'] == 'all-reduce']
    others = [one for one in row['sends'] if one['op'] != 'all-reduce']
    parts = {'arithmetic': row['arithmetic_s'], 'traffic': row['memory_s'], 'links': row['links_s']}
    return (
        f'{head} {row["clips"]} | {needed / 2**20:,.0f} ({memory["temporaries"] / 2**20:,.0f}) of '
        f'{memory["limit"] / 2**30:.0f} GiB | {1e3 * row["arithmetic_s"]:.2f} | '
        f'{traffic / 1e9:.2f} GB, {1e3 * row["memory_s"]:.2f} | '
        f'{sum(one["count"] for one in sums)}, {sum(one["bytes"] for one in sums) / 2**20:.1f} MiB'
        f' + {sum(one["count"] for one in others)}; {1e3 * row["links_s"]:.2f} | '
        f'{1e3 * row["bound_s"]:.2f}, {row["highest_mfu"]:.0%}, {max(parts, key=lambda part: parts[part])} |'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--whole', action='store_true', help='the whole network, minutes a row; else a small one')
    parser.add_argument('--only', nargs='+', default=[], help='systems and targets; all')
    parser.add_argument('--table', action='store_true', help='compile nothing')
    options = parser.parse_args()
    for target in TARGETS:
        for system in SYSTEMS:
            asked = not options.only or (
                (system in options.only or not set(options.only) & set(SYSTEMS))
                and (target in options.only or not set(options.only) & set(TARGETS))
            )
            if asked and not options.table and not path(system, target, quick=not options.whole).exists():
                make(system, target, quick=not options.whole)
    print('| system | target | clips | memory of a device, MiB (temporaries) | arithmetic, ms | traffic, ms | ', end='')
    print('all-reduces + others; waited for, ms | at best, ms, of peak, longest part |\n|' + '---|' * 8)
    for system in SYSTEMS:
        for target in TARGETS:
            if found := line(system, target):
                print(found)


if __name__ == '__main__':
    main()
