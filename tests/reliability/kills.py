"""SIGKILL at random moments of training, saving, monitoring, adding to a gallery and building records.

Each process is a child that is killed for good; the next one continues, and at the end everything is what an
undisturbed process makes.
"""

import importlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import threading
import time
import traceback

import numpy as np

from data_pipelines import build, record_writer  # noqa: F401 (imported before children are forked)
from jaxreid import main
from jaxreid.data.synthetic import render
from jaxreid.search import feature_rows, gallery, tracklets
from tests.fixtures import checkpoint_arrays, commands
from tests.reliability import outcome

# Where in a training run a child is killed: a function, and within how many seconds of a call of it.
STAGES = {
    'training': ('jaxreid.training.in_flight', 'InFlight.add', 0.5),
    'saving': ('jaxreid.training.checkpoint', 'Checkpoints.save', 1.0),
    'monitoring': ('jaxreid.training_loop', 'score_amid', 2.0),
    'saving the best': ('jaxreid.training.checkpoint', 'Best.offer', 1.0),
    'recording': ('jaxreid.evaluation.results', 'append', 0.05),
    'final evaluation': ('jaxreid.training_loop', 'headline', 2.0),
    'writing features': ('jaxreid.evaluation.feature_file', 'Features.save', 0.05),
}
LAST = 12
LONGEST = 600  # seconds of a child
RUN = [
    '--config.system=baseline', '--config.backbone.depths=(1,1,1,1)', '--config.sampler.frames=2',
    '--config.test.frames=2', f'--config.train.max_steps={LAST}', '--config.train.epochs=20',
    '--config.train.checkpoint_every_steps=2', '--config.train.eval_every_epochs=1', *commands.SMALL,
]  # fmt: skip


