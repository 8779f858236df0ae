"""`python -m jaxreid.evaluation.report` on a small data set: what it writes, and that no name breaks the page."""

import dataclasses
import json
import re
import types

import numpy as np
import pytest

from jaxreid.evaluation import protocols
from jaxreid.evaluation.report import command as report
from jaxreid.evaluation.report import page
from tests.fixtures import feature_files, report_page
from tests.fixtures import mars_folder as mars_fixture
from tests.oracles import rankings as oracle


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    root = mars_fixture.write(folder / 'mars', height=32, width=16)
    found = feature_files.features(root=root)
    found.save(folder / 'features.npz')
    assert report.run([str(folder / 'features.npz')]) == 0
    return folder, found, (folder / 'report.html').read_text()


def test_the_page_needs_no_other_file_and_no_network(made):
    text = made[2]
    for tag, attributes in report_page.Reader(text).tags:
        for name in ('src', 'href'):
            value = attributes.get(name, '#')
            assert value.startswith(('data:', '#')), (tag, value)
    assert 'http://' not in re.sub(r'xmlns="[^"]*"', '', text)
    assert 'https://' not in text


def test_the_numbers_are_those_of_the_protocol(made):
    _, found, text = made
    rule = protocols.named('mars-paper')
    score = protocols.score(found, rule)
    words = ' '.join(report_page.Reader(text).words)
    assert f'{score["mAP"]:.1f}' in words
    assert f'{score["cmc"]["1"]:.1f}' in words
    assert '4 answered, 0 without a match' in words
    assert '4 queries of 2 people are few: other people may well give quite other numbers' in words
    ranked = protocols.rank_queries(found, rule)
    low, high = np.quantile(
        [ranked.ap[np.random.default_rng(i).integers(0, 4, 4)].mean() for i in range(4000)], (0.025, 0.975)
    )  # fmt: skip
    shown = re.search(r'mAP ([\d.]+) ([\d.]+) to ([\d.]+)', ' '.join(words.split()))
    np.testing.assert_allclose([float(shown[2]), float(shown[3])], [100 * low, 100 * high], atol=3)


def test_the_embedded_lists_are_the_rankings(made):
    _, found, text = made
    data = json.loads(report_page.Reader(text).scripts[0])
    queries = np.flatnonzero(found.query)
    unit = found.embedding / np.linalg.norm(found.embedding, axis=1, keepdims=True)
    for q, row in enumerate(queries):
        assert data['name'][data['query'][q]] == found.name[row]
        expected, _ = oracle.shown(
            (-unit[row] @ unit.T).tolist(), found.pid[row], found.camera[row], found.pid, found.camera,
            junk={0}, top=10, taken_out=2,
        )  # fmt: skip
        shown = [data['name'][i] for i in data['items'][q]]
        assert shown == [str(found.name[j]) for j, _, _ in expected]
        marks = ['right', 'wrong', 'distractor', 'same camera', 'junk']
        assert [marks[int(m)] for m in data['marks'][q]] == [kind for _, kind, _ in expected]
        assert data['hit'][q] == next(rank for _, kind, rank in expected if kind == 'right')


def test_every_picture_of_the_page_says_what_it_shows(made):
    text = made[2]
    assert all(attributes.get('alt') for tag, attributes in report_page.Reader(text).tags if tag == 'img')
    data = json.loads(report_page.Reader(text).scripts[0])
    assert set(data['film']) == {str(row) for row in data['query']}


def test_the_calibration_beside_the_page_is_what_it_shows(made):
    folder, _, text = made
    calibrated = json.loads((folder / 'report.calibration.json').read_text())
    assert calibrated['protocol']['name'] == 'mars-paper'
    rate = calibrated['verification']['equal_error_rate']
    assert f'{100 * rate:.2f} %' in ' '.join(report_page.Reader(text).words)
    assert calibrated['verification']['genuine_pairs'] == 4


def test_figures_lie_beside_the_page_and_nothing_half_written_does(made):
    folder = made[0]
    files = {p.name for p in (folder / 'report_files').iterdir()}
    assert {'first_places.png', 'ranked_lists_worst.png', 'ranked_lists_best.png', 'cmc.svg'} <= files
    assert not [p for p in folder.rglob('.*')]


def test_names_cannot_leave_their_place(tmp_path):
    names = [*feature_files.HOSTILE, 'plain', feature_files.HOSTILE[0] + '2']
    meta = {'dataset': feature_files.HOSTILE[1], 'clips': feature_files.HOSTILE[0]}
    feature_files.features(names=names, with_config=False, meta=meta).save(tmp_path / 'features.npz')
    assert report.run([str(tmp_path / 'features.npz')]) == 0
    reader = report_page.Reader((tmp_path / 'report.html').read_text())
    assert len(reader.scripts) == 2
    assert not any('onerror' in attributes or 'onload' in attributes for _, attributes in reader.tags)
    assert feature_files.HOSTILE[0] in ' '.join(reader.words)
    assert set(names) == set(json.loads(reader.scripts[0])['name'])


def test_a_network_that_gives_the_same_for_all_has_a_report_too_which_says_so(tmp_path, capsys):
    found = feature_files.features(with_config=False)
    dataclasses.replace(found, embedding=np.ones_like(found.embedding)).save(tmp_path / 'features.npz')
    assert report.run([str(tmp_path / 'features.npz')]) == 0
    text, said = (tmp_path / 'report.html').read_text(), 'are equal: the network has collapsed'
    assert 'Accepted pairs' not in text
    assert said in capsys.readouterr().out
    assert said in text
    assert any(said in one for one in json.loads((tmp_path / 'report.calibration.json').read_text())['warnings'])


