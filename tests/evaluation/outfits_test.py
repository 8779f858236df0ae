"""The rules about outfits against loops over the table of docs/protocols.md, on awkward features and files."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreid.data.datasets import manifest
from jaxreid.evaluation import feature_file, protocols, results, rules, score
from jaxreid.evaluation import features as features_lib
from jaxreid.evaluation.report import analysis, outfits, page, ranked_lists
from tests.oracles import ranking as ranking_oracle

# Of a query's own person: which gallery tracklets are left out, by (same camera, same outfit).
LEFT_OUT = {
    'general': lambda camera, outfit: camera,
    'same-clothes': lambda camera, outfit: camera or not outfit,
    'clothes-changing': lambda camera, outfit: camera or outfit,
}


def draw(seed=0, *, n=140, people=9, outfits=3, numbers=False):
    """Tracklets of people in a few outfits each, whose numbers start anew for every person; junk and distractors have
    none. Queries are in the gallery too."""
    rng = np.random.default_rng(seed)
    pid = rng.integers(-1, people + 1, n)
    worn = rng.integers(0, outfits, n)
    looks = rng.normal(size=(people + 2, outfits, 4)) + 1.2 * rng.normal(size=(people + 2, 1, 4))
    embedding = looks[pid + 1, worn] + 0.8 * rng.normal(size=(n, 4))
    column = np.where(pid > 0, worn, np.nan) if numbers else np.where(pid > 0, worn.astype(str), '')
    return feature_file.Features(
        embedding=embedding.astype(np.float32),
        embedding_before_neck=None,
        pid=pid,
        camera=rng.integers(1, 4, n),
        query=(pid > 0) & (rng.uniform(size=n) < 0.5),
        gallery=np.ones(n, bool),
        name=np.array([f'walk {i}' for i in range(n)]),
        frames=np.full(n, 4),
        meta={},
        attributes={'outfit': column},
    )


def distances_of(features, *, ties):
    """[queries, N] Euclidean; in steps of a half, many are equal."""
    x = features.embedding.astype(np.float64)
    distances = np.sqrt(((x[features.query][:, None] - x) ** 2).sum(-1))
    return np.round(2 * distances) / 2 if ties else distances


def slow(features, name, distances):
    """[(AP, rank of the first match, matches)] of every query."""
    outfit, made = features.attributes['outfit'], []
    for q, to in zip(np.flatnonzero(features.query), distances.tolist()):
        hits, ranked, precisions, first = 0, 0, [], 0
        for j in sorted(range(len(to)), key=lambda j: (to[j], j)):
            if features.pid[j] == -1:
                continue
            own = features.pid[j] == features.pid[q]
            if own and LEFT_OUT[name](features.camera[j] == features.camera[q], outfit[j] == outfit[q]):
                continue
            ranked += 1
            if own:
                hits += 1
                first = first or ranked
                precisions.append(hits / ranked)
        made.append((float(np.mean(precisions)) if hits else 0.0, first, hits))
    return made


@pytest.mark.parametrize('name', list(LEFT_OUT))
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('numbers', [False, True])
def test_every_query_is_ranked_as_by_the_loop(name, ties, numbers):
    features = draw(1, numbers=numbers)
    features.camera[features.pid == 3] = 1  # one camera: no match
    features.attributes['outfit'][features.pid == 4] = features.attributes['outfit'][features.query][0]  # one outfit
    distances = distances_of(features, ties=ties)
    expected = slow(features, name, distances)
    rule = protocols.named(name)
    found = protocols.rank_blocks(lambda columns: [(slice(0, len(distances)), distances[:, columns])], features, rule)
    np.testing.assert_allclose(found.ap, [ap for ap, _, _ in expected], rtol=1e-9)
    assert found.first_hit.tolist() == [first for _, first, _ in expected]
    assert found.answered.tolist() == [hits > 0 for _, _, hits in expected]
    made = protocols.summarize(found, features, rule, distance='euclidean')
    counted = [(ap, first) for ap, first, hits in expected if hits]
    assert 0 < len(counted) < len(expected)
    assert made['mAP'] == pytest.approx(100 * np.mean([ap for ap, _ in counted]))
    assert made['cmc']['1'] == pytest.approx(100 * np.mean([first == 1 for _, first in counted]))
    assert made['protocol']['unanswered_queries'] == len(expected) - len(counted)
    assert made['protocol']['outfits'] == {'general': 'any', 'same-clothes': 'same', 'clothes-changing': 'other'}[name]


def test_general_is_the_rule_of_most_papers_and_the_three_come_apart():
    features = draw(2)
    made = {name: protocols.score(features, protocols.named(name)) for name in (*LEFT_OUT, 'mars-paper')}
    assert made['general']['mAP'] == made['mars-paper']['mAP']
    assert made['same-clothes']['mAP'] > made['clothes-changing']['mAP'] + 10


def test_a_query_is_never_its_own_match():
    """Its own row and a copy of it are nearest, in the same camera and outfit."""
    features = draw(3)
    row = int(np.flatnonzero(features.query)[0])
    for name in LEFT_OUT:
        out = protocols.left_out(features, protocols.named(name), np.array([row]), features.gallery)
        own_camera = (features.pid == features.pid[row]) & (features.camera == features.camera[row])
        left = own_camera if out is None else own_camera | out[0]
        assert left[row]
    alone = dataclasses.replace(features, query=np.arange(140) == row, gallery=np.arange(140) == row)
    for name in LEFT_OUT:
        with pytest.raises(ValueError, match='None of the 1 queries has a match'):
            protocols.score(alone, protocols.named(name))


def test_outfits_are_compared_inside_a_person_only():
    """Another person in the query's outfit stays, and stays wrong."""
    features = draw(4)
    renamed = np.array([f'{i} {worn}' for i, worn in zip(features.pid, features.attributes['outfit'])])
    renamed[features.pid < 1] = ''
    other = dataclasses.replace(features, attributes={'outfit': renamed})
    for name in LEFT_OUT:
        assert protocols.score(features, protocols.named(name)) == protocols.score(other, protocols.named(name))


