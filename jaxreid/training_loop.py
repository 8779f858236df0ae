"""The training loop: data, model, optimizer, start or resume, steps, evaluations, results. Reads top to bottom."""

import contextlib
import functools
import importlib.util
import pathlib
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
import tqdm

from jaxreid import command_line, config, sharding
from jaxreid.clip_memory import identity_memory
from jaxreid.data import source
from jaxreid.data.batches import train_pipeline
from jaxreid.data.datasets import catalogue
from jaxreid.data.stores import damaged_frames, device_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate, feature_file, network, results, uncertainty
from jaxreid.evaluation.references import compute as references
from jaxreid.models import build
from jaxreid.process import atomic, exit_status, freed_memory, interrupt, metrics_log
from jaxreid.training import checkpoint, optimizer, resume, schedule, step
from jaxreid.training import in_flight as flight
from jaxreid.visualize import svg, training_curves
from jaxreid.weights import rendered, start


def train_and_evaluate(
    experiment: config.Experiment, workdir: pathlib.Path, *, recipe: str = ''
) -> list[results.Result]:
    """Trains to the end (continuing what `workdir` holds), evaluates, and writes everything there.

    Args:
      experiment: validated settings.
      workdir: receives checkpoints/, best/, settings.toml, metrics.jsonl, curves.svg, tensorboard/, features.npz,
        results.json.
      recipe: the config file, or its name, that `experiment` was made from; settings.toml says what differs from it.

    Returns:
      The rows of the final evaluation, also in results.json.

    Raises:
      checkpoint.CheckpointError: the workdir belongs to another run or model, or cannot be written.
      OSError: another process trains there.
      in_flight.NonFiniteLoss: names step and terms; the last good checkpoint stays.
      interrupt.Interrupted: a signal came; the state is saved.
    """
    if experiment.backbone.init == 'rendered':
        make_rendered_start(experiment)
    workdir.mkdir(parents=True, exist_ok=True)
    # The processes of one run train together: the first of them keeps others out.
    alone = atomic.alone(workdir, doing='training in') if jax.process_index() == 0 else contextlib.nullcontext()
    with alone:
        return _train_and_evaluate(experiment, workdir, recipe)


