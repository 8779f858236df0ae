import dataclasses
import json

import numpy as np
import pytest

from jaxreid import config
from jaxreid.evaluation import protocols, rules
from tests.fixtures import public_tables, ranked_rows
from tests.fixtures.ranked_rows import Rows
from tests.oracles import ranking as oracle


def draw(seed=0, *, n=90, num_ids=7, d=5):
    """A test set in MARS' manner: queries are in the gallery too, junk and distractors between them."""
    rng = np.random.default_rng(seed)
    pid, camera = rng.integers(-1, num_ids + 1, n), rng.integers(1, 4, n)
    centres = rng.normal(size=(num_ids + 2, d))
    embedding = (centres[pid + 1] + 1.5 * rng.normal(size=(n, d))).astype(np.float32)
    query = (pid > 0) & (rng.uniform(size=n) < 0.4)
    return Rows(embedding, pid, camera, query, np.ones(n, bool))


def slow(embedding, pid, camera, query, gallery, protocol, *, distance='cosine'):
    """(AP, first hit, matches) of every query from loops."""
    x = embedding.astype(np.float64)
    rows = [j for j in np.flatnonzero(gallery) if not (protocol.gallery == 'without_queries' and query[j])]
    rows = [j for j in rows if not (protocol.distractors == 'drop' and pid[j] == 0)]
    junk = {i for i, j in enumerate(rows) if protocol.junk == 'drop' and pid[j] == -1}
    results = []
    for q in np.flatnonzero(query):
        if distance == 'cosine':
            to = [-np.dot(x[q], x[j]) / np.linalg.norm(x[q]) / np.linalg.norm(x[j]) for j in rows]
        else:
            to = [np.linalg.norm(x[q] - x[j]) for j in rows]
        results.append(
            oracle.query(
                to,
                pid[q],
                camera[q],
                pid[rows],
                camera[rows],
                ap=protocol.ap,
                ignored=junk,
                cut=protocol.rank_cut,
                same_camera=protocol.same_camera,
                itself=[at for at, j in enumerate(rows) if j == q] if protocol.same_camera == 'keep' else (),
            )
        )
    return results


# The others are in outfits_test and reassociation_test.
WITHOUT_OUTFITS = [name for name in config.PROTOCOLS if not rules.needs(protocols.named(name))]
PROTOCOLS = [protocols.named(name) for name in WITHOUT_OUTFITS] + [
    protocols.Protocol('junk', ap='step', gallery='with_queries', junk='negatives'),
    protocols.Protocol('no distractors', ap='trapezoid', gallery='with_queries', distractors='drop'),
    protocols.Protocol('all cameras', ap='step', gallery='without_queries', same_camera='keep'),
    protocols.Protocol('all but itself', ap='step', gallery='with_queries', same_camera='keep'),
    protocols.Protocol('other cameras only', ap='step', gallery='with_queries', same_camera='drop'),
    protocols.Protocol('missed', ap='step', gallery='without_queries', unanswerable='zero'),
    protocols.Protocol('short', ap='trapezoid', gallery='with_queries', rank_cut=9),
]


@pytest.mark.parametrize('protocol', PROTOCOLS, ids=lambda p: p.name)
@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_every_rule_gives_the_score_of_the_loops(protocol, distance):
    rows = draw(3, n=60, num_ids=12)
    rows[2][rows[1] == 5] = 2  # seen by one camera only: its queries have no match
    rows[1][np.flatnonzero(rows[3])[4]] = 99  # seen once only: no match under any rule
    expected = slow(*rows, protocol, distance=distance)
    counted = len(expected) if protocol.unanswerable == 'zero' else sum(m > 0 for _, _, m in expected)
    found = protocols.score(rows, protocol, distance=distance)
    np.testing.assert_allclose(found['mAP'], 100 * sum(ap for ap, _, _ in expected) / counted, rtol=1e-9)
    for k in (1, 5, 10, 20):
        np.testing.assert_allclose(
            found['cmc'][str(k)], 100 * sum(0 < first <= k for _, first, _ in expected) / counted, rtol=1e-12
        )
    assert found['protocol']['answered_queries'] == sum(m > 0 for _, _, m in expected)
    assert found['protocol']['unanswered_queries'] == sum(m == 0 for _, _, m in expected)
    assert found['protocol']['unanswered_queries'] > 0