def rows(work, *, number, seed):
    """A third of the kills in training runs, the rest in galleries and record sets."""
    draw = random.Random(seed)
    os.environ['JAXREID_CACHE'] = str(work / 'cache')
    runs, galleries = max(number // 3, 1), max(number // 3, 1)
    yield from in_runs(work, runs, draw)
    yield in_galleries(work, galleries, draw)
    yield in_records(work, max(number - runs - galleries, 1), draw)


def child(act, log, *, killed_after=None):
    """Runs `act` in a child; its status, -9 where it was killed."""
    number = os.fork()
    if not number:
        status = 70
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            status = act() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if killed_after is not None:
        time.sleep(killed_after)
        os.kill(number, signal.SIGKILL)
    for _ in range(10 * LONGEST):
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    return 'it hangs'


def answer(ask, work):
    """What a function says in a child: this process starts no threads, since what is forked afterwards could hang."""
    status = child(lambda: (work / 'answer').write_text(json.dumps(ask())) and 0, work / 'log')
    return json.loads((work / 'answer').read_text()) if status == 0 else [f'no answer: {status}']


def armed(stage, call, delay):
    """Makes this process kill itself so many seconds after the call of the stage's function with that number."""
    module, name, _ = STAGES[stage]
    holder = importlib.import_module(module)
    for part in name.split('.')[:-1]:
        holder = getattr(holder, part)
    name, calls = name.rpartition('.')[2], iter(range(1, 10**6))
    wrapped = getattr(holder, name)

    def deadly(*args, **kwargs):
        if next(calls) == call:
            if not delay:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return wrapped(*args, **kwargs)

    setattr(holder, name, deadly)


def in_runs(work, number, draw):
    """Kills in a chain: each run continues what the one before left, and a finished one makes room for the next."""

    def run(workdir, *how):
        def act():
            if how:
                armed(*how)
            return main.run(['main', commands.TINY, f'--workdir={workdir}', *RUN])

        return child(act, work / 'log')

    wanted = work / 'undisturbed'
    assert run(wanted) == 0, (work / 'log').read_text()
    kills, problems, workdir, attempts = dict.fromkeys(STAGES, 0), {stage: [] for stage in STAGES}, work / 'run-0', 0
    stages, last = list(STAGES), ''

    def finished():
        found = answer(lambda: differences(workdir, wanted), work)
        problems[last or stages[0]] += [f'after {kills}: {one}' for one in found]

    while sum(kills.values()) < number and attempts < 4 * number:
        if not attempts % len(stages):
            draw.shuffle(stages)
        stage, attempts = stages[attempts % len(stages)], attempts + 1
        how = stage, draw.randint(1, 3 if stage in ('training', 'saving') else 1), draw.uniform(0, STAGES[stage][2])
        match run(workdir, *how):
            case -9:
                kills[stage] += 1
                last = stage
                problems[stage] += consistent(workdir)
            case 0:
                finished()
                workdir = work / f'run-{attempts}'
            case status:
                problems[stage].append(f'{how}: status {status}: {(work / "log").read_text()[-500:]}')
    if run(workdir) != 0:
        problems[last].append(f'it does not go on: {(work / "log").read_text()[-500:]}')
    else:
        finished()
    for stage, count in kills.items():
        yield outcome.Row(f'a run, killed in {stage}', count, 'continued to the same bits', problems[stage])


def consistent(workdir):
    """No row of results.json is of a network that is better than the best that is kept."""
    scores = [row['mAP'] for row in _results(workdir) if row['selected'] == 'monitoring']
    kept = [json.loads(file.read_text())['score']['mAP'] for file in (workdir / 'best').glob('[0-9]*/meta/metadata')]
    return (
        [f'mAP {max(scores)} is in results.json, best/ has {kept}']
        if max(scores, default=-1) > max([-1, *kept])
        else []
    )


def differences(workdir, wanted):
    """In what a finished run differs from the undisturbed one; folders and files that killed processes left."""
    found = []
    for folder in ('checkpoints', 'best'):
        steps = [sorted(int(p.name) for p in (one / folder).glob('[0-9]*')) for one in (workdir, wanted)]
        if steps[0][-1:] != steps[1][-1:]:
            found.append(f'{folder} ends with step {steps[0]}, expected {steps[1]}')
            continue
        ours, theirs = (checkpoint_arrays.read(one, steps[1][-1], folder) for one in (workdir, wanted))
        found += [f'{folder}: {name} differs' for name in theirs if not np.array_equal(ours.get(name), theirs[name])]
    ours, theirs = (np.load(one / 'features.npz') for one in (workdir, wanted))
    found += [f'features.npz: {name}' for name in ('embedding', 'pid') if not np.array_equal(ours[name], theirs[name])]
    scores = [
        [(row['step'], row['selected'], row['mAP'], row['cmc']) for row in _results(one)] for one in (workdir, wanted)
    ]
    if sorted(map(str, scores[0])) != sorted(map(str, scores[1])):
        found.append('results.json differs')
    ours, theirs = (_logged(one) for one in (workdir, wanted))
    if ours != theirs:
        found.append(f'metrics.jsonl differs: {len(ours)} values, expected {len(theirs)}')
    return found + [
        f'{path} is left' for path in workdir.rglob('*') if '.partial-' in path.name or 'checkpoint-tmp' in path.name
    ]


def _results(workdir):
    return json.loads((workdir / 'results.json').read_text()) if (workdir / 'results.json').exists() else []


def _logged(workdir):
    """(step, name, value) of what does not depend on the clock, with repetitions."""
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    clocks = ('clips_per_second', 'waiting_for_data', 'step')
    return sorted((line['step'], name, value) for line in lines for name, value in line.items() if name not in clocks)


def some(first, count=2000):
    """Tracklets with features of their own."""
    names = [f't{first + i}' for i in range(count)]
    nothing = [''] * count
    values = np.random.default_rng(first).standard_normal((count, 256)).astype(np.float32)
    return tracklets.Tracklets(
        where='new.npz', features=feature_rows.Rows.of(values), name=names, person=nothing, camera=nothing,
        time=nothing, frames=[7] * count, made={'network': 'ab12'}, film=lambda row: [f'{names[row]}.jpg'],
    )  # fmt: skip


def in_galleries(work, number, draw):
    """Each addition is killed and repeated: what is there is whole, and all of it is there in the end."""
    folder, problems, killed = work / 'shop', [], 0
    begun = time.monotonic()
    gallery.append(work / 'timed', some(0))
    seconds = time.monotonic() - begun
    for part in range(number):
        added = some(2000 * part)
        status = child(
            lambda added=added: gallery.append(folder, added) and 0,
            work / 'log',
            killed_after=draw.uniform(0, 2 * seconds),
        )
        killed += status == -9
        held = len(gallery.open_folder(folder)) if part or any(folder.glob('shard-*')) else 0
        if held not in (2000 * part, 2000 * part + 2000):
            problems.append(f'{held} tracklets after {part} whole additions and a killed one')
        gallery.append(folder, added)
    held = gallery.open_folder(folder)
    if not np.array_equal(
        held.features.read(0, 2000 * number),
        np.concatenate([some(2000 * i).features.read(0, 2000) for i in range(number)]),
    ):
        problems.append('features differ')
    problems += [f'{path} is left' for path in folder.rglob('*.partial-*')]
    return outcome.Row('an addition to a gallery', killed, 'whole, or nothing; then added', problems)


def in_records(work, number, draw):
    """Each build is killed until one is done: the bytes are those of an undisturbed build."""
    root = render.ensure('', 'tiny', workers=1, progress=False)

    def built(out):
        return child(
            lambda: build.build('synthetic', str(root), str(out), preset='tiny', frames_per_shard=100) and 0,
            work / 'log',
        )

    begun = time.monotonic()
    assert built(work / 'wanted') == 0, (work / 'log').read_text()
    seconds, problems, killed, out = time.monotonic() - begun, [], 0, work / 'records'
    for _ in range(number):
        act = lambda: build.build('synthetic', str(root), str(out), preset='tiny', frames_per_shard=100) and 0  # noqa: E731
        status = child(act, work / 'log', killed_after=draw.uniform(0, seconds))
        killed += status == -9
        if status == 0 or draw.random() < 0.3:
            problems += [] if built(out) == 0 else [f'it does not go on: {(work / "log").read_text()[-300:]}']
            problems += _other_bytes(out, work / 'wanted')
            shutil.rmtree(out)
    problems += [] if built(out) == 0 else [f'it does not go on: {(work / "log").read_text()[-300:]}']
    problems += _other_bytes(out, work / 'wanted')
    return outcome.Row('a build of records', killed, 'continued to the same bytes', problems)


def _other_bytes(out: pathlib.Path, wanted: pathlib.Path):
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob('*') if path.is_file()}
    expected = {path.relative_to(wanted): path.read_bytes() for path in wanted.rglob('*') if path.is_file()}
    return [f'{name} differs' for name in files.keys() | expected.keys() if files.get(name) != expected.get(name)]