def test_one_outfit_each_leaves_nothing_to_the_clothes_changing_rule():
    features = draw(5, outfits=1)
    assert (
        protocols.score(features, protocols.named('same-clothes'))['mAP']
        == protocols.score(features, protocols.named('general'))['mAP']
    )
    with pytest.raises(ValueError, match='the same id, seen by another camera in another outfit'):
        protocols.score(features, protocols.named('clothes-changing'))


@pytest.mark.parametrize('name', ['same-clothes', 'clothes-changing'])
def test_an_outfit_that_is_not_known_is_an_error_where_somebody_asks_for_the_person(name):
    features = draw(6)
    asked = int(np.flatnonzero(features.query)[2])
    features.attributes['outfit'][asked] = ''
    with pytest.raises(ValueError, match=rf'1 of \d+ tracklets of the people .* first walk {asked}\. .*attr:outfit'):
        protocols.score(features, protocols.named(name))
    without = dataclasses.replace(features, attributes={})
    with pytest.raises(ValueError, match='compares outfits'):
        protocols.score(without, protocols.named(name))
    nobody = features.pid == features.pid[asked]
    features.query[nobody] = False
    assert protocols.score(features, protocols.named(name))['mAP'] > 0  # nobody asks for them now


def test_single_shots_are_drawn_from_what_the_rule_leaves():
    features = draw(7, n=70)
    distances = distances_of(features, ties=False)
    rule = dataclasses.replace(protocols.named('clothes-changing'), cmc='single_shot')
    blocks = [(slice(0, len(distances)), distances)]
    shots = np.concatenate(
        [
            protocols.rank_blocks(lambda _: blocks, features, dataclasses.replace(rule, cmc_seed=seed)).shots
            for seed in range(60)
        ],
        axis=1,
    )
    answered = protocols.rank_blocks(lambda _: blocks, features, rule).answered
    assert not answered.all()
    assert ((shots > 0).all(axis=1) == answered).all()
    rows, outfit = np.flatnonzero(features.query), features.attributes['outfit']
    for i in np.flatnonzero(answered)[::3]:
        q = rows[i]
        out = (features.pid == features.pid[q]) & (outfit == outfit[q])
        expected = ranking_oracle.expected_single_shot_rank(
            distances[i].tolist(), features.pid.tolist(), features.camera.tolist(), features.pid[q], features.camera[q],
            ignored=set(np.flatnonzero(out | (features.pid == -1)).tolist()),
        )  # fmt: skip
        assert abs(shots[i].mean() - expected) < 0.35


