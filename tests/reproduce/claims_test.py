"""The claims: rows that exist, trainings that are shared and counted once, what a result gives, and refusals."""

import dataclasses
import importlib
import json
import pathlib

import numpy as np
import pytest

from jaxreid import command_line, config
from jaxreid.data.synthetic import attributes
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.evaluation import feature_file, results
from jaxreid.reproduce import claims, claims_page, one_run
from jaxreid.reproduce.published import claims as published

ROW = {'mAP': 50.0, 'cmc': {'1': 60.0}, 'step': 2, 'selected': 'last step', 'protocol': {'name': 'mars-paper'}}
STRATA = [
    {'attribute': 'hidden_stripe', 'stratum': '1', 'queries': 10, 'mAP': 40.0, 'rank1': 50.0},
    {'attribute': 'hidden_stripe', 'stratum': '3', 'queries': 30, 'mAP': 20.0, 'rank1': 30.0},
    {'attribute': 'hidden_stripe', 'stratum': 'none', 'queries': 100, 'mAP': 90.0, 'rank1': 90.0},
    {'attribute': 'view', 'stratum': '1', 'queries': 100, 'mAP': 90.0, 'rank1': 90.0},
]


def plan(tmp_path, *arguments):
    options, overrides = claims.parse([f'--workdir={tmp_path}', *arguments])
    return claims.plan(options, overrides)


def finish(run, row=ROW, *, trained=True, checkpoint_of=None):
    """Leaves what a finished run leaves."""
    results.append(run.folder / 'results.json', [row])
    left = {'config': config.to_dict(run.experiment), 'trained': trained, 'checkpoint_of': checkpoint_of, 'row': row}
    (run.folder / 'finished.json').write_text(json.dumps(left))
    return one_run.finished(run)


@pytest.mark.parametrize('name', published.CLAIMS)
def test_both_rows_are_variants_on_every_data_set(name):
    claim = published.CLAIMS[name]
    assert claim.row != claim.against
    for dataset in claims.datasets():
        file = pathlib.Path(f'configs/{claim.system}_{dataset}.py')
        if file.is_file():
            variants = importlib.import_module(f'configs.{claim.system}_{dataset}').VARIANTS
            assert {claim.row, claim.against} <= set(variants)
            if dataset == 'synthetic':
                assert set(claim.rendered.split(',')) <= set(variants)
    assert claim.rendered.split(',')[-1] in synthetic_plan.PRESETS


@pytest.mark.parametrize('claim', [one for one in published.CLAIMS.values() if one.stratum], ids=lambda one: one.says)
def test_the_queries_of_a_claim_are_among_the_attributes_of_its_preset(claim):
    made = synthetic_plan.make_plan(synthetic_plan.PRESETS[claim.rendered])
    seen = {attributes.of(made, made.tracklets['test'][row])[claim.stratum[0]] for row in made.queries}
    assert set(claim.stratum[1]) < seen


def test_what_the_papers_are_known_for_is_claimed():
    made = {(one.system, one.row, one.against) for one in published.CLAIMS.values()}
    for block in ('p3da', 'p3db', 'p3dc', 'i3d'):
        assert ('strf', f'table2_{block}', f'table2_{block}_plain') in made
    for branch in ('t_tau', 't_sigma', 's_tau', 's_sigma'):
        assert ('strf', f'table4_{branch}', 'table2_p3dc_plain') in made
    for row in ('table3_lsta', 'lsta_branch', 'figure4a_cbam', 'table3_cbam'):
        assert ('star', row, 'figure4a_none') in made
    assert {one.system for one in published.CLAIMS.values()} == {'strf', 'ap3d', 'stmn', 'sta', 'star'}
    assert [name for name, one in published.CLAIMS.items() if one.expected == 'loss'] == ['strf-ffm-only']


def test_rows_that_several_claims_have_are_trained_once(tmp_path):
    pairs = plan(tmp_path, '--dataset=synthetic', '--seeds=0,1')
    every = claims.trainings(pairs)
    assert len({run.folder for run in every}) == len(every)
    assert len({run.trained_as() for run in every}) == len(every) - 2  # P3D-C on misaligned is AP3D's row and STRF's
    assert len(pairs) == 2 * len(published.CLAIMS)
    by_name = {pair.name: pair for pair in pairs if pair.seed == 0}
    assert by_name['star-lsta'].against is by_name['star-cbam'].against
    assert by_name['strf-t-tau'].against is by_name['strf-p3dc-misaligned'].against
    assert by_name['strf-p3dc'].against is not by_name['strf-p3dc-misaligned'].against