def test_a_score_says_all_its_rules_and_counts_and_is_json():
    embedding, pid, camera, query, gallery = draw()
    found = json.loads(
        json.dumps(protocols.score(Rows(embedding, pid, camera, query, gallery), protocols.named('torchreid')))
    )
    assert found.keys() == {'protocol', 'mAP', 'mINP', 'cmc', 'asked_people'}
    assert found['asked_people'] == len(set(pid[query])) > 1
    assert found['cmc'].keys() == {'1', '5', '10', '20'}
    assert found['protocol'] == {
        'name': 'torchreid',
        'ap': 'step',
        'gallery': 'without_queries',
        'junk': 'drop',
        'distractors': 'keep',
        'same_camera': 'drop_matches',
        'outfits': 'any',
        'gap_frames': None,
        'query_stride': 1,
        'unanswerable': 'skip',
        'rank_cut': None,
        'cmc': 'per_query',
        'cmc_seed': 0,
        'distance': 'cosine',
        'answered_queries': found['protocol']['answered_queries'],
        'unanswered_queries': int(query.sum()) - found['protocol']['answered_queries'],
        'gallery_size': int(((pid >= 0) & ~query).sum()),
        'queries_in_gallery': 0,
    }
    paper = protocols.score(Rows(embedding, pid, camera, query, gallery), protocols.named('mars-paper'))
    assert paper['protocol']['gallery_size'] == int((pid >= 0).sum())
    assert paper['protocol']['queries_in_gallery'] == int(query.sum())


def test_the_named_protocols_differ_as_described():
    every = {name: dataclasses.asdict(protocols.named(name)) for name in config.PROTOCOLS}
    assert all(rule['name'] == name for name, rule in every.items())
    picked = {name: (r['ap'], r['gallery'], r['rank_cut']) for name, r in every.items()}
    assert picked == {
        'mars-paper': ('step', 'with_queries', None),
        'mars-official': ('trapezoid', 'with_queries', None),
        'torchreid': ('step', 'without_queries', None),
        'ste-nvan': ('trapezoid', 'with_queries', 10_000),
        'general': ('step', 'with_queries', None),
        'same-clothes': ('step', 'with_queries', None),
        'clothes-changing': ('step', 'with_queries', None),
        'reassociation': ('step', 'with_queries', None),
        'dukev': ('step', 'with_queries', None),
        'ilids': ('step', 'with_queries', None),
        'prid': ('step', 'with_queries', None),
        'lsvid': ('step', 'with_queries', None),
    }
    worn = {name: rule['outfits'] for name, rule in every.items() if rule['outfits'] != 'any'}
    assert worn == {'same-clothes': 'same', 'clothes-changing': 'other'}
    gap = every.pop('reassociation')
    assert (gap['gap_frames'], gap['query_stride'], gap['same_camera']) == (30, 60, 'keep')
    for rule in every.values():
        assert (rule['junk'], rule['distractors'], rule['unanswerable'], rule['same_camera']) == (
            'drop',
            'keep',
            'skip',
            'drop_matches',
        )


@pytest.mark.parametrize('name', WITHOUT_OUTFITS)
def test_perfect_features_give_a_hundred(name):
    _, pid, camera, query, gallery = draw(1)
    found = protocols.score(Rows(np.eye(9)[pid + 1], pid, camera, query, gallery), protocols.named(name))
    assert found['mAP'] == 100
    assert set(found['cmc'].values()) == {100.0}