def test_look_alikes_are_told_apart_by_what_the_rule_leaves():
    features = draw(7, n=200)
    groups = [[1, 2, 3], [4, 5, 6]]
    inside = {name: protocols.look_alike_rank1(features, protocols.named(name), groups).rank1 for name in LEFT_OUT}
    assert inside['same-clothes'] > inside['clothes-changing']


def test_files_say_the_outfits_and_results_the_rule(tmp_path, capsys):
    features = draw(8)
    features.save(tmp_path / 'a.npz')
    argv = [str(tmp_path / 'a.npz'), '--resamples', '20', '--json', str(tmp_path / 'out.json')]
    assert score.main([*argv, *(word for name in LEFT_OUT for word in ('--protocol', name))]) == 0
    made = json.loads((tmp_path / 'out.json').read_text())
    for name in LEFT_OUT:
        assert made[name]['mAP'] == pytest.approx(protocols.score(features, protocols.named(name))['mAP'])
    assert score.main([*argv, '--protocol', 'torchreid', '--outfits', 'other']) == 0
    (row,) = json.loads((tmp_path / 'out.json').read_text()).items()
    assert row[0] == 'torchreid with outfits=other'
    assert row[1]['protocol']['outfits'] == 'other'
    assert set(LEFT_OUT) <= {rule.protocol.name for rule in rules.every([features], 'cosine')}
    dataclasses.replace(features, attributes={}).save(tmp_path / 'b.npz')
    assert score.main([str(tmp_path / 'b.npz'), '--protocol', 'clothes-changing']) == 1
    assert 'compares outfits' in capsys.readouterr().err


def test_a_manifest_says_the_outfits(tmp_path):
    rows = [
        ('a', 'Ann', 'door', 'query', 'coat'), ('b', 'Ann', 'gate', 'gallery', 'coat'),
        ('c', 'Ann', 'gate', 'gallery', 'dress'), ('d', 'Ann', 'door', 'gallery', 'dress'),
        ('e', 'Bob', 'gate', 'gallery', ''),
    ]  # fmt: skip
    lines = [f'{name},{pid},{camera},{role},{name}.jpg,{outfit}' for name, pid, camera, role, outfit in rows]
    (tmp_path / 'own.csv').write_text('\n'.join(['tracklet,pid,camera,role,frames,attr:outfit', *lines]))
    for name, *_ in rows:
        (tmp_path / f'{name}.jpg').write_bytes(b'')
    dataset = manifest.read(tmp_path / 'own.csv')
    # From Ann's coat: her coat, Bob, her dress.
    embedding = np.array([[0.0], [1.0], [3.0], [0.5], [2.0]], np.float32)
    features = features_lib.describe(dataset, embedding, embedding, {})
    scores = {
        name: protocols.score(features, protocols.named(name), distance='euclidean')['mAP'] / 100 for name in LEFT_OUT
    }
    assert scores == pytest.approx({'general': (1 + 2 / 3) / 2, 'same-clothes': 1, 'clothes-changing': 1 / 2})


