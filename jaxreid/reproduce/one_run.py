"""One training, or one test of another run's training, in a folder of its own; what is finished is read back."""

import dataclasses
import json
import pathlib
import shlex
from typing import Any, TypedDict, cast

from jaxreid import command_line, config, training_loop
from jaxreid.evaluation import evaluate, results
from jaxreid.process import atomic, json_file, metrics_log, transcript


@dataclasses.dataclass(frozen=True)
class Run:
    """One training (or test of another run's training): a row, a seed, and where there are several a split or draw."""

    row: int  # number in the table
    spec: str  # config file and variant
    experiment: config.Experiment
    folder: pathlib.Path
    overrides: tuple[str, ...]  # what the command line adds to the config file

    def command(self) -> str:
        """The command that makes this run alone."""
        parts = ['python', '-m', 'jaxreid.main', '--config', self.spec, *self.overrides, f'--workdir={self.folder}']
        return shlex.join(parts)

    def trained_as(self) -> str:
        """What runs of one training have in common."""
        return json.dumps(config.deciding(self.experiment, 'training'), sort_keys=True)


class Finished(TypedDict):
    """What a run leaves in finished.json.

    config: its settings. trained: whether it trained itself; otherwise `checkpoint_of` names the folder that did.
    row, rows: its first result, and those of all protocols.
    """

    config: dict
    trained: bool
    checkpoint_of: str | None
    row: results.Result
    rows: list[results.Result]


def finished(run: Run) -> Finished | None:
    """What a run left when it finished, where its settings are those asked for and its results are still there."""
    try:
        left = json_file.read(run.folder / 'finished.json', dict[str, Any])
        same = not config.changed(config.from_dict(left['config']), run.experiment, 'test')
        return cast(Finished, left) if same and left['row'] in results.read(run.folder / 'results.json') else None
    except (OSError, ValueError, KeyError):
        return None


def donor(run: Run) -> pathlib.Path | None:
    """Folder of a finished run beside this one, trained just as this one would be."""
    if (run.folder / 'checkpoints').is_dir():
        return None
    for file in sorted(run.folder.parent.glob('*/finished.json')):
        try:
            left = json_file.read(file, dict[str, Any])
            if left['trained'] and not config.changed(config.from_dict(left['config']), run.experiment, 'training'):
                return file.parent
        except (OSError, ValueError, KeyError):
            continue
    return None


def execute(run: Run) -> Finished:
    """Trains and evaluates, or evaluates another run's last step; returns what `finished` will read."""
    command_line.make_workdir(run.folder)
    source = donor(run)
    with transcript.kept(run.folder):
        if source is None:
            rows = training_loop.train_and_evaluate(run.experiment, run.folder, recipe=run.spec)
        else:
            metrics_log.say(f'trained as {source.name}, whose last step is evaluated')
            rows = evaluate.run(run.experiment, run.folder, source, scored=True)
    rows = json.loads(json.dumps(rows))  # as results.json gives them back
    left = Finished(
        config=config.to_dict(run.experiment),
        trained=source is None,
        checkpoint_of=None if source is None else source.name,
        row=rows[0],
        rows=rows,
    )
    atomic.write_json(run.folder / 'finished.json', left)
    return left
