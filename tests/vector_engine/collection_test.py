"""The engine, embedded (Milvus Lite) and as a server, on galleries small enough to be compared with plain NumPy."""

import contextlib
import dataclasses
import json
import logging

import numpy as np

# It closes every handler of `logging` when it is imported, and that of absl the stderr that it began with, unless that
# is still the one of the process: which it is here, and is not amid a test.
import pymilvus  # noqa: F401
import pytest

from jaxreid.evaluation import feature_file
from jaxreid.search import feature_rows, results, tracklets
from jaxreid.vector_engine import collection as vector_engine

N, Q, D = 300, 12, 24
MADE = {'network': 'a1', 'clips': 'rrs', 'distance': 'cosine'}


def people(count, *, seed, made=MADE, dim=D):
    """Tracklets of 40 people in four cameras, camera 0 unknown; every third begins at no known time."""
    rng = np.random.default_rng(seed)
    who = rng.integers(1, 41, count)
    features = np.random.default_rng(0).normal(size=(41, dim))[who] + 0.4 * rng.normal(size=(count, dim))
    camera = rng.integers(0, 4, count)
    return tracklets.Tracklets(
        where=f'people {seed}',
        features=feature_rows.Rows.of(features.astype(np.float32)),
        name=[f'{seed} "{i}"\\ü' for i in range(count)],
        person=[str(one) for one in who],
        camera=[f'cam {one}' if one else '' for one in camera],
        time=['' if i % 3 == 0 else f'2026-11-21T10:{i % 60:02d}:00' for i in range(count)],
        frames=[5 + i for i in range(count)],
        made=made,
        film=lambda row: [],
    )


@pytest.fixture(scope='module')
def gallery():
    return people(N, seed=1)


@pytest.fixture(scope='module')
def queries():
    return people(Q, seed=2)


@pytest.fixture(scope='module', params=['lite', 'server'])
def engine(request, tmp_path_factory, gallery):
    """A client whose collections `cosine` and `euclidean` hold the gallery; of a server where the package milvus is."""
    folder = tmp_path_factory.mktemp('engine')
    uri = str(folder / 'test.db')
    with contextlib.ExitStack() as stack:
        if request.param == 'server':
            server = pytest.importorskip('milvus').MilvusServer(data_dir=str(folder), wait_for_started=False)
            stack.callback(server.stop)
            server.start()
            server.wait_started(timeout=600_000)  # milliseconds; a busy machine takes minutes
            uri = f'http://127.0.0.1:{server.listen_port}'
        client = stack.enter_context(vector_engine.connect(uri))
        for distance in ('cosine', 'euclidean'):
            vector_engine.export(client, distance, gallery, distance=distance)
        yield client


def expected(gallery, query, *, distance='cosine', allowed=lambda row: True, top=5):
    """(name, similarity) of the nearest, one pair after the other."""
    q = query.astype(np.float64)
    found = []
    for row, feature in enumerate(gallery.features.read(0, N).astype(np.float64)):
        if allowed(row):
            cosine = (feature @ q) / np.sqrt((feature @ feature) * (q @ q))
            found.append((gallery.name[row], cosine if distance == 'cosine' else -np.sqrt(((feature - q) ** 2).sum())))
    return sorted(found, key=lambda pair: -pair[1])[:top]