def _train_and_evaluate(experiment: config.Experiment, workdir: pathlib.Path, recipe: str) -> list[results.Result]:
    clock = time.monotonic()
    mesh = sharding.make_mesh()
    clips_per_step = experiment.sampler.num_ids * experiment.sampler.tracklets_per_id
    sharding.check_divides(clips_per_step, mesh)
    sharding.check_divides(experiment.test.batch_clips, mesh)
    # Before any work: a file of something else stops here.
    evaluated = {(row['step'], row['selected']) for row in results.read(workdir / 'results.json')}

    # Data.
    dataset = source.read(experiment.data)
    tracklet.check_answerable(dataset)
    labels = tracklet.label_map(dataset.train)
    steps_per_epoch = train_pipeline.sampler(dataset.train, experiment).steps_per_epoch
    plan = schedule.Schedule(experiment.train, steps_per_epoch)
    data_seconds = time.monotonic() - clock
    metrics_log.say(opening(experiment, dataset, len(labels), data_seconds))

    # Model and optimizer.
    dtype = step.compute_dtype(experiment.train.compute_dtype)
    model = build.build(experiment, num_ids=len(labels), dtype=dtype, axis_name=sharding.AXIS)
    plain_model = build.build(experiment, num_ids=len(labels), dtype=dtype)
    length = {'steps_per_epoch': steps_per_epoch, 'epochs': experiment.train.epochs}
    learning_rate = optimizer.learning_rate(experiment.optim, **length)
    adam = optimizer.build(experiment.optim, **length)

    # Start: a checkpoint of this workdir, else ImageNet, else (asked for by name) random.
    meta = describe(experiment, dataset, labels, steps_per_epoch)
    newest = checkpoint.Checkpoints(workdir / 'checkpoints', keep=2)
    best = checkpoint.Best(workdir / 'best')
    untrained = functools.partial(start.first_variables, plain_model, experiment)
    state, start_step, came_from = resume.start_or_resume(
        plain_model, experiment, adam, newest, meta, mesh, last_step=plan.last_step,
        first_variables=functools.partial(identity_memory.first_variables, untrained, experiment, dataset, mesh),
    )  # fmt: skip
    train_step = step.make_train_step(model, experiment, adam, mesh)
    metrics_log.say(outlook(experiment, plan, mesh, dtype, came_from))

    log = metrics_log.MetricsLog(workdir, start_step=start_step) if jax.process_index() == 0 else None
    if log:
        atomic.write(workdir / 'settings.toml', command_line.settings_text(experiment, recipe))
    in_flight = flight.InFlight(newest, dtype)
    window = flight.Window(clips_per_step)

    def trained(at: int) -> network.Network:
        return network.Network(experiment, plain_model, state.variables, meta, at, mesh)

    def monitor(at: int) -> None:
        score, row = score_amid(trained(at), dataset)
        best.offer(score, state, meta)
        if log:  # last: who finds the row finds the checkpoint too
            record(log, workdir, at, {'test/mAP': score['mAP'], 'test/rank1': score['rank1']}, [row])

    decoding = time.monotonic()
    damaged = damaged_frames.DamagedFrames(workdir, of=sum(len(one.frames) for one in dataset.train))
    # After the state: what memory is left is known.
    store = source.training_store(experiment.data, dataset, mesh, damaged=str(damaged.file))
    frames = store.frames if isinstance(store, device_store.DeviceStore) else None
    data_seconds += time.monotonic() - decoding
    batches = train_pipeline.batches(dataset.train, store, labels, experiment, start_step=start_step, mesh=mesh)
    bar = tqdm.tqdm(disable=True)  # from the second step on: the first compiles, and would make the estimate useless
    with batches, interrupt.listen() as requests, freed_memory.kept() as keep_freed:
        if plan.monitored(start_step) and (start_step, 'monitoring') not in evaluated:
            with requests.at_once():
                monitor(start_step)  # the run was stopped between this checkpoint and its evaluation
        for number, steps in enumerate(plan.dispatches(start_step)):
            at = steps[-1]
            waited = time.monotonic()
            together = [next(batches) for _ in steps]
            waited = time.monotonic() - waited
            if number == 0:
                metrics_log.say('compiling the training step, once: this takes from seconds to some minutes')
            state, metrics = train_step(state, sharding.shard_steps(together, mesh), frames)
            in_flight.add(steps, metrics)
            logging = plan.logged(at) or number == 0
            values = in_flight.fetch(leave=0 if logging else 2)
            keep_freed()
            window.add(waited, len(steps))
            if number == 0:
                bar = progress_bar(plan.last_step, at, shown=log is not None)
            else:
                bar.update(len(steps))
            if logging:
                values |= window.rates() | {'learning_rate': float(learning_rate(at - 1))}
                bar.set_postfix_str(progress(values))
            if logging and log:
                log.write(at, values | {'skipped_frames': batches.skipped})
                damaged.tell()
            stop = requests.after(number)
            if stop or plan.kept(at):
                in_flight.fetch(leave=0)
                newest.save(at, state, meta)
                if log:
                    draw_curves(workdir)
            if stop:
                newest.wait()
                raise requests.stopped(at)
            if plan.monitored(at):
                newest.wait()
                with requests.at_once():
                    monitor(at)
                window.restart()
        newest.wait()
        bar.close()
        train_seconds = time.monotonic() - clock - data_seconds

        # The headline: the last step by the paper's protocol.
        with requests.at_once():
            features, rows = headline(trained(plan.last_step), dataset, untrained)
    newest.close()
    best.checkpoints.close()
    metrics_log.say(scores(rows))
    if log:
        features.save(workdir / 'features.npz')
        final = {'test/final_mAP': rows[0]['mAP'], 'test/final_rank1': rows[0]['cmc']['1']}
        record(log, workdir, plan.last_step, final, rows)
        log.close()
    seconds = time.monotonic() - clock
    metrics_log.say(closing(workdir, rows[0], best, data_seconds, train_seconds, seconds, damaged.summary()))
    return rows


def make_rendered_start(experiment: config.Experiment) -> None:
    """Trains the network that `backbone.init=rendered` starts from, where the cache lacks it: a few minutes, once."""
    folder = rendered.folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    # The processes of one run train it together.
    alone = atomic.lock(folder) if jax.process_count() == 1 else contextlib.nullcontext()
    with alone:
        if not rendered.is_trained(experiment):
            metrics_log.say(f'the network that training starts from is trained first, once: {folder}')
            train_and_evaluate(rendered.experiment(experiment), folder)


def describe(
    experiment: config.Experiment, dataset: tracklet.Dataset, labels: Mapping[int, int], steps_per_epoch: int
) -> checkpoint.Meta:
    """What stands beside every checkpoint of the run."""
    return checkpoint.Meta(
        config=config.to_dict(experiment),
        labels={str(pid): label for pid, label in labels.items()},
        pid_names={str(pid): name for pid, name in dataset.pid_names.items()},
        steps_per_epoch=steps_per_epoch,
        versions={'jax': jax.__version__, 'optax': optax.__version__},
    )


def score_amid(trained: network.Network, dataset: tracklet.Dataset) -> tuple[checkpoint.Monitored, results.Result]:
    """Scores the network amid training, by `test.monitor_clips`, and says it."""
    features = trained.features(dataset, clips=trained.experiment.test.monitor_clips, label='monitor')
    row = evaluate.score(features, trained.experiment, selected='monitoring')[0]
    score = checkpoint.Monitored(
        mAP=row['mAP'], rank1=row['cmc']['1'], step=trained.step, clips=row['protocol']['clips']
    )
    for warning in row.get('warnings', []):
        metrics_log.say(f'step {trained.step}: warning: {exit_status.printable(warning)}')
    metrics_log.say(
        f'step {trained.step}: mAP {score["mAP"]:.2f}, rank-1 {score["rank1"]:.2f} ({score["clips"]}, monitoring)'
    )
    return score, row