def test_a_file_that_does_not_say_its_data_set_gives_a_report_without_pictures(tmp_path):
    feature_files.features(with_config=False).save(tmp_path / 'features.npz')
    assert report.run([str(tmp_path / 'features.npz'), '--protocol=mars-official', '--distance=euclidean']) == 0
    text = (tmp_path / 'report.html').read_text()
    assert 'Without pictures' in text
    assert 'mars-official' in text
    assert not json.loads(report_page.Reader(text).scripts[0])['film']


@pytest.mark.parametrize('meta', [*feature_files.FOREIGN, {'config': {'data': {'root': 3}}}, {'config': {'data': 5}}],
                         ids=json.dumps)  # fmt: skip
def test_what_others_write_into_meta_is_no_obstacle(tmp_path, meta):
    feature_files.features(with_config=False, meta=meta).save(tmp_path / 'features.npz')
    assert report.run([str(tmp_path / 'features.npz')]) == 0
    assert 'Without pictures' in (tmp_path / 'report.html').read_text()


def test_the_budget_bounds_the_page(made, tmp_path):
    folder, _, text = made
    out = tmp_path / 'small.html'
    assert report.run([str(folder / 'features.npz'), f'--out={out}', '--budget-mb=0.002']) == 0
    small = out.read_text()
    assert len(json.loads(report_page.Reader(small).scripts[0])['film']) == 1
    assert 'Pictures are kept for 1 of the 4 queries' in ' '.join(report_page.Reader(small).words).replace('\n', ' ')
    assert len(small) < len(text)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nothing.npz'], 'nothing.npz'),
        (['.'], 'holds no features.npz'),
        (['features.npz', '--root=elsewhere'], 'elsewhere'),
        (['features.npz', '--compare=x'], '--compare needs a network'),
    ],
)
def test_what_is_missing_is_named(made, monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path if arguments == ['.'] else made[0])
    assert report.run([*arguments, f'--out={tmp_path / "r.html"}']) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'r.html').exists()


def test_tracklets_of_another_data_set_are_named(made, tmp_path, capsys):
    feature_files.features(root=made[0] / 'mars', names=[f'x{i}' for i in range(7)]).save(tmp_path / 'features.npz')
    arguments = [str(tmp_path / 'features.npz'), f'--root={made[0] / "mars"}']
    assert report.run(arguments) == 1
    assert '7 of the 7 tracklets are not in the test split' in capsys.readouterr().err


def workdir(made, tmp_path):
    """A workdir with the features of `made`, its curves and its settings."""
    made[1].save(tmp_path / 'features.npz')
    rows = [{'step': s, 'loss': 3 - s / 10, 'accuracy': s / 20, 'learning_rate': 1e-3} for s in (1, 2, 3)]
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (tmp_path / 'settings.toml').write_text('# 1 of them differs from a:\n#   optim.lr = 1, there <b>2</b>\n')
    return tmp_path


def test_a_workdir_shows_how_it_was_trained(made, tmp_path):
    assert report.run([str(workdir(made, tmp_path)), '--no-pictures']) == 0
    shown_page = report_page.Reader((tmp_path / 'report.html').read_text())
    titles = [a['aria-label'] for tag, a in shown_page.tags if tag == 'svg']
    assert any(title.startswith('loss over the steps of the training; at the end loss 2.7') for title in titles)
    assert any(title.startswith('learning rate, 1e-3 over the steps') for title in titles)
    assert 'optim.lr = 1, there <b>2</b>' in ' '.join(shown_page.words)
    assert ('a', {'href': '#training'}) in shown_page.tags


def test_damaged_metrics_cost_the_curves_and_are_named_in_one_line(made, tmp_path, capsys):
    (workdir(made, tmp_path) / 'metrics.jsonl').write_text('{"step": 1, "loss": 2}\n{"st\n{"step": 3, "loss": 1}\n')
    assert report.run([str(tmp_path), '--no-pictures']) == 0
    words = ' '.join(' '.join(report_page.Reader((tmp_path / 'report.html').read_text()).words).split())
    assert 'Without the curves of the training: ' in words
    assert 'metrics.jsonl is damaged: line 2 is no object' in words
    assert 'Traceback' not in capsys.readouterr().err


def test_who_took_the_first_place_is_shown_where_no_query_was_answered_the_other_way():
    # Query 1, row 7, of person 5 was answered by person 4: in the list behind a tracklet of its own camera.
    lists = types.SimpleNamespace(rank=np.array([[1, 2], [0, 1]]), item=np.array([[0, 1], [2, 1]]))
    analysis = types.SimpleNamespace(queries=np.array([3, 7]), gallery=np.array([10, 11, 12]), lists=lists)
    assert page.confused_rows(analysis, {'examples': [None, 1]}) == [11, 7]
    assert page.confused_rows(analysis, {'examples': [1, None]}) == [7, 11]
    assert page.confused_rows(analysis, {'examples': [0, 1]}) == [3, 7]


def test_both_sides_of_every_pair_of_look_alikes_have_a_picture(made):
    shown_page = report_page.Reader(made[2])
    sides = [i for i, (tag, a) in enumerate(shown_page.tags) if (tag, a) == ('div', {'class': 'side'})]
    assert sides
    shown = [shown_page.tags[i + 1] for i in sides]
    assert all(tag == 'img' for tag, _ in shown)
    # Of the side without a query of its own it is a tracklet of that person.
    ids = [re.fullmatch(r'(\S+) of identity (-?\d+)', a['alt']) for _, a in shown]
    pid = dict(zip(made[1].name.tolist(), made[1].pid.tolist(), strict=True))
    assert all(pid[one[1]] == int(one[2]) for one in ids)