def same(answered, found, row, wanted):
    hits = found.hits[row]
    assert [answered.name[hit.row] for hit in hits] == [name for name, _ in wanted]
    np.testing.assert_allclose([hit.similarity for hit in hits], [s for _, s in wanted], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_the_engine_answers_as_a_loop_over_all_pairs(engine, gallery, queries, distance):
    answered, found = vector_engine.search(engine, distance, queries, top=5, filters=results.Filters())
    assert found.distance == distance
    assert found.searched == N
    for row in range(Q):
        same(answered, found, row, expected(gallery, queries.features.read(row, row + 1)[0], distance=distance))
    hit = answered.name.index(expected(gallery, queries.features.read(0, 1)[0], distance=distance)[0][0])
    own = gallery.name.index(answered.name[hit])
    for field in ('person', 'camera', 'time', 'frames'):
        assert getattr(answered, field)[hit] == getattr(gallery, field)[own]


@pytest.mark.parametrize(
    ('filters', 'allowed'),
    [
        (results.Filters(camera=('cam 1', 'cam 3')), lambda g, q, i: g.camera[i] in ('cam 1', 'cam 3')),
        (results.Filters(not_camera=('cam 1',)), lambda g, q, i: g.camera[i] != 'cam 1'),
        (results.Filters(same_camera='only'), lambda g, q, i: q != '' and g.camera[i] == q),
        (results.Filters(same_camera='drop'), lambda g, q, i: q == '' or g.camera[i] != q),
        (
            results.Filters(after='2026-11-21T10:10', before='2026-11-21T10:30', camera=('cam 2',)),
            lambda g, q, i: g.time[i] and '10:10' <= g.time[i][11:16] < '10:30' and g.camera[i] == 'cam 2',
        ),
        (
            results.Filters(
                after='2026-11-21T10:10', before='2026-11-21T10:11'
            ),  # the first moment is in, the last not
            lambda g, q, i: g.time[i][11:16] == '10:10',
        ),
        (results.Filters(after='5'), lambda g, q, i: False),
    ],
)
def test_filters_leave_what_they_say(engine, gallery, queries, filters, allowed):
    answered, found = vector_engine.search(engine, 'cosine', queries, top=5, filters=filters)
    for row in range(Q):
        query = queries.features.read(row, row + 1)[0]
        same(
            answered,
            found,
            row,
            expected(gallery, query, allowed=lambda i, q=queries.camera[row]: allowed(gallery, q, i)),
        )


def test_a_camera_that_the_collection_does_not_know_is_refused_with_those_it_knows(engine, queries):
    for filters in (results.Filters(camera=('cam 1', 'yrad')), results.Filters(not_camera=('yrad',))):
        with pytest.raises(ValueError, match=r"no camera 'yrad'; its cameras are: cam 1, cam 2, cam 3$"):
            vector_engine.search(engine, 'cosine', queries, top=1, filters=filters)
    assert vector_engine._cameras(engine, 'cosine', most=2).endswith(' ...')


def test_a_query_does_not_find_itself(engine, gallery):
    answered, found = vector_engine.search(engine, 'cosine', gallery, top=3, filters=results.Filters())
    for row, hits in enumerate(found.hits):
        assert len(hits) == 3
        assert gallery.name[row] not in [answered.name[hit.row] for hit in hits]


def first(count, gallery):
    """So many tracklets of a gallery."""
    features = feature_rows.Rows.of(gallery.features.read(0, count))
    rest = {key: getattr(gallery, key)[:count] for key in ('name', 'person', 'camera', 'time', 'frames')}
    return dataclasses.replace(gallery, features=features, **rest)


def test_the_same_features_from_another_camera_are_an_answer(engine, gallery):
    queries = first(3, gallery)
    vector_engine.export(engine, 'copies', dataclasses.replace(queries, camera=['cam 9'] * 3))
    answered, found = vector_engine.search(engine, 'copies', queries, top=1, filters=results.Filters())
    assert [answered.name[hits[0].row] for hits in found.hits] == queries.name


def test_an_export_that_is_repeated_changes_nothing_and_one_that_was_stopped_continues(engine, gallery):
    assert vector_engine.export(engine, 'cosine', gallery) == {'added': 0, 'replaced': 0, 'there': N}
    assert vector_engine.export(engine, 'stopped', first(100, gallery))['added'] == 100
    assert vector_engine.export(engine, 'stopped', gallery) == {'added': 200, 'replaced': 0, 'there': 100}


def test_another_tracklet_of_a_name_is_not_overwritten_unless_asked_for(engine, gallery):
    vector_engine.export(engine, 'names', gallery)
    other = dataclasses.replace(people(N, seed=3), name=gallery.name)
    with pytest.raises(ValueError, match=r'already holds .* Give tracklets of another place a --prefix'):
        vector_engine.export(engine, 'names', other)
    assert vector_engine.export(engine, 'names', gallery)['there'] == N
    assert vector_engine.export(engine, 'names', other, prefix='yard/')['added'] == N
    assert vector_engine.export(engine, 'names', other, replace=True)['replaced'] == N
    assert vector_engine.export(engine, 'names', other)['there'] == N


@pytest.mark.parametrize(
    ('given', 'problem'),
    [
        ({'made': MADE | {'network': 'b2'}}, 'fingerprint of the network: a1 there, b2 here'),
        ({'made': {}}, 'of the network: a1 there, not known here\n  clip protocol: rrs there, not known here\nChoose'),
        ({'dim': 7}, 'dimensions: 24 there, 7 here'),
    ],
)
def test_features_of_another_network_stay_out_of_a_collection(engine, given, problem):
    with pytest.raises(ValueError, match=problem):
        vector_engine.export(engine, 'cosine', people(N, seed=1, **given))
    assert engine.get_collection_stats('cosine')['row_count'] == N


def test_another_distance_and_a_collection_of_somebody_else_are_refused(engine, gallery, queries):
    with pytest.raises(ValueError, match='compares by COSINE, asked for is L2'):
        vector_engine.export(engine, 'cosine', gallery, distance='euclidean')
    engine.create_collection('theirs', dimension=D)
    with pytest.raises(ValueError, match='was not made by jaxreid'):
        vector_engine.export(engine, 'theirs', gallery)
    with pytest.raises(ValueError, match="there is no collection 'nowhere'"):
        vector_engine.search(engine, 'nowhere', queries, top=1, filters=results.Filters())


def test_names_that_cannot_be_ids_are_refused_before_anything_is_made(engine, gallery):
    for names, problem in (
        ([*gallery.name[1:], gallery.name[1]], '1 names are of several tracklets'),
        ([f'row {i}' for i in range(N)], 'names no tracklets'),
        (['x' * 600, *gallery.name[1:]], 'is longer than 512 bytes'),
    ):
        with pytest.raises(ValueError, match=problem):
            vector_engine.export(engine, 'refused', dataclasses.replace(gallery, name=names))
    assert not engine.has_collection('refused')


def test_an_unreachable_server_and_a_wrong_file_are_one_sentence(tmp_path):
    with (
        pytest.raises(OSError, match=r'no vector engine answers at http://127\.0\.0\.1:1 '),
        vector_engine.connect('http://127.0.0.1:1'),
    ):
        pass
    (tmp_path / 'text.db').write_text('no database')
    for name in ('text.db', 'name.txt'):
        with (
            pytest.raises(OSError, match=r'expected a name that ends in \.db'),
            vector_engine.connect(str(tmp_path / name)),
        ):
            pass
    assert logging.getLogger('pymilvus').level == logging.CRITICAL


@pytest.mark.slow
def test_recall_of_an_approximate_index_is_measured_against_exact_search(engine):
    """4,000 random directions in 64 dimensions: hard for HNSW, so that few candidates show."""
    rng = np.random.default_rng(5)

    def some(count, name):
        return dataclasses.replace(
            people(count, seed=1),
            name=[f'{name}{i}' for i in range(count)],
            features=feature_rows.Rows.of(rng.normal(size=(count, 64)).astype(np.float32)),
        )

    gallery, queries = some(4000, 'g'), some(20, 'q')
    vector_engine.export(engine, 'large', gallery)
    engine.release_collection('large')
    engine.load_collection('large')  # waits for the index
    few = vector_engine.recall(engine, 'large', gallery, queries, top=10, ef=1)
    many = vector_engine.recall(engine, 'large', gallery, queries, top=10, ef=800)
    assert few < 0.95
    assert many >= 0.99


@pytest.mark.parametrize(('similarity', 'share'), [(0.8, 1), (0.8 - 5e-7, 1), (0.79, 0.5)])
def test_an_answer_as_similar_as_the_last_exact_one_is_found_too(gallery, similarity, share):
    def answers(*rows):
        hits = [results.Hit(row, value, None) for row, value in rows]
        return results.Answers([hits], 'cosine', None, None, N, [], [])

    exact, got = answers((0, 0.9), (1, 0.8)), answers((0, 0.9), (2, similarity))
    answered = dataclasses.replace(gallery, name=[f'p/{name}' for name in gallery.name])
    assert vector_engine.share_found(gallery, exact, answered, got, prefix='p/') == share


def save_features(path, *, queries, gallery_from):
    """A feature file of 30 tracklets, the first of them queries and the last the gallery."""
    made = people(30, seed=1)
    feature_file.Features(
        embedding=made.features.read(0, 30),
        embedding_before_neck=None,
        pid=np.array([int(p) for p in made.person]),
        camera=np.arange(30) % 3,
        query=np.arange(30) < queries,
        gallery=np.arange(30) >= gallery_from,
        name=np.array(made.name),
        frames=np.full(30, 9),
        meta={'network': 'a1'},
    ).save(path)
    return path


@pytest.fixture
def features(tmp_path):
    return save_features(tmp_path / 'features.npz', queries=24, gallery_from=24)


def test_the_commands_work_on_feature_files(tmp_path, capsys):
    path = save_features(tmp_path / 'features.npz', queries=4, gallery_from=2)
    where = ['--uri', str(tmp_path / 'new' / 'engine.db'), '--collection', 'shop']
    assert vector_engine.run(['export', str(path), *where]) == 0
    assert 'shop at' in capsys.readouterr().out
    assert vector_engine.run(['recall', str(path), str(path), *where, '--top', '3']) == 0
    assert 'recall at top 3 against exact search: 1.0000 (4 queries)' in capsys.readouterr().out
    out = tmp_path / 'answers.json'
    assert vector_engine.run(['search', str(path), *where, '--top', '2', '--camera', '1', '--json', str(out)]) == 0
    assert '#1' in capsys.readouterr().out
    answers = json.loads(out.read_text())['results']
    assert len(answers) == 4
    assert {hit['camera'] for answer in answers for hit in answer['hits']} == {'1'}
    assert vector_engine.run(['search', str(path), '--uri', where[1], '--collection', 'no']) == 1
    assert 'export to it first' in capsys.readouterr().err


def test_a_search_offers_only_what_it_can_and_all_there_is(tmp_path, capsys, features):
    where = ['--uri', str(tmp_path / 'engine.db'), '--collection', 'shop']
    assert vector_engine.run(['export', str(features), *where]) == 0
    capsys.readouterr()
    out = tmp_path / 'answers.json'
    for _ in range(2):  # answers may be written over answers
        assert vector_engine.run(['search', str(features), *where, '--top', '99999', '--json', str(out)]) == 0
    said = capsys.readouterr()
    assert '--html' not in said.out
    assert '--calibration' not in said.out
    assert '... and 4 more queries (--json has all)' in said.out
    assert '--top 99999: the collection holds 6, all are ranked' in said.err
    assert len(json.loads(out.read_text())['results'][0]['hits']) == 6
    before = features.read_bytes()
    (tmp_path / 'mine.json').write_text('{"results": 1}')
    foreign, read = 'exists and holds no answers of a search', 'which the search reads'
    for path, problem in (
        (tmp_path / 'mine.json', foreign),
        (tmp_path, 'is a folder; name a file in it'),
        (features, read),
        (tmp_path / 'engine.db' / 'answers.json', read),
    ):
        assert vector_engine.run(['search', str(features), *where, '--json', str(path)]) == 1
        assert problem in capsys.readouterr().err
    assert features.read_bytes() == before


def test_a_mistyped_file_is_not_made(tmp_path, capsys, features):
    missing = tmp_path / 'new' / 'nosuch.db'
    for words in (['search', str(features)], ['recall', str(features), str(features)]):
        assert vector_engine.run([*words, '--uri', str(missing), '--collection', 'shop']) == 1
        assert 'nosuch.db; export a gallery to it first' in capsys.readouterr().err
    assert not missing.parent.exists()


class Server:
    """Says of its index what a Milvus server says while it builds one."""

    def __init__(self, *indexed, reason=''):
        self.indexed, self.reason, self.calls = list(indexed), reason, []

    def describe_index(self, collection, field):
        done = self.indexed.pop(0) if len(self.indexed) > 1 else self.indexed[0]
        self.calls.append(done)
        said = {'total_rows': 100, 'indexed_rows': done, 'pending_index_rows': 100 - done, 'state': 'Finished'}
        return said | {'index_state_fail_reason': self.reason}

    def release_collection(self, collection):
        self.calls.append('release')

    def load_collection(self, collection):
        self.calls.append('load')


def test_an_export_ends_when_the_index_of_a_server_serves(monkeypatch, capsys):
    monkeypatch.setattr(vector_engine, '_WAIT', 0)
    server = Server(0, 40, 100)
    assert vector_engine.serve(server, 'shop')
    assert server.calls == [0, 40, 100, 'release', 'load']
    stuck = Server(40)
    assert not vector_engine.serve(stuck, 'shop', patience=0.05)
    assert 'the index of shop has 40 of 100 rows, and no more for 0.05 seconds' in capsys.readouterr().err
    assert 'load' not in stuck.calls
    with pytest.raises(ValueError, match=r"the index of 'shop' failed: no memory"):
        vector_engine.serve(Server(0, reason='no memory'), 'shop')


def test_candidates_grow_as_filters_leave_fewer(engine, queries, monkeypatch):
    asked = []
    search = engine.search
    monkeypatch.setattr(
        engine, 'search', lambda *a, **k: asked.append(k['search_params']['params']['ef']) or search(*a, **k)
    )
    for filters in (results.Filters(), results.Filters(camera=('cam 1',))):
        vector_engine.search(engine, 'cosine', queries, top=5, filters=filters, ef=40)
    assert asked[0] == 40
    assert 3 * 40 < asked[1] < 6 * 40  # a quarter of the rows