def test_junk_features_do_not_matter_unless_junk_is_kept():
    embedding, pid, camera, query, gallery = draw(2)
    other = embedding.copy()
    other[pid == -1] = embedding[query][: (pid == -1).sum()].mean(axis=0)
    for protocol in PROTOCOLS:
        one = protocols.score(Rows(embedding, pid, camera, query, gallery), protocol)
        two = protocols.score(Rows(other, pid, camera, query, gallery), protocol)
        if protocol.junk == 'negatives':
            assert one['mAP'] > two['mAP']
        elif protocol.rank_cut != 9:
            assert one == two


def test_query_rows_outside_the_gallery_are_not_added_to_it():
    """DukeMTMC-VideoReID's gallery holds copies of the queries already."""
    embedding, pid, camera, query, _ = draw(4)
    both = [np.concatenate([x[query], x]) for x in (embedding, pid, camera)]
    query_rows = np.concatenate([np.ones(query.sum(), bool), np.zeros(len(query), bool)])
    for name in ('mars-paper', 'torchreid'):
        found = protocols.score(Rows(*both, query_rows, ~query_rows), protocols.named(name))
        expected = protocols.score(
            Rows(embedding, pid, camera, query, np.ones_like(query)), protocols.named('mars-paper')
        )
        np.testing.assert_allclose(found['mAP'], expected['mAP'], rtol=1e-9)
        assert found['protocol']['queries_in_gallery'] == 0


def test_ready_distances_score_as_the_features_they_come_from():
    embedding, pid, camera, query, _ = draw(5)
    gallery = np.arange(len(pid)) % 5 > 0
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    for protocol in PROTOCOLS:
        found = ranked_rows.of_distances(
            -unit[query] @ unit[gallery].T, pid, camera, query, gallery, protocol, distance='cosine'
        )
        expected = protocols.score(Rows(embedding, pid, camera, query, gallery), protocol)
        np.testing.assert_allclose(found['mAP'], expected['mAP'], rtol=1e-9)
        assert found['cmc'] == expected['cmc']
        assert found['protocol'] == expected['protocol']


def test_every_query_can_be_looked_at():
    rows = draw(6)
    protocol = protocols.named('mars-paper')
    ranked = protocols.rank_queries(rows, protocol)
    expected = slow(*rows, protocol)
    np.testing.assert_allclose(ranked.ap, [ap for ap, _, _ in expected], rtol=1e-9)
    assert ranked.first_hit.tolist() == [first for _, first, _ in expected]
    assert ranked.answered.tolist() == [m > 0 for _, _, m in expected]
    assert protocols.summarize(ranked, rows, protocol, distance='cosine') == protocols.score(rows, protocol)


def test_more_queries_than_a_block_are_all_scored():
    rows = draw(7, n=700, num_ids=100)
    assert rows[3].sum() > 256
    expected = slow(*rows, protocols.named('mars-paper'))
    np.testing.assert_allclose(
        protocols.score(rows, protocols.named('mars-paper'))['mAP'],
        100 * np.mean([ap for ap, _, m in expected if m]),
        rtol=1e-5,
    )


@pytest.mark.parametrize('protocol', PROTOCOLS[:5], ids=lambda p: p.name)
def test_look_alikes_are_told_apart_as_by_the_loop(protocol):
    embedding, pid, camera, query, gallery = draw(8, n=120, num_ids=10)
    groups = [[1, 4, 7], [2, 3], [9, 99]]  # 99 is nobody: queries of 9 have no rival
    found = protocols.look_alike_rank1(Rows(embedding, pid, camera, query, gallery), protocol, groups)
    unit = embedding.astype(np.float64) / np.linalg.norm(embedding.astype(np.float64), axis=1, keepdims=True)
    rows = [j for j in range(len(pid)) if not (protocol.gallery == 'without_queries' and query[j])]
    hits, chances = oracle.look_alikes(-unit @ unit.T, pid, camera, np.flatnonzero(query), rows, groups)
    assert found.queries == len(hits) > 5
    np.testing.assert_allclose(found.rank1, 100 * np.mean(hits))
    np.testing.assert_allclose(found.chance, 100 * np.mean(chances))
    assert 0 < found.rank1 < 100
    assert 100 / 3 < found.chance < 50


