"""The training loop: data, model, optimizer, start or resume, steps, evaluations, results. Reads top to bottom."""

import collections
import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax
import tqdm

from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.batches import train_pipeline
from jaxreid.data.datasets import catalogue
from jaxreid.data.stores import device_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate, network, results
from jaxreid.evaluation.references import compute as references
from jaxreid.models import build
from jaxreid.process import freed_memory, interrupt, metrics_log, whole
from jaxreid.training import checkpoint, optimizer, step
from jaxreid.weights import rendered, start


class NonFiniteLoss(ValueError):
    """A term of the objective, or the gradient, is no longer a number."""


def train_and_evaluate(experiment: config.Experiment, workdir: pathlib.Path) -> list[results.Result]:
    """Trains to the end (continuing what `workdir` holds), evaluates, and writes everything there.

    Args:
      experiment: validated settings.
      workdir: receives checkpoints/, best/, metrics.jsonl, tensorboard/, features.npz, results.json.

    Returns:
      The rows of the final evaluation, also in results.json.

    Raises:
      checkpoint.CheckpointError: the workdir belongs to another run or model, or cannot be written.
      NonFiniteLoss: names step and terms; the last good checkpoint stays.
      interrupt.Interrupted: a signal came; the state is saved.
    """
    clock = time.monotonic()
    first = jax.process_index() == 0
    mesh = sharding.make_mesh()
    clips_per_step = experiment.sampler.num_ids * experiment.sampler.tracklets_per_id
    sharding.check_divides(clips_per_step, mesh)
    sharding.check_divides(experiment.test.batch_clips, mesh)
    if experiment.backbone.init == 'rendered':
        make_rendered_start(experiment.backbone)
    earlier = results.read(workdir / 'results.json')  # before any work: a file of something else stops here

    # Data.
    dataset = source.read(experiment.data)
    tracklet.check_answerable(dataset)
    labels = tracklet.label_map(dataset.train)
    sampler = train_pipeline.sampler(dataset.train, experiment)
    steps_per_epoch = sampler.steps_per_epoch
    all_steps = experiment.train.epochs * steps_per_epoch
    last_step = min(all_steps, experiment.train.max_steps or all_steps)
    data_seconds = time.monotonic() - clock

    # Model and optimizer.
    dtype = step.compute_dtype(experiment.train.compute_dtype)
    model = build.build(experiment, num_ids=len(labels), dtype=dtype, axis_name=sharding.AXIS)
    plain_model = build.build(experiment, num_ids=len(labels), dtype=dtype)
    schedule = optimizer.learning_rate(
        experiment.optim, steps_per_epoch=steps_per_epoch, epochs=experiment.train.epochs
    )
    adam = optimizer.build(experiment.optim, steps_per_epoch=steps_per_epoch, epochs=experiment.train.epochs)

    # Start: a checkpoint of this workdir, else ImageNet, else (asked for by name) random.
    newest = checkpoint.Checkpoints(workdir / 'checkpoints', keep=2)
    best = checkpoint.Checkpoints(workdir / 'best', keep=1)
    start_step = newest.latest()
    if start_step is None:
        start.check(experiment.backbone)  # says what is missing before anything is compiled
        variables, came_from = first_variables(plain_model, experiment)
        state = sharding.copy_to_all(step.create_state(variables, adam, experiment.train.seed), mesh)
        del variables
        start_step = 0
    else:
        saved = checkpoint.read_meta(newest.directory, start_step)
        checkpoint.check_same_run(saved, experiment, workdir)
        check_labels(saved, labels, dataset.pid_names, workdir)
        if start_step > last_step:
            raise checkpoint.CheckpointError(
                f'{workdir} is trained to step {start_step} already, beyond the {last_step} steps asked for; '
                'evaluate it with --mode eval, or use another --workdir'
            )
        state = restore_state(plain_model, experiment, adam, newest.directory, start_step, mesh)
        came_from = f'checkpoint of step {start_step}'
    best_step = best.latest()
    best_score = None if best_step is None else checkpoint.read_meta(best.directory, best_step)['score']
    meta: checkpoint.Meta = {
        'config': config.to_dict(experiment),
        'labels': {str(pid): label for pid, label in labels.items()},
        'pid_names': {str(pid): name for pid, name in dataset.pid_names.items()},
        'steps_per_epoch': steps_per_epoch,
        'versions': {'jax': jax.__version__, 'optax': optax.__version__},
    }
    train_step = step.make_train_step(model, experiment, adam, mesh)

    metrics_log.say(
        f'{len(labels)} training ids, {len(dataset.train)} tracklets; {len(dataset.test)} test tracklets, '
        f'{int(dataset.query.sum())} queries (indexed in {data_seconds:.1f} s)'
    )
    if (
        len(labels) != experiment.data.num_ids
        and catalogue.find(experiment.data.dataset).num_ids
        and not experiment.data.also
    ):
        metrics_log.say(
            f'note: the config expects {experiment.data.num_ids} training ids, the data has {len(labels)}, which counts'
        )
    metrics_log.say(
        f'{steps_per_epoch} steps per epoch, {last_step} steps in all, {clips_per_step} clips x '
        f'{experiment.sampler.frames} frames a step, {mesh.size} device(s) ({jax.devices()[0].device_kind}), {dtype}; '
        f'start: {came_from}'
    )

    log = metrics_log.MetricsLog(workdir, start_step=start_step) if first else None
    pending: collections.deque = collections.deque()  # metrics still on the device
    window = Window(clips_per_step)

    def check(leave: int) -> dict[str, float]:
        """Fetches the metrics of all but the `leave` newest dispatches; stops the run where one is not finite."""
        newest_values: dict[str, float] = {}
        while len(pending) > leave:
            steps, metrics = pending.popleft()
            metrics = jax.device_get(metrics)
            if problem := not_finite(steps, metrics):
                newest.wait()
                good = newest.latest()
                last_good = (
                    'no checkpoint is written yet' if good is None else f'the last good checkpoint is step {good}'
                )
                raise NonFiniteLoss(
                    f'{problem}; {last_good}. Try a lower --config.optim.lr, a warm-up, or '
                    '--config.train.compute_dtype=float32 in a new --workdir.'
                )
            newest_values = {k: float(v[-1]) for k, v in metrics.items()}
        return newest_values

    def trained(at: int) -> network.Network:
        variables = {'params': state.params, 'batch_stats': state.batch_stats}
        return network.Network(experiment, plain_model, variables, meta, at, mesh)

    def monitor(at: int) -> None:
        nonlocal best_score
        found = trained(at).features(dataset, clips=experiment.test.monitor_clips, label='monitor')
        row = evaluate.score(found, experiment, selected='monitoring')[0]
        metrics_log.say(
            f'step {at}: mAP {row["mAP"]:.2f}, rank-1 {row["cmc"]["1"]:.2f} ({row["protocol"]["clips"]}, monitoring)'
        )
        if log:
            log.write(at, {'test/mAP': row['mAP'], 'test/rank1': row['cmc']['1']})
            results.append(workdir / 'results.json', [row])
        if best_score is None or row['mAP'] > best_score['mAP']:
            best_score = {'mAP': row['mAP'], 'rank1': row['cmc']['1'], 'step': at, 'clips': row['protocol']['clips']}
            best.save(at, state, {**meta, 'score': best_score, 'selected': 'on the test set'})

    decoding = time.monotonic()
    store = source.training_store(experiment.data, dataset, mesh)  # after the state: what memory is left is known
    frames = store.frames if isinstance(store, device_store.DeviceStore) else None
    data_seconds += time.monotonic() - decoding
    batches = train_pipeline.batches(
        dataset.train,
        store,
        labels,
        experiment,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    bar = tqdm.tqdm(total=last_step, initial=start_step, desc='train', unit='step', disable=not first, mininterval=0.5)
    every = experiment.train.eval_every_epochs * steps_per_epoch

    def monitored(at: int) -> bool:
        return bool(every) and at > 0 and at % every == 0

    def logged(at: int) -> bool:
        return at % experiment.train.log_every_steps == 0 or at == last_step

    def kept(at: int) -> bool:
        return monitored(at) or at == last_step or at % experiment.train.checkpoint_every_steps == 0

    with batches, interrupt.listen() as requests, freed_memory.kept() as keep_freed:
        if monitored(start_step) and not any((r['step'], r['selected']) == (start_step, 'monitoring') for r in earlier):
            with requests.at_once():
                monitor(start_step)  # the run was stopped between this checkpoint and its evaluation
        for number, steps in enumerate(
            dispatches(start_step, last_step, experiment.train.steps_per_dispatch, lambda at: logged(at) or kept(at))
        ):
            at = steps[-1]
            waited = time.monotonic()
            together = [next(batches) for _ in steps]
            waited = time.monotonic() - waited
            state, metrics = train_step(state, sharding.shard_steps(together, mesh), frames)
            pending.append((steps, metrics))
            logging = logged(at) or number == 0
            values = check(leave=0 if logging else 2)
            keep_freed()
            window.add(waited, len(steps))
            if logging:
                rates = window.rates()
                lr = float(schedule(at - 1))
                bar.set_postfix_str(
                    f'loss {values["loss"]:.3f} (ce {values["cross_entropy"]:.3f}, triplet {values["triplet"]:.3f}), '
                    f'lr {lr:.1e}, {rates["clips_per_second"]:.0f} clips/s, waiting {rates["waiting_for_data"]:.0%}',
                    refresh=False,
                )
            bar.update(len(steps))
            if logging and log:
                log.write(at, values | rates | {'learning_rate': lr, 'skipped_frames': batches.skipped})
            stop = requests.after(number)
            if stop or kept(at):
                check(leave=0)
                newest.save(at, state, meta)
            if stop:
                newest.wait()
                raise interrupt.Interrupted(
                    requests.number or 15, f'stopped after step {at}, saved; run the same command again to continue'
                )
            if monitored(at):
                newest.wait()
                with requests.at_once():
                    monitor(at)
                window.restart()
        newest.wait()
        bar.close()
        train_seconds = time.monotonic() - clock - data_seconds

        # The headline: the last step by the paper's protocol.
        with requests.at_once():
            found = trained(last_step).features(dataset)
            rows = evaluate.score(found, experiment, selected='last step')
            if experiment.data.dataset == 'synthetic' and experiment.test.references:
                untrained = sharding.copy_to_all(first_variables(plain_model, experiment)[0], mesh)
                rows[0]['references'] = references.compute(
                    trained(last_step), dataset, untrained=untrained, found=found
                )
    newest.close()
    best.close()
    metrics_log.say('\n' + results.table(rows))
    if 'references' in rows[0]:
        metrics_log.say(references.table(rows[0]))
    if log:
        found.save(workdir / 'features.npz')
        results.append(workdir / 'results.json', rows)
        log.write(last_step, {'test/final_mAP': rows[0]['mAP'], 'test/final_rank1': rows[0]['cmc']['1']})
        log.close()
    seconds = time.monotonic() - clock
    metrics_log.say(closing(workdir, rows, best_score, best.directory, data_seconds, train_seconds, seconds))
    return rows


def dispatches(start_step: int, last_step: int, most: int, pauses: Callable[[int], bool]) -> Iterator[range]:
    """Steps that go to the devices together: `most`, or one where a step before the last of them needs the host.

    Nothing between, for every number of steps is a program of its own, which takes long to compile.

    Args:
      start_step, last_step: the steps after the first to the second are made.
      most: steps of a dispatch.
      pauses: whether the host has something to do after a step; it has after `last_step`.
    """
    while start_step < last_step:
        steps = range(start_step + 1, start_step + 1 + most)
        steps = steps[:1] if any(map(pauses, steps[:-1])) else steps
        yield steps
        start_step = steps[-1]


def not_finite(steps: range, metrics: dict[str, np.ndarray]) -> str:
    """Names the first of the steps whose metrics, [S] each, are not all finite, and which are not; '' where all are."""
    for i, at in enumerate(steps):
        if terms := [f'{k} is {v[i]}' for k, v in metrics.items() if not math.isfinite(v[i])]:
            return f'step {at}: {", ".join(terms)}'
    return ''


def first_variables(model: Any, experiment: config.Experiment) -> tuple[dict, str]:
    """Parameters before training, as `backbone.init` asks, and what they are in words."""
    key = jax.random.fold_in(jax.random.key(experiment.train.seed), 0xF1A)
    return start.initialise(step.init_variables(model, experiment, key), experiment)


def make_rendered_start(backbone: config.Backbone) -> None:
    """Trains the network that `backbone.init=rendered` starts from, where the cache lacks it: a few minutes, once."""
    folder = rendered.folder(backbone)
    folder.mkdir(parents=True, exist_ok=True)
    # The processes of one run train it together.
    alone = whole.lock(folder) if jax.process_count() == 1 else contextlib.nullcontext()
    with alone:
        if not rendered.is_trained(backbone):
            metrics_log.say(f'first, and once, the network that training starts from: {folder}')
            train_and_evaluate(rendered.experiment(backbone), folder)


def restore_state(
    model: Any,
    experiment: config.Experiment,
    adam: optax.GradientTransformation,
    folder: pathlib.Path,
    at_step: int,
    mesh: jax.sharding.Mesh,
) -> step.TrainState:
    """The full state of a checkpoint, on every device of the mesh."""
    abstract = jax.eval_shape(
        lambda: step.create_state(
            step.init_variables(model, experiment, jax.random.key(0)), adam, experiment.train.seed
        )
    )
    placed = checkpoint.abstract_like(abstract, jax.sharding.NamedSharding(mesh, sharding.COPIED))
    return checkpoint.restore(folder, at_step, placed)


def check_labels(
    saved: checkpoint.Meta, labels: dict[int, int], pid_names: Mapping[int, str], workdir: pathlib.Path
) -> None:
    """Refuses to continue on other identities than the run began with."""
    before = {label: saved.get('pid_names', {}).get(pid, pid) for pid, label in saved['labels'].items()}
    if before != {label: pid_names.get(pid, str(pid)) for pid, label in labels.items()}:
        raise checkpoint.CheckpointError(
            f'{workdir} was trained on {len(saved["labels"])} identities, and not on these {len(labels)}; '
            'check --config.data.root or use another --workdir'
        )


@dataclasses.dataclass
class Window:
    """Rates since the last report."""

    clips_per_step: int
    steps: int = 0
    waited: float = 0.0
    since: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, waited: float, steps: int) -> None:
        """Counts steps that together waited so many seconds for their batches."""
        self.steps += steps
        self.waited += waited

    def restart(self) -> None:
        """Begins anew."""
        self.steps, self.waited, self.since = 0, 0.0, time.monotonic()

    def rates(self) -> dict[str, float]:
        """Clips per second and the share of time spent waiting for data; begins anew."""
        seconds = max(time.monotonic() - self.since, 1e-9)
        rates = {
            'clips_per_second': self.steps * self.clips_per_step / seconds,
            'waiting_for_data': min(self.waited / seconds, 1.0),
        }
        self.restart()
        return rates