def record(
    log: metrics_log.MetricsLog,
    workdir: pathlib.Path,
    at: int,
    values: Mapping[str, float],
    rows: list[results.Result],
) -> None:
    """Writes the scores of a step to the logs, to results.json and into the curves."""
    log.write(at, values)
    results.append(workdir / 'results.json', rows)
    draw_curves(workdir)


def draw_curves(workdir: pathlib.Path) -> None:
    """Makes `curves.svg` of all that metrics.jsonl holds."""
    if drawn := training_curves.charts(metrics_log.read(workdir)):
        atomic.write(workdir / 'curves.svg', svg.document(*drawn.values()))


def headline(
    trained: network.Network, dataset: tracklet.Dataset, untrained: Callable[[], tuple[dict, str]]
) -> tuple[feature_file.Features, list[results.Result]]:
    """Features and scores of the last step; with its references where the data set is rendered."""
    features = trained.features(dataset)
    rows = evaluate.score(features, trained.experiment, selected='last step')
    if trained.experiment.data.dataset == 'synthetic' and trained.experiment.test.references:
        before = sharding.copy_to_all(untrained()[0], trained.mesh)
        rows[0]['references'] = references.compute(trained, dataset, untrained=before, features=features)
    return features, rows


def opening(
    experiment: config.Experiment,
    dataset: tracklet.Dataset,
    num_ids: int,
    data_seconds: float,
) -> str:
    """The first lines of a run: what is trained and tested on."""
    data = experiment.data
    lines = [
        f'{num_ids} training ids, {len(dataset.train)} tracklets; {len(dataset.test)} test tracklets, '
        f'{int(dataset.query.sum())} queries (indexed in {data_seconds:.1f} s)'
    ]
    if num_ids != data.num_ids and catalogue.find(data.dataset).num_ids and not data.also:
        lines.append(f'note: the config expects {data.num_ids} training ids, but the data has {num_ids} and decides')
    lines.append('making the network')
    return '\n'.join(lines)


def outlook(
    experiment: config.Experiment, plan: schedule.Schedule, mesh: jax.sharding.Mesh, dtype: jnp.dtype, came_from: str
) -> str:
    """The line after that: how long a run is, on what, and from where it starts."""
    sampler = experiment.sampler
    return (
        f'{plan.steps_per_epoch} steps per epoch, {plan.last_step} steps in all, '
        f'{sampler.num_ids * sampler.tracklets_per_id} clips x {sampler.frames} frames a step, {mesh.size} device(s) '
        f'({jax.devices()[0].device_kind}), {dtype}; start: {came_from}'
    )


def progress_bar(last_step: int, made: int, *, shown: bool) -> tqdm.tqdm:
    """Of a training that has made some of its steps; it estimates the rest by those that follow."""
    return tqdm.tqdm(total=last_step, initial=made, desc='train', unit='step', disable=not shown, mininterval=0.5)


def progress(values: Mapping[str, float]) -> str:
    """What the progress bar says beside the steps."""
    return (
        f'loss {values["loss"]:.3f} (ce {values["cross_entropy"]:.3f}, triplet {values["triplet"]:.3f}), '
        f'lr {values["learning_rate"]:.1e}, {values["clips_per_second"]:.0f} clips/s, '
        f'waiting {values["waiting_for_data"]:.0%}'
    )


def scores(rows: list[results.Result]) -> str:
    """The table of the last step, with its references."""
    return '\n'.join(['', results.table(rows), *([references.table(rows[0])] if 'references' in rows[0] else [])])


def closing(
    workdir: pathlib.Path,
    row: results.Result,
    best: checkpoint.Best,
    data_seconds: float,
    train_seconds: float,
    seconds: float,
    damaged: str,
) -> str:
    """The last lines of a run: the numbers, and where everything is."""
    lines = [
        '',
        f'mAP {row["mAP"]:.2f}, rank-1 {row["cmc"]["1"]:.2f} under {row["protocol"]["name"]}, last step {row["step"]}',
    ]
    if few := uncertainty.sentence(row):
        lines.append(few)
    if score := best.score:
        lines.append(
            f'best monitored: mAP {score["mAP"]:.2f}, rank-1 {score["rank1"]:.2f} ({score["clips"]}, selected on the '
            f'test set), step {score["step"]}: {best.checkpoints.directory}'
        )
    if damaged:
        lines.append(damaged)
    lines += [
        f'checkpoint  {workdir / "checkpoints" / str(row["step"])}',
        f'features    {workdir / "features.npz"}',
        f'results     {workdir / "results.json"}',
        f'curves      {workdir / "curves.svg"}, made of metrics.jsonl'
        + (f'; tensorboard --logdir {workdir / "tensorboard"}' if importlib.util.find_spec('tensorboard') else ''),
        f'logs        {workdir / "log.txt"}, and the settings {workdir / "settings.toml"}',
        f'time        {seconds:.0f} s: data {data_seconds:.0f} s, training with compilation {train_seconds:.0f} s, '
        f'evaluation {seconds - data_seconds - train_seconds:.0f} s',
    ]
    return '\n'.join(lines)