@pytest.mark.parametrize(('bob', 'expected'), [(3.5, 1), (1.5, 1 / 2)])
def test_the_example_of_the_page(bob, expected):
    """Ann in her coat, camera 1, is asked for; docs/protocols.md has the gallery."""
    features = feature_file.Features(
        embedding=np.array([[0.0], [1.0], [2.0], [3.0], [bob]], np.float32), embedding_before_neck=None,
        pid=np.array([1, 1, 1, 1, 2]), camera=np.array([1, 2, 3, 1, 2]), query=np.arange(5) == 0,
        gallery=np.arange(5) > 0, name=np.array(list('qabcd')), frames=np.ones(5, int), meta={},
        attributes={'outfit': np.array(['coat', 'coat', 'dress', 'coat', 'coat'])},
    )  # fmt: skip
    scores = {
        name: protocols.score(features, protocols.named(name), distance='euclidean')['mAP'] / 100 for name in LEFT_OUT
    }
    assert (scores['same-clothes'], scores['clothes-changing']) == (1, expected)
    assert scores['general'] == (1 if bob > 2 else pytest.approx((1 + 2 / 3) / 2))


def test_a_result_from_before_the_rules_about_outfits_is_replaced_by_its_newer_run(tmp_path):
    row = {'protocol': {'name': 'mars-paper'}, 'step': 3, 'selected': 'last step', 'mAP': 1.0}
    (tmp_path / 'results.json').write_text(json.dumps([row]))
    newer = row | {'protocol': row['protocol'] | {'outfits': 'any'}, 'mAP': 2.0}
    results.append(tmp_path / 'results.json', [newer])
    assert results.read(tmp_path / 'results.json') == [newer]


def test_the_report_ranks_by_the_rule_and_shows_errors_by_outfit():
    features, rule = draw(9, n=70), protocols.named('clothes-changing')
    made = analysis.analyse(features, rule, distance='cosine', top=5)
    expected = protocols.rank_queries(features, rule)
    shown = made.lists.mark == ranked_lists.RIGHT
    first = np.where(shown.any(1), np.take_along_axis(made.lists.rank, shown.argmax(1)[:, None], 1)[:, 0], 0)
    within = expected.first_hit <= 5
    np.testing.assert_array_equal(first[within], expected.first_hit[within])
    items = made.gallery[made.lists.item]
    outfit, camera = features.attributes['outfit'], features.camera
    for place, row in enumerate(made.queries):
        for item, mark in zip(items[place], made.lists.mark[place]):
            own = features.pid[item] == features.pid[row]
            by_outfit = own and camera[item] != camera[row] and outfit[item] == outfit[row]
            assert mark == -1 or (mark == ranked_lists.OUTFIT) == by_outfit
    assert (made.lists.mark == ranked_lists.OUTFIT).any()
    assert [one['protocol']['name'] for one in made.outfits] == list(LEFT_OUT)
    by_match = {one['stratum']: one['queries'] for one in made.by_matches}
    assert by_match.keys() == {'both', 'other'}  # who wears the same everywhere cannot be asked for by this rule
    assert sum(by_match.values()) == made.score['protocol']['answered_queries']
    facts = page.facts(made.score['protocol'], features, 'cosine')
    assert ('Same person, the same outfit', 'taken out') in facts


def test_outfits_of_the_matches_are_those_that_other_cameras_show():
    features = draw(10)
    told = outfits.of_matches(features).attributes[outfits.MATCHES]
    outfit = features.attributes['outfit']
    for row in np.flatnonzero(features.query):
        worn = {
            outfit[j] == outfit[row]
            for j in np.flatnonzero(features.gallery)
            if features.pid[j] == features.pid[row] and features.camera[j] != features.camera[row]
        }
        assert told[row] == {(): '', (True,): 'same', (False,): 'other', (False, True): 'both'}[tuple(sorted(worn))]
    assert {'same', 'other', 'both'} & set(told)
    assert outfits.of_matches(dataclasses.replace(features, attributes={})).attributes == {}
