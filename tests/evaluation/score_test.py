"""The score command, as a user of any framework runs it."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import mars_size
from jaxreid import config
from jaxreid.evaluation import feature_file, protocols, refinement, rule_scores, rules, score
from jaxreid.evaluation.ordering import expansion, rerank
from tests.fixtures import feature_files, public_tables, ranked_rows
from tests.fixtures.ranked_rows import Rows


def arrays(seed=0, *, n=150, d=6, num_ids=12):
    """The smallest file: MARS' manner in small, junk and distractors included."""
    rng = np.random.default_rng(seed)
    pid, camera = rng.integers(-1, num_ids, n), rng.integers(1, 4, n)
    query = (pid > 0) & (rng.uniform(size=n) < 0.3)
    embedding = rng.normal(size=(num_ids + 1, d))[pid + 1] + 1.2 * rng.normal(size=(n, d))
    return {
        'embedding': embedding.astype(np.float32), 'pid': pid, 'camera': camera, 'query': query,
        'gallery': np.ones(n, bool),
    }  # fmt: skip


def write(path, **changed):
    np.savez(path, **(arrays() | changed))
    return path


def run(*argv):
    assert score.main([*map(str, argv), '--resamples', '20']) == 0


def read(path):
    return json.loads(path.read_text())


# The others are in outfits_test and reassociation_test.
WITHOUT_OUTFITS = [name for name in config.PROTOCOLS if not rules.needs(protocols.named(name))]


@pytest.mark.parametrize('name', WITHOUT_OUTFITS)
def test_a_named_protocol_is_written_as_it_is_scored_elsewhere(tmp_path, name):
    run(write(tmp_path / 'a.npz'), '--protocol', name, '--json', tmp_path / 'out.json')
    (row,) = [read(tmp_path / 'out.json')[name]]
    expected = protocols.score(Rows(**arrays()), protocols.named(name))
    assert row['mAP'] == pytest.approx(expected['mAP'], rel=1e-9)
    assert row['cmc'] == expected['cmc']
    assert row['protocol'].items() >= expected['protocol'].items()
    assert row['protocol']['dataset'] == 'unknown'
    assert row['interval']['mAP'][0] < row['mAP'] < row['interval']['mAP'][1]


RULES = {
    '--ap': [{'ap': v} for v in ('step', 'trapezoid', 'sklearn_pr')],
    '--gallery': [{'gallery': v} for v in ('with_queries', 'without_queries')],
    '--distractors': [{'distractors': 'drop'}],
    '--junk': [{'junk': 'negatives'}],
    '--unanswerable': [{'unanswerable': 'zero'}],
    '--same-camera': [{'same_camera': v} for v in protocols.SAME_CAMERA],
    '--cmc': [{'cmc': 'single_shot'}],
    '--rank-cut': [{'rank_cut': 7}],
}


@pytest.mark.parametrize(('flag', 'rule'), [(flag, rule) for flag, rules in RULES.items() for rule in rules])
def test_every_rule_has_its_flag_and_the_name_says_so(tmp_path, flag, rule):
    ((key, value),) = rule.items()
    run(write(tmp_path / 'a.npz'), '--protocol', 'torchreid', flag, value, '--json', tmp_path / 'out.json')
    ((name, row),) = read(tmp_path / 'out.json').items()
    plain = protocols.named('torchreid')
    assert name == ('torchreid' if getattr(plain, key) == value else f'torchreid with {key}={value}')
    expected = protocols.score(Rows(**arrays()), dataclasses.replace(plain, **rule))
    assert row['mAP'] == pytest.approx(expected['mAP'], rel=1e-9)
    assert row['cmc'] == pytest.approx(expected['cmc'], rel=1e-9)


def test_a_cut_can_be_taken_off_and_distances_chosen(tmp_path):
    run(write(tmp_path / 'a.npz'), '--protocol', 'ste-nvan', '--rank-cut', 'none', '--distance', 'euclidean',
        '--json', tmp_path / 'out.json')  # fmt: skip
    row = read(tmp_path / 'out.json')['ste-nvan with rank_cut=None']
    expected = protocols.score(Rows(**arrays()), protocols.named('mars-official'), distance='euclidean')
    assert row['mAP'] == pytest.approx(expected['mAP'], rel=1e-9)
    assert row['protocol']['distance'] == 'euclidean'


