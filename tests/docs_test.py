"""The documentation site: pages made from code are whole, and figures and tables say what the code says."""

import dataclasses
import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest
import yaml

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.reproduce import costs as dry_run
from tests.fixtures import docs_commands

ROOT = pathlib.Path(__file__).resolve().parents[1]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'docs' / 'site' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def make_pages():
    return script('make_pages')


def nav_pages(entries):
    for entry in entries:
        value = entry if isinstance(entry, str) else next(iter(entry.values()))
        yield from [value] if isinstance(value, str) else nav_pages(value)


def test_every_page_is_in_the_navigation_once(make_pages):
    navigation = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']
    pages = list(nav_pages(navigation))
    assert len(pages) == len(set(pages))
    written = {path.name for path in (ROOT / 'docs').glob('*.md')}
    assert set(pages) == written | set(make_pages.pages())


def test_every_module_is_in_the_reference_once(make_pages):
    found = [name for page in make_pages.PAGES for name in make_pages.modules(page)]
    expected = {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        for folder in ('jaxreid', 'data_pipelines')
        for path in (ROOT / folder).rglob('*.py')
        if path.name not in ('__init__.py', '__main__.py')
    }
    assert sorted(found) == sorted(expected)


def test_every_setting_is_on_the_page_with_its_default_and_what_it_means(make_pages):
    lines = [line.split(' | ') for line in make_pages.settings_page().splitlines() if line.startswith('| `')]
    rows = {line[0].strip('| `'): line[1:] for line in lines}
    flat = config.flatten(config.Experiment())
    assert len(lines) == len(rows)
    assert set(rows) == set(flat)
    for name, value in flat.items():
        default, unit, allowed, meaning, affects = rows[name]
        assert eval(default.strip('`')) == value, name
        assert meaning, name
        assert affects.rstrip(' |') in config.EFFECTS, name
        assert (unit, allowed.replace('\\|', '|')) == (config.settings()[name].unit, config.settings()[name].allowed)
    assert rows['sampler.kind'][2].startswith('tracklet_epoch \\| tracklet_epoch_distinct \\|')
    assert rows['optim.lr'][2] == 'above 0'
    assert rows['data.on_corrupt_train'][3].startswith('skip_frame: counted')


@pytest.mark.parametrize('name', ['overview', 'strf', 'stmn', 'sta', 'star', 'ap3d', 'sinet', 'tfclip'])
def test_figures_are_as_the_script_draws_them(name):
    drawn = script('figures').FIGURES[name]()
    assert (ROOT / 'docs' / 'images' / f'flow_{name}.svg').read_text() == drawn, 'run python docs/site/figures.py'


@pytest.mark.parametrize('name', ['strf', 'stmn', 'sta', 'star', 'ap3d', 'sinet', 'tfclip'])
def test_a_system_has_its_figure_equations_options_and_what_differs(name):
    text = (ROOT / 'docs' / f'{name}.md').read_text()
    assert f'(images/flow_{name}.svg)' in text
    assert re.search(r'^#+ Equations$', text, re.MULTILINE)
    assert re.search(r'released (no )?code|public code', text, re.IGNORECASE)


RECIPES = re.findall(
    r'^\| `(\w+)_(\w+)`[^|]*\| (\d+) \| ([\d,]+) \| ([\d.]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$',
    (ROOT / 'docs' / 'recipes.md').read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(('system', 'dataset', 'frames', 'steps', 'gmacs', 'pflop', 'fast', 'slow'), RECIPES)
def test_costs_of_recipes_are_those_of_their_configs(system, dataset, frames, steps, gmacs, pflop, fast, slow):
    experiment = config.validate(importlib.import_module(f'configs.{system}_{dataset}').get_config())
    sampler = experiment.sampler
    assert sampler.num_ids * sampler.tracklets_per_id * sampler.frames == int(frames)
    assert dry_run.planned_steps(experiment) == int(steps.replace(',', ''))
    made = 6 * float(gmacs) * int(frames) * int(steps.replace(',', '')) / 1e6
    assert made == pytest.approx(int(pflop), abs=0.7)
    assert made / 250 / 3.6 == pytest.approx(float(fast), abs=0.006)
    assert made / 20 / 3.6 == pytest.approx(float(slow), abs=0.06)


def test_multiply_accumulates_of_recipes_are_counted():
    assert len(RECIPES) == 11
    for system in ('sta', 'star'):  # the quickest to trace; the others' are in tests/models/cost_test.py
        experiment = config.validate(importlib.import_module(f'configs.{system}_mars').get_config())
        model = build.build(experiment, num_ids=625, dtype='float32')
        size = {'frames': experiment.sampler.frames, 'height': 256, 'width': 128, 'flow': experiment.data.flow != 'off'}
        found = cost.gmacs_per_frame(model, cost.shapes(model, **size), **size)
        (said,) = (float(r[4]) for r in RECIPES if r[:2] == (system, 'mars'))
        assert found == pytest.approx(said, abs=0.005)


def test_the_job_for_kubernetes_is_one_and_its_command_is_understood(monkeypatch):
    text = (ROOT / 'docs' / 'scaling.md').read_text()
    service, job = yaml.safe_load_all(re.search(r'```yaml\n(.*?)```', text, re.DOTALL)[1])
    assert service['spec']['selector'] == {'job-name': job['metadata']['name']}
    pod = job['spec']['template']['spec']
    assert pod['subdomain'] == service['metadata']['name']
    assert {v['name'] for v in pod['volumes']} == {m['name'] for c in pod['containers'] for m in c['volumeMounts']}
    (container,) = pod['containers']
    command = docs_commands.Command('docs/scaling.md', 0, tuple(container['command']), 'GKE')
    docs_commands.check(command, monkeypatch)
    wrong = dataclasses.replace(command, words=tuple(w.replace('--distr', '--dist') for w in command.words))
    with pytest.raises(Exception, match='distibuted'):
        docs_commands.check(wrong, monkeypatch)


def test_the_script_for_slurm_asks_for_a_task_per_gpu():
    text = (ROOT / 'docs' / 'scaling.md').read_text()
    asked = dict(re.findall(r'^#SBATCH --([\w-]+)=(\S+)$', text, re.MULTILINE))
    assert asked['ntasks-per-node'] == asked['gpus-per-node']
    devices = int(asked['nodes']) * int(asked['gpus-per-node'])
    words = shlex.split(re.search(r'^srun (.*?)\n```', text, re.MULTILINE | re.DOTALL)[1].replace('\\\n', ''))
    ids = next(int(w.split('=')[1]) for w in words if w.startswith('--config.sampler.num_ids='))
    experiment = importlib.import_module('configs.strf_mars').get_config()
    assert ids * experiment.sampler.tracklets_per_id % devices == 0
    assert experiment.test.batch_clips % devices == 0


def test_pages_are_made_as_files_and_those_of_modules_that_are_gone_go(make_pages, tmp_path, monkeypatch):
    monkeypatch.setattr(make_pages, 'DOCS', tmp_path)
    (tmp_path / 'api').mkdir()
    (tmp_path / 'api' / 'gone.md').write_text('# Gone')
    (tmp_path / 'written.md').write_text('# Written')
    make_pages.main()
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.md')}
    assert made == {'written.md', 'settings.md', 'api/index.md', *(f'api/{page}.md' for page in make_pages.PAGES)}
    assert '::: jaxreid.losses.triplet\n' in (tmp_path / 'api' / 'losses.md').read_text()
    ignored = (ROOT / '.gitignore').read_text().split('\n')
    assert {'/docs/settings.md', '/docs/api/'} <= set(ignored)