def test_look_alikes_of_a_model_that_sees_nothing_finer_are_at_chance():
    rng = np.random.default_rng(9)
    pid, camera = np.repeat(np.arange(1, 61), 6), np.tile([1, 2, 3], 120)
    query = np.arange(360) % 6 == 0
    groups = np.arange(1, 61).reshape(15, 4).tolist()
    ranks = [
        protocols.look_alike_rank1(
            Rows(rng.normal(size=(360, 4)), pid, camera, query, np.ones(360, bool)),
            protocols.named('torchreid'),
            groups,
        )
        for _ in range(10)
    ]
    assert ranks[0].chance == 25
    assert ranks[0].queries == 60
    assert abs(np.mean([r.rank1 for r in ranks]) - 25) < 8


def test_without_look_alikes_there_is_no_rank():
    for groups in ([], [[1000, 1001]]):
        found = protocols.look_alike_rank1(draw(), protocols.named('mars-paper'), groups)
        assert found.queries == 0
        assert np.isnan(found.rank1)
    with pytest.raises(ValueError, match='more than one look-alike group'):
        protocols.look_alike_rank1(draw(), protocols.named('mars-paper'), [[1, 2], [2, 3]])


def test_bad_input_is_refused_with_what_was_found():
    embedding, pid, camera, query, gallery = draw()
    paper = protocols.named('mars-paper')
    broken = embedding.copy()
    broken[[7, 30], 1] = np.nan, np.inf
    nobody = np.zeros_like(query)
    for message, rows in {
        '2 of 90 embeddings hold NaN or infinity, the first in row 7': (broken, pid, camera, query, gallery),
        "'camera': 89": (embedding, pid, camera[1:], query, gallery),
        r'Embeddings are \(89, 5\), expected \(90, D\)': (embedding[1:], pid, camera, query, gallery),
        'None of the 90 tracklets is marked query': (embedding, pid, camera, nobody, gallery),
        'The gallery is empty: of 90 tracklets 0 are marked': (embedding, pid, camera, query, nobody),
        'query is int64, expected bool': (embedding, pid, camera, np.flatnonzero(query).repeat(90)[:90], gallery),
        'queries has a match in the gallery': (embedding, pid, np.ones_like(camera), query, gallery),
    }.items():
        with pytest.raises(ValueError, match=message):
            protocols.score(Rows(*rows), paper)
    with pytest.raises(ValueError, match="'mars' is unknown, expected one of mars-paper, mars-official"):
        protocols.named('mars')
    with pytest.raises(ValueError, match="'mine' has junk='sometimes'"):
        protocols.Protocol('mine', ap='step', gallery='with_queries', junk='sometimes')
    with pytest.raises(ValueError, match='rank_cut=0'):
        protocols.Protocol('mine', ap='step', gallery='with_queries', rank_cut=0)