def test_seeds_are_run_one_after_the_other_and_claims_in_the_order_asked_for(tmp_path):
    pairs = plan(tmp_path, '--dataset=synthetic', '--seeds=3,1', '--claims=sta-reg,stmn-tm')
    assert [(pair.seed, pair.name) for pair in pairs] == [
        (3, 'sta-reg'), (3, 'stmn-tm'), (1, 'sta-reg'), (1, 'stmn-tm'),
    ]  # fmt: skip
    assert {pair.row.experiment.train.seed for pair in pairs[:2]} == {3}


def test_a_row_on_the_rendered_benchmark_is_short_and_starts_from_the_rendered_network(tmp_path):
    pair = plan(tmp_path, '--dataset=synthetic', '--claims=star-lsta', '--config.optim.lr=0.5')[0]
    e = pair.row.experiment
    assert (e.backbone.init, e.data.preset, e.star.streams, e.optim.lr) == ('rendered', 'distractors', ('rgb',), 0.5)
    motion = plan(tmp_path, '--dataset=synthetic', '--claims=star-flow')[0].row.experiment
    occlusion = plan(tmp_path, '--dataset=synthetic', '--claims=star-gsta')[0].row.experiment
    longer = published.LONGER
    for row, steps in (e, published.STEPS), (motion, longer['motion']), (occlusion, longer['occlusion']):
        assert abs(claims.dry_run.planned_steps(row) - steps) <= 0.1 * steps
    assert occlusion.optim.lr == published.RATES['star']
    assert pair.row.spec == 'configs/star_synthetic.py:table3_lsta,rgb,distractors'
    assert pair.row.folder == tmp_path / 'star_synthetic-table3_lsta,rgb,distractors-seed0'
    small = plan(tmp_path, '--dataset=synthetic', '--claims=star-lsta', '--preset=tiny')[0]
    assert small.row.experiment.data.preset == 'tiny'


def test_a_whole_training_starts_at_random_and_has_a_folder_of_its_own(tmp_path):
    whole, short = plan(tmp_path, '--dataset=synthetic', '--claims=strf-p3dc-whole,strf-p3dc')
    e = whole.row.experiment
    assert (e.backbone.init, e.train.epochs, e.train.seed) == ('random', 16, 0)
    assert whole.row.folder == tmp_path / 'strf_synthetic-table2_p3dc,demo-whole-seed0'
    assert short.row.experiment.backbone.init == 'rendered'
    assert short.row.folder == tmp_path / 'strf_synthetic-table2_p3dc,demo-seed0'
    assert 'strf-p3dc-whole' not in claims.found_on('mars', None)


def test_elsewhere_rows_are_the_papers_recipes_and_the_same_comparison_is_made_once(tmp_path):
    pairs = plan(tmp_path, '--dataset=mars', '--root=/data')
    rows = [(pair.row.folder, pair.against.folder) for pair in pairs]
    names = {pair.name for pair in pairs}
    assert 'strf-p3dc' in names
    assert 'strf-p3dc-misaligned' not in names
    assert 'stmn-tm' in names
    assert 'stmn-tm-hidden' not in names
    assert len(set(rows)) == len(rows) - 2  # the items that are read are another measure of the same rows
    one = pairs[0].row
    assert one.command() == (
        'python -m jaxreid.main --config configs/strf_mars.py:table2_p3dc --config.data.root=/data '
        f'--config.train.seed=0 --workdir={tmp_path}/strf_mars-table2_p3dc-seed0'
    )
    motion = claims.found_on('mars', 'p3dc-motion')['p3dc-motion']
    assert (motion.metric, motion.stratum, motion.ceiling) == ('mAP', (), '')
    lsvid = {pair.name for pair in plan(tmp_path, '--dataset=lsvid')}
    assert lsvid
    assert all(name.startswith('stmn') for name in lsvid)