def test_our_own_files_say_how_they_are_to_be_scored(tmp_path):
    meta = {'dataset': 'mars', 'config': {'test': {'distance': 'euclidean', 'protocols': ['torchreid', 'mars-paper']}}}
    run(write(tmp_path / 'a.npz', meta=np.array(json.dumps(meta))), '--json', tmp_path / 'out.json')
    row = read(tmp_path / 'out.json')['torchreid']
    assert (row['protocol']['distance'], row['protocol']['dataset']) == ('euclidean', 'mars')
    odd = np.array(json.dumps({'config': ['nothing', 'of', 'ours']}))
    run(write(tmp_path / 'b.npz', meta=odd), '--json', tmp_path / 'out.json')
    assert list(read(tmp_path / 'out.json')) == ['mars-paper']


@pytest.mark.parametrize('meta', feature_files.FOREIGN, ids=json.dumps)
def test_what_others_write_into_meta_is_no_obstacle(tmp_path, meta):
    run(write(tmp_path / 'a.npz', meta=np.array(json.dumps(meta))), '--json', tmp_path / 'out.json')
    (row,) = [read(tmp_path / 'out.json')['mars-paper']]
    assert row['protocol']['distance'] == 'cosine'


def test_results_that_differ_in_more_than_the_rules_say_so(tmp_path, capsys):
    before = 2 * np.random.default_rng(4).normal(size=(150, 3)).astype(np.float32)
    path = write(tmp_path / 'a.npz', embedding_before_neck=before)
    labels = {}
    for flags in (
        [], ['--distance', 'euclidean'], ['--neck', 'before'], ['--rerank', '--k1', '8'], ['--expand-queries', '2'],
        ['--distance', 'euclidean', '--rerank', '--augment-gallery', '3', '--power', '2', '--neck', 'before'],
    ):  # fmt: skip
        run(path, *flags, '--json', tmp_path / 'out.json')
        row = read(tmp_path / 'out.json')['mars-paper']
        labels[' '.join(flags)] = row['protocol']['label']
        assert f'\n{row["protocol"]["label"]} ' in capsys.readouterr().out
    assert list(labels.values()) == [
        'mars-paper',
        'mars-paper; euclidean distance',
        'mars-paper; features before the neck',
        'mars-paper; re-ranked, k-reciprocal, k1 8, k2 6, lambda 0.3',
        'mars-paper; expanded, queries with 2 neighbours, power 0',
        'mars-paper; euclidean distance; features before the neck; re-ranked, k-reciprocal, k1 20, k2 6, lambda 0.3; '
        'expanded, gallery with 3 neighbours, power 2',
    ]


def test_splits_are_averaged_with_their_spread(tmp_path, capsys):
    for i in range(3):
        np.savez(tmp_path / f'{i}.npz', **arrays(i))
    run(*(tmp_path / f'{i}.npz' for i in range(3)), '--json', tmp_path / 'out.json')
    row = read(tmp_path / 'out.json')['mars-paper']
    each = [protocols.score(Rows(**arrays(i)), protocols.named('mars-paper')) for i in range(3)]
    assert row['mAP'] == pytest.approx(np.mean([e['mAP'] for e in each]))
    assert row['cmc']['5'] == pytest.approx(np.mean([e['cmc']['5'] for e in each]))
    assert row['spread']['mAP'] == pytest.approx(np.std([e['mAP'] for e in each], ddof=1))
    assert [s['mAP'] for s in row['splits']] == pytest.approx([e['mAP'] for e in each])
    assert row['protocol']['answered_queries'] == [e['protocol']['answered_queries'] for e in each]
    assert 'spread of mAP' in capsys.readouterr().out