def golden_distances(q, g, query_ids, gallery_ids, *, div):
    """The integer formula of evaluator_goldens.json, `q` and `g` from 1."""
    found = np.empty((len(q), len(g)), np.int64)
    for i in range(len(q)):
        h = ((q[i] * 73856093) ^ (g * 19349663)) % 1000003
        h = np.where((gallery_ids == query_ids[i]) | (gallery_ids == -1), h // div, h)
        found[i] = h * 16384 + g
    return found


def check_golden(found, golden):
    evaluated = golden['evaluated_queries']
    assert found['protocol']['answered_queries'] == evaluated
    np.testing.assert_allclose(found['mAP'], 100 * golden['mAP'], rtol=0, atol=1e-4)  # 1e-6 as a share
    for k in (1, 5, 10, 20):
        hits = golden[f'rank{k}'] * evaluated  # some evaluators gave float32
        assert abs(hits - round(hits)) < 1e-3
        np.testing.assert_allclose(found['cmc'][str(k)], 100 * round(hits) / evaluated, rtol=1e-14)


@pytest.fixture(scope='module')
def mars():
    goldens, table, q = public_tables.goldens('mars'), public_tables.mars('test'), public_tables.mars_query()
    pid, camera = table[:, 2], table[:, 3]
    query = np.zeros(len(table), bool)
    query[q - 1] = True
    q = np.flatnonzero(query) + 1
    distances = golden_distances(q, np.arange(1, len(table) + 1), pid[q - 1], pid, div=goldens['div'])
    first = np.searchsorted(q, goldens['first_rows']['q'])
    np.testing.assert_array_equal(distances[first, :4], goldens['first_rows']['distance'])
    return goldens['rules'], (distances, pid, camera, query, np.ones(len(table), bool))


@pytest.mark.parametrize(
    ('rule', 'name', 'gallery_size'),
    [
        ('official_matlab_rule', 'mars-official', 11310),
        ('query_in_gallery_step_ap', 'mars-paper', 11310),
        ('query_not_in_gallery_step_ap', 'torchreid', 9330),
    ],
)
def test_published_evaluators_agree_on_mars(mars, rule, name, gallery_size):
    rules, rows = mars
    found = ranked_rows.of_distances(*rows, protocols.named(name), distance='formula')
    check_golden(found, rules[rule])
    assert found['protocol']['gallery_size'] == gallery_size


def test_ste_nvan_cut_is_the_official_rule_while_all_matches_are_in_front_of_it(mars):
    rules, (distances, *rows) = mars
    close = ranked_rows.of_distances(distances, *rows, protocols.named('ste-nvan'), distance='formula')
    np.testing.assert_allclose(close['mAP'], 100 * rules['official_matlab_rule']['mAP'], atol=1e-4)
    far = ranked_rows.of_distances(
        -distances[:50], rows[0], rows[1], first(rows[2], 50), rows[3], protocols.named('ste-nvan'), distance='formula'
    )
    assert far['mAP'] == 0  # every match lies behind place 10,000
    assert far['protocol']['answered_queries'] == 50


def first(mask, count):
    """The first `count` marks of a mask."""
    return mask & (np.cumsum(mask) <= count)


@pytest.mark.parametrize(('rule', 'name'), [('step_ap', 'dukev'), ('trapezoid_ap', 'mars-official')])
def test_published_evaluators_agree_on_dukemtmc(rule, name):
    goldens = public_tables.goldens('dukev')
    pid, camera = np.concatenate([public_tables.dukev('query'), public_tables.dukev('gallery')])[:, :2].T
    query = np.arange(len(pid)) < 702
    q, g = np.arange(1, 703), np.arange(1, 2637)
    distances = golden_distances(q, g, pid[query], pid[~query], div=goldens['div'])
    np.testing.assert_array_equal(distances[:3, :4], goldens['first_rows']['distance'])
    found = ranked_rows.of_distances(distances, pid, camera, query, ~query, protocols.named(name), distance='formula')
    check_golden(found, goldens['rules'][rule])
    assert found['protocol']['gallery_size'] == goldens['rules'][rule]['gallery']


@pytest.mark.parametrize('copied', [False, True])
def test_a_query_of_one_camera_is_not_its_own_match(copied):
    """Noise of one camera: rank-1 is chance, whether the query's own row is in the gallery or a copy of it."""
    rng = np.random.default_rng(3)
    pid, first = np.repeat(np.arange(1, 201), 2), np.tile([True, False], 200)
    embedding = rng.normal(size=(400, 16)).astype(np.float32)
    gallery = ~first if copied else np.ones(400, bool)
    if copied:
        embedding, pid = np.concatenate([embedding, embedding[first]]), np.concatenate([pid, pid[first]])
        first, gallery = (np.concatenate([x, np.full(200, y)]) for x, y in ((first, False), (gallery, True)))
    rows = Rows(embedding, pid, np.ones(len(pid), int), first, gallery)
    rule = protocols.Protocol('one camera', ap='step', gallery='with_queries', same_camera='keep')
    found = protocols.score(rows, rule)
    assert found['cmc']['1'] < 3
    assert found['mINP'] < 10