def test_a_measure_is_taken_from_the_row_its_strata_or_its_memories(tmp_path):
    pair = plan(tmp_path, '--dataset=synthetic', '--claims=sta-stripes-hidden')[0]
    claim = published.CLAIMS['sta-stripes-hidden']
    left = {'row': ROW | {'strata': STRATA}}
    assert claims.value(claim, pair.row, left) == pytest.approx((10 * 40 + 30 * 20) / 40)
    rank1 = dataclasses.replace(claim, metric='rank1')
    assert claims.value(rank1, pair.row, left) == pytest.approx((10 * 50 + 30 * 30) / 40)
    assert claims.value(claim, pair.row, {'row': ROW}) is None
    plain = dataclasses.replace(claim, stratum=())
    assert claims.value(plain, pair.row, left) == 50
    assert claims.value(dataclasses.replace(plain, metric='rank1'), pair.row, left) == 60
    items = published.CLAIMS['stmn-sm-items']
    used = {'used_items': {'spatial_items': {'used': 7.5, 'of': 10, 'counts': []}}}
    assert claims.value(items, pair.row, {'row': ROW | used}) == 7.5
    assert claims.value(items, pair.row, {'row': ROW}) is None


def save_features(folder, nearest_is_right):
    """Two look-alikes, 1 and 2, and 3 apart; a query of 1 and one of 2, of which the first or both are right."""
    at = {1: 0.0, 2: 0.2, 3: 1.5}
    angles = [at[1], at[2], at[1] + 0.01, at[2] + 0.01 if nearest_is_right else at[1] - 0.3, at[3]]
    folder.mkdir(parents=True, exist_ok=True)
    feature_file.Features(
        embedding=np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32),
        embedding_before_neck=np.zeros((5, 2), np.float32),
        pid=np.array([1, 2, 1, 2, 3]),
        camera=np.array([1, 1, 2, 2, 2]),
        query=np.array([True, True, False, False, False]),
        gallery=np.array([False, False, True, True, True]),
        name=np.array(list('abcde')),
        frames=np.ones(5, np.int64),
        meta={},
    ).save(folder / 'features.npz')


@pytest.fixture
def motion(tmp_path, monkeypatch):
    """A pair on `motion` whose look-alikes are 1 and 2."""
    pair = plan(tmp_path, '--dataset=synthetic', '--claims=p3dc-motion')[0]
    groups = dataclasses.replace(synthetic_plan.make_plan(synthetic_plan.PRESETS['tiny']), groups={'test': [[1, 2]]})
    monkeypatch.setattr(claims, '_description', lambda run: groups)
    return pair


def test_rank_1_among_look_alikes_is_taken_from_the_features_of_the_run(motion):
    claim = published.CLAIMS['p3dc-motion']
    for right, expected in ((True, 100), (False, 50)):
        save_features(motion.row.folder, right)
        assert claims.value(claim, motion.row, {'row': ROW}) == expected


def test_ceilings_are_what_the_oracle_has_more_than_the_plain_row_and_are_kept(motion):
    left = finish(motion.against)
    save_features(motion.against.folder, False)
    views = [
        {'name': 'as it is', 'mAP': 50.0, 'rank1': 60.0, 'look_alike_rank1': None, 'strata': []},
        {'name': 'right boxes', 'mAP': 58.5, 'rank1': 63.0, 'look_alike_rank1': None, 'strata': STRATA},
    ]
    claim = dataclasses.replace(published.CLAIMS['strf-p3dc'], metric='mAP')
    assert claims.ceiling(claim, motion.against, left) is None  # nobody has asked an oracle yet
    kept = {'row': ROW, 'asked': [], 'views': views, 'skeletons': 90.0}
    (motion.against.folder / 'ceilings.json').write_text(json.dumps(kept))
    assert claims.ceiling(claim, motion.against, left) == 8.5
    assert claims.ceiling(dataclasses.replace(claim, metric='rank1'), motion.against, left) == 3
    stripes = dataclasses.replace(claim, stratum=('hidden_stripe', ('1', '3')))
    assert claims.ceiling(stripes, motion.against, left) == pytest.approx(25)
    assert claims.ceiling(dataclasses.replace(claim, ceiling=published.SHOWN), motion.against, left) is None
    assert claims.ceiling(dataclasses.replace(claim, ceiling=''), motion.against, left) is None
    assert claims.ceiling(published.CLAIMS['p3dc-motion'], motion.against, left) == 40