def test_refined_distances_are_made_of_what_the_protocol_ranks(tmp_path):
    found = feature_file.load(write(tmp_path / 'a.npz'))
    rule = protocols.named('torchreid')
    ranked = protocols.ranked_gallery(found, rule)
    queries, items = found.embedding[found.query], found.embedding[ranked]
    roles = found.pid, found.camera, found.query

    def expected(distances):
        return ranked_rows.of_distances(distances, *roles, ranked, rule, distance='cosine')['mAP']

    def scored(*flags):
        run(tmp_path / 'a.npz', '--protocol', 'torchreid', *flags, '--json', tmp_path / 'out.json')
        return next(iter(read(tmp_path / 'out.json').values()))

    row = scored('--rerank', '--k1', 8, '--k2', 3, '--lambda', 0.4)
    assert row['protocol']['re_ranking'] == 'k-reciprocal, k1 8, k2 3, lambda 0.4'
    by_hand = rerank.rerank(queries, items, distance='cosine', k1=8, k2=3, weight=0.4)
    assert row['mAP'] == pytest.approx(expected(by_hand))

    row = scored('--expand-queries', 2, '--augment-gallery', 3, '--power', 1)
    assert row['protocol']['expansion'] == 'queries with 2, gallery with 3 neighbours, power 1'
    how = {'power': 1.0, 'distance': 'cosine'}
    items = expansion.expand(items, items, count=3, **how)
    queries = expansion.expand(queries, items, count=2, **how)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, items)]
    assert row['mAP'] == pytest.approx(expected(-unit[0] @ unit[1].T))
    # Junk is nobody's neighbour; where the list is cut it has the last places.
    last = np.full((found.query.sum(), 150), 2.0)
    last[:, ranked] = rerank.rerank(found.embedding[found.query], found.embedding[ranked], distance='cosine')
    cut = dataclasses.replace(rule, rank_cut=9)
    expected_cut = ranked_rows.of_distances(last, *roles, found.gallery, cut, distance='cosine')['mAP']
    assert scored('--rerank', '--rank-cut', 9)['mAP'] == pytest.approx(expected_cut)