def closing(
    workdir: pathlib.Path,
    rows: list[results.Result],
    best_score: checkpoint.Monitored | None,
    best_directory: pathlib.Path,
    data_seconds: float,
    train_seconds: float,
    seconds: float,
) -> str:
    """The last lines of a run: the numbers, and where everything is."""
    row = rows[0]
    lines = [
        '',
        f'mAP {row["mAP"]:.2f}, rank-1 {row["cmc"]["1"]:.2f} under {row["protocol"]["name"]}, last step {row["step"]}',
    ]
    if best_score:
        lines.append(
            f'best monitored: mAP {best_score["mAP"]:.2f}, rank-1 {best_score["rank1"]:.2f} '
            f'({best_score["clips"]}, selected on the test set), step {best_score["step"]}: {best_directory}'
        )
    lines += [
        f'checkpoint  {workdir / "checkpoints" / str(row["step"])}',
        f'features    {workdir / "features.npz"}',
        f'results     {workdir / "results.json"}',
        f'logs        {workdir / "metrics.jsonl"} and tensorboard --logdir {workdir / "tensorboard"}',
        f'time        {seconds:.0f} s: data {data_seconds:.0f} s, training with compilation {train_seconds:.0f} s, '
        f'evaluation {seconds - data_seconds - train_seconds:.0f} s',
    ]
    return '\n'.join(lines)