def test_the_oracles_help_the_network_that_was_trained_and_again_when_the_result_is_another(motion, monkeypatch):
    asked, wanted = [], []
    plain = claims.ceilings.Ceiling('as it is', 50.0, 60.0, 0.0, (0.0, 0.0), float('nan'), [])
    monkeypatch.setattr(claims.ceilings, 'load', lambda root, path: asked.append(path.name))
    monkeypatch.setattr(claims.ceilings, 'ceilings', lambda network, only: wanted.append(only) or [plain])
    monkeypatch.setattr(claims.render, 'ensure', lambda root, preset: pathlib.Path('nowhere'))
    monkeypatch.setattr(
        claims.ceilings, 'skeletons', lambda plan, frames: {published.SKELETONS: type('S', (), {'accuracy': 99.0})}
    )
    left = finish(motion.against, trained=False, checkpoint_of='another')
    boxes, bones = {published.BOXES}, {published.SKELETONS}
    for oracles in (boxes, boxes, bones, boxes | bones):
        claims.help_by_oracles(motion.against, left, oracles)
    assert asked == ['another'] * 2  # for what was not known yet
    assert wanted == [boxes, boxes | bones]
    made = claims.kept_ceilings(motion.against, left)
    assert made['views'][0]['look_alike_rank1'] is None
    assert made['skeletons'] == 99
    again = finish(motion.against, ROW | {'mAP': 51.0})
    assert claims.kept_ceilings(motion.against, again) is None
    claims.help_by_oracles(motion.against, again, bones)  # without a look at the network
    assert len(asked) == 2
    claims.help_by_oracles(motion.against, again, boxes)
    assert asked[2:] == [motion.against.folder.name]


def test_a_page_without_runs_and_one_with_a_failed_run(tmp_path):
    options, overrides = claims.parse(
        [f'--workdir={tmp_path}', '--dataset=synthetic', '--claims=stmn-tm,stmn-tm-items']
    )
    pairs = claims.plan(options, overrides)
    text, path = claims.write(options, pairs, {})
    assert path == tmp_path / 'claims-synthetic.md'
    assert text.count('| not run |') == 2
    row, against, other = claims.trainings(pairs)
    left = {against.folder: finish(against), row.folder: 'step 3: loss is nan', other.folder: finish(other)}
    text, _ = claims.write(options, pairs, left)
    assert text.count(f'- {row.folder.name}: step 3: loss is nan') == 1
    left[row.folder] = finish(row, ROW | {'mAP': 54.0})
    text, _ = claims.write(options, pairs, left)
    assert '| 1 | 54.0 | 50.0 | +4.0 | – | – | one seed: no interval |' in text


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ([], 2, 'claims can be run on'),
        (['--dataset=prid'], 2, 'claims can be run on'),
        (['--dataset=mars'], 1, 'config.data.root is empty'),
        (['--dataset=synthetic', '--claims=stmn-tn'], 1, "Did you mean 'stmn-tm'"),
        (['--dataset=mars', '--preset=tiny'], 2, 'belongs to --dataset synthetic'),
        (['--dataset=synthetic', '--config.train.seed=1'], 2, 'use --seeds'),
        (['--dataset=synthetic', '--config.data.preset=tiny'], 2, '--preset'),
        (['--dataset=synthetic', '--seeds=1,1'], 2, 'different numbers'),
        (['--dataset=synthetic', '--config.optim.lrr=1'], 1, "Did you mean 'optim.lr'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_message(tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    assert command_line.run(lambda: claims.run(arguments)) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'runs').exists()


def test_the_list_names_every_claim_and_its_rows(capsys):
    assert claims.run(['--list']) == 0
    printed = capsys.readouterr().out
    for name, claim in published.CLAIMS.items():
        assert f'{name}: {claim.says}\n  {claim.system}: {claim.row} against {claim.against}\n' in printed
        assert claims_page.about(claim) in printed
    assert claims.run(['--list', '--claims=sta-reg']) == 0
    assert capsys.readouterr().out.count(' against ') == 1


def test_a_dry_run_prints_every_training_once_and_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ['--dataset=synthetic', '--dry-run', '--seeds=0,1', '--claims=strf-t-tau,strf-s-tau,ap3d-misaligned']
    assert claims.run(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('10 runs')
    assert printed.count('python -m jaxreid.main --config configs/') == 10
    assert printed.count('no training: tests the last step of') == 2
    assert 'An estimate' in printed
    assert not list(tmp_path.iterdir())