def test_large_galleries_are_ranked_without_holding_their_distances(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.npz')
    run(path, '--json', tmp_path / 'held.json')
    monkeypatch.setattr(refinement, '_HELD', 0)
    run(path, '--json', tmp_path / 'blocks.json')
    held, blocks = (read(tmp_path / f'{name}.json')['mars-paper'] for name in ('held', 'blocks'))
    assert held['mAP'] == pytest.approx(blocks['mAP'], rel=1e-12)
    assert held['cmc'] == blocks['cmc']


def test_two_files_are_compared_by_pairs_of_queries_whatever_their_order(tmp_path, capsys):
    names = np.array([f't{i}' for i in range(150)])
    better = arrays()['embedding'] + 2 * np.random.default_rng(9).normal(size=(13, 6))[arrays()['pid'] + 1]
    order = np.random.default_rng(8).permutation(150)
    write(tmp_path / 'a.npz', name=names)
    write(tmp_path / 'b.npz', **{k: v[order] for k, v in (arrays() | {'name': names, 'embedding': better}).items()})
    args = [str(tmp_path / 'a.npz'), '--against', str(tmp_path / 'b.npz'), '--json', str(tmp_path / 'out.json')]
    assert score.main([*args, '--resamples', '200']) == 0
    row = read(tmp_path / 'out.json')['mars-paper']
    expected = protocols.score(Rows(**arrays() | {'embedding': better}), protocols.named('mars-paper'))
    assert row['against']['difference']['mAP'] == pytest.approx(expected['mAP'] - row['mAP'])
    assert row['against']['interval']['mAP'][0] > 0
    assert row['against']['p_value']['mAP'] < 0.05
    assert f'{tmp_path / "b.npz"} minus {tmp_path / "a.npz"}' in capsys.readouterr().out

    one, other = (feature_file.load(tmp_path / f'{name}.npz') for name in 'ab')
    np.testing.assert_array_equal(rule_scores.aligned(one, other).embedding, better)

    write(tmp_path / 'c.npz', name=names, camera=arrays()['camera'][::-1])
    assert score.main([str(tmp_path / 'a.npz'), '--against', str(tmp_path / 'c.npz')]) == 1
    assert 'hold other tracklets' in capsys.readouterr().err


def test_all_prints_every_rule_and_why_some_do_not_apply(tmp_path, capsys):
    run(write(tmp_path / 'a.npz', frames=np.full(150, 9)), '--protocol', 'all', '--json', tmp_path / 'out.json')
    rows = read(tmp_path / 'out.json')
    assert {*WITHOUT_OUTFITS, 'mars-paper with distance=euclidean', 'torchreid with unanswerable=zero'} <= rows.keys()
    assert not {'same-clothes', 'clothes-changing', 'reassociation'} & rows.keys()  # the file says nothing of outfits
    assert rows['mars-paper with distance=euclidean']['protocol']['distance'] == 'euclidean'
    text = capsys.readouterr().out
    assert all(f'\n{name} ' in text for name in rows)
    # Nothing but queries: some protocols leave no gallery.
    people = arrays()['pid'] > 0
    only = {k: v[people] for k, v in arrays().items()} | {'query': np.ones(people.sum(), bool)}
    np.savez(tmp_path / 'b.npz', **only)
    run(tmp_path / 'b.npz', '--protocol', 'all', '--json', tmp_path / 'out.json')
    assert 'torchreid' not in read(tmp_path / 'out.json')
    assert "the protocol 'torchreid' leaves none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--k1', '0', '--rerank'], 'k1 = 0'),
        (['--against', 'x.npz', 'y.npz'], '--against names 2 files for 1'),
        (['--rank-cut', '0'], 'rank_cut=0'),
        (['--rank-cut', '5', '--cmc', 'single_shot'], 'cuts the list and draws from it'),
        (['--protocol', 'all', '--cmc', 'single_shot'], '--cmc would change every row'),
        (['--protocol', 'all', '--rank-cut', 'none', '--ap', 'step'], '--ap, --rank-cut would change every row'),
        (['--seed', '-1'], '--seed is -1; it cannot be negative'),
        (['--expand-queries', '-1'], 'cannot be negative'),
        (['--neck', 'before'], 'lacks embedding_before_neck'),
    ],
)
def test_what_cannot_be_scored_is_one_message_and_an_exit_status(tmp_path, capsys, flags, message):
    assert score.main([str(write(tmp_path / 'a.npz')), *flags, '--json', str(tmp_path / 'out.json')]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def test_all_compares_files_of_which_one_does_not_know_its_frames(tmp_path, capsys):
    names = np.array([f't{i}' for i in range(150)])
    path = write(tmp_path / 'a.npz', frames=np.full(150, 9), name=names)
    run(path, '--against', write(tmp_path / 'b.npz', name=names), '--protocol', 'all')
    assert 'cameras listed per frame' not in capsys.readouterr().out
    run(path, '--against', path, '--protocol', 'all')
    assert 'cameras listed per frame' in capsys.readouterr().out


def test_lengths_are_looked_at_where_any_row_of_all_uses_them(tmp_path, capsys):
    path = write(tmp_path / 'a.npz', embedding=arrays()['embedding'] * np.geomspace(1, 90, 150)[:, None])
    run(path)
    assert 'lengths of features vary' not in capsys.readouterr().out
    run(path, '--protocol', 'all')
    assert 'lengths of features vary' in capsys.readouterr().out


def test_warnings_are_printed_beside_the_file(tmp_path, capsys):
    run(write(tmp_path / 'a.npz', camera=np.ones(150, int)), '--same-camera', 'keep')
    assert 'warning: every camera id is 1' in capsys.readouterr().out


def test_warnings_and_too_many_neighbours_stand_before_the_numbers_and_in_the_json(tmp_path, capsys):
    embedding = arrays()['embedding']
    embedding[:2] = 0
    path = write(tmp_path / 'a.npz', embedding=embedding)
    run(path, '--rerank', '--k1', 150, '--expand-queries', 150, '--augment-gallery', 3, '--json', tmp_path / 'out.json')
    said, kept = capsys.readouterr().out, read(tmp_path / 'out.json')['mars-paper']['warnings']
    gallery = read(tmp_path / 'out.json')['mars-paper']['protocol']['gallery_size']
    assert f'{path}: 2 features are all zeros (first: row 0, row 1).' in kept
    for what in ('re-ranking (k1)', 'query expansion'):
        assert any(one.startswith(f'{what} looks for 150 neighbours, but the gallery holds {gallery}') for one in kept)
    assert not any('augmentation' in one for one in kept)
    for one in kept:
        assert said.index(one.removeprefix(f'{path}: ')) < said.index('\nmars-paper;')


def test_names_do_not_steer_the_terminal(tmp_path, capsys):
    escapes = {'name': np.array(['\x1b[2Jgone\n'] * 150), 'embedding': np.zeros((150, 6), np.float32)}
    run(write(tmp_path / 'a.npz', **escapes, meta=np.array(json.dumps({'dataset': '\x1b[31m'}))))
    shown = capsys.readouterr().out
    assert '\x1b' not in shown
    assert '[2Jgone' in shown


def test_scoring_starts_without_jax_flax_or_scipy(tmp_path):
    write(tmp_path / 'a.npz')
    code = (
        'import sys; from jaxreid.evaluation import score; '
        f'score.main([{str(tmp_path / "a.npz")!r}, "--protocol", "all", "--resamples", "5"]); '
        'print([m for m in ("jax", "flax", "scipy", "grain", "jaxreid.training_loop") if m in sys.modules])'
    )
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == '[]'


@pytest.mark.slow
def test_the_rules_differ_on_mars_as_they_do_in_public_code(tmp_path):
    """Shape of the table of one feature set under the rules of different repositories; counts are exact."""
    made = mars_size.on_metadata(public_tables.write_mars_info(tmp_path)) | {'meta': {}, 'embedding_before_neck': None}
    found = feature_file.Features(**made)
    search = refinement.Refinement('cosine')
    distances = refinement.Distances(found, search)
    by_name = {r.protocol.name: r for r in rules.every([found], 'cosine') if r.distance == 'cosine'}
    mAP, rank1, queries = {}, {}, {}
    for name, rule in by_name.items():
        if name in ('dukev', 'ilids', 'prid', 'lsvid') or 'rank_cut' in name:
            continue
        row, _ = rule_scores.score([found], rule, [distances], search, resamples=0)
        mAP[name], rank1[name], queries[name] = row['mAP'], row['cmc']['1'], row['protocol']['answered_queries']
    wrong = 'torchreid, cameras listed per frame (a published mistake)'
    assert 0.2 < mAP['mars-paper'] - mAP['mars-official'] < 1.5
    assert mAP['ste-nvan'] == pytest.approx(mAP['mars-official'], abs=0.02)
    assert mAP['mars-paper with ap=sklearn_pr'] == pytest.approx(mAP['mars-official'], abs=0.02)
    assert 0.2 < rank1['mars-paper'] - rank1['torchreid'] < 3
    assert mAP['torchreid with unanswerable=zero'] == pytest.approx(mAP['torchreid'] * 1840 / 1980)
    assert 78 < mAP['mars-paper'] < 90
    assert 0.3 < mAP['mars-paper with distractors=drop'] - mAP['mars-paper'] < 3
    assert 0.3 < mAP['torchreid with distractors=drop'] - mAP['torchreid'] < 3
    assert 0 < mAP['mars-paper'] - mAP['mars-paper with junk=negatives'] < 1
    assert mAP['torchreid with same_camera=keep'] - mAP['torchreid'] > 1
    assert mAP[wrong] - mAP['torchreid'] > 1
    assert rank1[wrong] - rank1['torchreid'] > 1
    assert rank1['mars-paper'] < rank1['mars-paper with same_camera=keep'] < 100
    assert rank1['mars-paper with cmc=single_shot'] < rank1['mars-paper'] - 3
    assert queries['mars-paper'] == 1980
    assert queries['torchreid'] == 1840
    assert queries['torchreid with same_camera=keep'] == 1952
    assert queries[wrong] < 1600


def test_few_queries_are_said_to_be_few(tmp_path, capsys):
    few = arrays()['query'] & (np.cumsum(arrays()['query']) <= 20)
    write(tmp_path / 'few.npz', query=few)
    for resamples in ('20', '0'):
        assert score.main([str(tmp_path / 'few.npz'), '--resamples', resamples]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if ' are few: ' in line]
        (said,) = [re.fullmatch(r'(\d+) queries of (\d+) people are few: .*', line) for line in lines]
        assert 0 < int(said[2]) < int(said[1]) <= 20
    many = arrays(n=900, num_ids=40)
    assert many['query'].sum() > 100
    np.savez(tmp_path / 'many.npz', **many)
    run(tmp_path / 'many.npz')
    assert ' few: ' not in capsys.readouterr().out


def test_perfect_scores_of_few_queries_are_no_certainty(tmp_path, capsys):
    """Three people, six queries, everything right: once "100.0 to 100.0"."""
    pid, camera = np.repeat([1, 2, 3], 4), np.tile([1, 1, 2, 2], 3)
    file = tmp_path / 'three.npz'
    np.savez(
        file, embedding=np.eye(3, dtype=np.float32)[pid - 1] + 0.01 * np.arange(12, dtype=np.float32)[:, None],
        pid=pid, camera=camera, query=np.arange(12) % 2 == 0, gallery=np.ones(12, bool),
    )  # fmt: skip
    run(file, '--json', tmp_path / 'out.json')
    (row,) = read(tmp_path / 'out.json').values()
    assert (row['mAP'], row['asked_people']) == (100, 3)
    assert row['interval']['mAP'] == row['interval']['cmc']['1'] == pytest.approx([54.07, 100], abs=0.01)
    said = capsys.readouterr().out
    assert '[54.1, 100.0]' in said
    assert '\n6 queries of 3 people are few: ' in said
