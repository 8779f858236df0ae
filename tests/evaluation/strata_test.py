import dataclasses
import json

import numpy as np
import pytest

from jaxreid.evaluation import evaluate, feature_file, protocols, results, score, strata, uncertainty
from jaxreid.evaluation.report import analysis
from tests.oracles import ranking as oracle


def features(seed=0, *, n=90, num_ids=9, attributes=None):
    """Tracklets of a few people, seen by three cameras, junk and distractors included."""
    rng = np.random.default_rng(seed)
    pid = rng.integers(-1, num_ids, n)
    return feature_file.Features(
        embedding=(rng.normal(size=(num_ids + 1, 5))[pid + 1] + 1.3 * rng.normal(size=(n, 5))).astype(np.float32),
        embedding_before_neck=None,
        pid=pid,
        camera=rng.integers(1, 4, n),
        query=(pid > 0) & (rng.uniform(size=n) < 0.6),
        gallery=np.ones(n, bool),
        name=np.array([f'walk {i}' for i in range(n)]),
        frames=np.full(n, 4),
        meta={},
        attributes=attributes if attributes is not None else {'outfit': rng.choice(['coat', 'dress', ''], n)},
    )


def ranked(found, protocol):
    return protocols.rank_queries(found, protocol)


def slow(found, members):
    """(queries, mAP, rank-1) of the queries in the set `members` that have a match, one after the other."""
    unit = found.embedding / np.linalg.norm(found.embedding, axis=1, keepdims=True)
    junk = set(np.flatnonzero(found.pid == -1).tolist())
    aps, hits = [], []
    for q in np.flatnonzero(found.query):
        if q in members:
            ap, first, matches = oracle.query(
                (1 - unit @ unit[q]).tolist(), found.pid[q], found.camera[q], found.pid, found.camera, ap='step',
                ignored=junk,
            )  # fmt: skip
            if matches:
                aps.append(100 * ap)
                hits.append(100.0 * (first == 1))
    return len(aps), np.mean(aps), np.mean(hits)


def test_every_stratum_has_the_score_of_its_queries_alone():
    found, rule = features(), protocols.named('mars-paper')
    made = strata.scores([found], [ranked(found, rule)], rule)
    assert [(one['attribute'], one['stratum']) for one in made] == [
        ('outfit', 'coat'), ('outfit', 'dress'), ('outfit', 'unknown'),
    ]  # fmt: skip
    for one, value in zip(made, ('coat', 'dress', ''), strict=True):
        members = set(np.flatnonzero(found.attributes['outfit'] == value).tolist())
        queries, ap, first = slow(found, members)
        assert one['queries'] == queries
        assert one['mAP'] == pytest.approx(ap)
        assert one['rank1'] == pytest.approx(first)
        assert one['few'] == (queries < 50)
        assert one['interval']['mAP'][0] < one['mAP'] < one['interval']['mAP'][1]


def test_queries_without_a_match_count_where_the_protocol_counts_them():
    found = features()
    rule = dataclasses.replace(protocols.named('mars-paper'), unanswerable='zero')
    found.camera[found.pid == 3] = 1  # one person whom no other camera shows
    made = strata.scores([found], [ranked(found, rule)], rule, resamples=0)
    assert sum(one['queries'] for one in made) == found.query.sum()
    assert all(one['interval'] == {} for one in made)
    skipping = protocols.named('mars-paper')
    assert (
        sum(one['queries'] for one in strata.scores([found], [ranked(found, skipping)], skipping)) < found.query.sum()
    )


def test_differences_are_of_the_same_queries():
    found, rule = features(), protocols.named('mars-paper')
    better = dataclasses.replace(found, embedding=found.embedding + np.eye(10, 5)[found.pid + 1].astype(np.float32))
    plain, ours = (strata.scores([f], [ranked(f, rule)], rule) for f in (found, better))
    paired = strata.scores([found], [ranked(better, rule)], rule, minus=[ranked(found, rule)])
    for a, b, d in zip(plain, ours, paired, strict=True):
        assert d['mAP'] == pytest.approx(b['mAP'] - a['mAP'])
        width = [one['interval']['mAP'][1] - one['interval']['mAP'][0] for one in (b, d)]
        assert width[1] < width[0] + 5
        assert d['interval']['mAP'][0] <= d['mAP'] <= d['interval']['mAP'][1]


def test_several_files_are_averaged_as_splits_are():
    files = [features(0), features(1, n=60)]
    rule = protocols.named('mars-paper')
    made = {one['stratum']: one for one in strata.scores(files, [ranked(f, rule) for f in files], rule)}
    for value in ('coat', 'dress'):
        each = [slow(f, set(np.flatnonzero(f.attributes['outfit'] == value).tolist())) for f in files]
        assert made[value]['queries'] == sum(queries for queries, *_ in each)
        assert made[value]['mAP'] == pytest.approx(np.mean([ap for _, ap, _ in each]))
    assert 'outfit' not in {o['attribute'] for o in strata.scores([files[0], features(2, attributes={})],
                            [ranked(f, rule) for f in (files[0], features(2, attributes={}))], rule)}  # fmt: skip


def test_few_numbers_are_strata_and_many_are_binned_with_their_ends_in_the_name():
    few = strata.parts(np.array(['0', '2', '2', '', '0.50']))
    assert [(name, members.sum()) for name, members in few] == [('0', 1), ('0.5', 1), ('2', 2), ('unknown', 1)]
    numbers = np.concatenate([np.zeros(30), np.linspace(0.01, 0.9, 60), [np.nan] * 3])
    binned = strata.parts(numbers)
    assert [name for name, _ in binned] == [
        '0',
        '0.01 to 0.297',
        '0.312 to 0.598',
        '0.613 to 0.9',
        'unknown',
    ]
    assert [members.sum() for _, members in binned] == [30, 20, 20, 20, 3]
    assert sum(members.astype(int) for _, members in binned).tolist() == [1] * 93
    with_rare_zero = strata.parts(np.concatenate([[0.0], np.linspace(0.01, 0.9, 60)]))
    assert with_rare_zero[0][0].startswith('0 to 0.')
    negative = strata.parts(np.linspace(-3, 3, 31))
    assert [members.sum() for _, members in negative] == [11, 10, 10]
    ties = strata.parts(np.array([1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6.0]))
    assert sum(members.sum() for _, members in ties) == 12


def test_rare_texts_are_put_together():
    texts = np.array([f'outfit {i:02d}' for i in range(20) for _ in range(20 - i)])
    made = strata.parts(texts)
    assert [name for name, _ in made] == [*(f'outfit {i:02d}' for i in range(11)), '9 others']
    assert sum(members.sum() for _, members in made) == len(texts)
    assert [name for name, _ in strata.parts(texts[texts < 'outfit 12'])] == [f'outfit {i:02d}' for i in range(12)]


def test_fifty_queries_are_not_few():
    n = 99
    kind = np.array(['many'] * 50 + ['few'] * 49)
    ap = np.linspace(0, 1, n)
    everyone = protocols.Results(ap, ap, np.ones(n, int), np.ones(n, bool), np.ones((n, 1), int))
    found = features(n=n, attributes={'kind': kind})
    found = dataclasses.replace(found, query=np.ones(n, bool))
    made = strata.scores([found], [everyone], protocols.named('mars-paper'), resamples=0)
    assert [(one['stratum'], one['queries'], one['few']) for one in made] == [('few', 49, True), ('many', 50, False)]


def test_what_all_queries_share_is_no_stratum():
    found, rule = features(attributes={'site': np.array(['shop'] * 90), 'indoors': np.arange(90) % 2 == 0}), None
    rule = protocols.named('mars-paper')
    made = strata.scores([found], [ranked(found, rule)], rule)
    assert {(one['attribute'], one['stratum']) for one in made} == {('indoors', 'False'), ('indoors', 'True')}


def test_text_says_what_is_few_and_signs_differences():
    found, rule = features(), protocols.named('mars-paper')
    made = strata.scores([found], [ranked(found, rule)], rule)
    lines = strata.table(made).split('\n')
    assert lines[0].split()[:4] == ['outfit', 'queries', 'mAP', '95']
    assert lines[1].split()[:2] == ['coat', str(made[0]['queries'])]
    assert lines[1].endswith('few queries')
    assert '+' in strata.table(made, signed=True)
    assert strata.table([]) == ''


def test_feature_files_keep_attributes_and_the_command_scores_by_them(tmp_path, capsys):
    found = features()
    found.attributes['hidden'] = np.linspace(0, 1, 90)
    found.save(tmp_path / 'a.npz')
    read = feature_file.load(tmp_path / 'a.npz')
    np.testing.assert_array_equal(read.attributes['outfit'], found.attributes['outfit'])
    np.testing.assert_array_equal(read.attributes['hidden'], found.attributes['hidden'])
    other = dataclasses.replace(found, embedding=found.embedding[::-1].copy())
    order = np.random.default_rng(0).permutation(90)
    rows = {f.name: getattr(other, f.name) for f in dataclasses.fields(other)}
    rows = {k: v[order] if isinstance(v, np.ndarray) else v for k, v in rows.items()}
    rows['attributes'] = {k: v[order] for k, v in found.attributes.items()}
    feature_file.Features(**rows).save(tmp_path / 'b.npz')
    argv = [tmp_path / 'a.npz', '--against', tmp_path / 'b.npz', '--json', tmp_path / 'out.json', '--resamples', '50']
    assert score.main([str(a) for a in argv]) == 0
    row = json.loads((tmp_path / 'out.json').read_text())['mars-paper']
    rule = protocols.named('mars-paper')
    expected = strata.scores([found], [ranked(found, rule)], rule, resamples=50)
    assert row['strata'] == json.loads(json.dumps(expected))
    paired = strata.scores([found], [ranked(other, rule)], rule, minus=[ranked(found, rule)], resamples=50)
    assert [one['mAP'] for one in row['against']['strata']] == pytest.approx([one['mAP'] for one in paired])
    said = capsys.readouterr().out
    assert 'mars-paper, by what is known of the queries' in said
    assert said.count('few queries') == 2 * len(row['strata'])


@pytest.mark.parametrize(
    ('column', 'said'), [(np.zeros((90, 2)), 'numbers or strings'), (np.array([{}] * 90), 'Python objects')]
)
def test_attributes_that_are_no_list_of_numbers_or_texts_are_refused(tmp_path, column, said):
    found = features(attributes={'odd': column})
    found.save(tmp_path / 'a.npz')
    with pytest.raises(ValueError, match=said):
        feature_file.load(tmp_path / 'a.npz')


def test_an_attribute_of_another_length_is_refused(tmp_path):
    features(attributes={'short': np.zeros(89)}).save(tmp_path / 'a.npz')
    with pytest.raises(ValueError, match='lengths differ'):
        feature_file.load(tmp_path / 'a.npz')


def test_a_report_and_results_carry_strata(tmp_path):
    from jaxreid import config

    found, rule = features(), protocols.named('mars-paper')
    expected = strata.scores([found], [ranked(found, rule)], rule)
    assert analysis.analyse(found, rule, distance='cosine').strata == expected
    found.meta.update(
        dataset='own', split='test', clips='even', clip_seed=None, frames_per_clip=4, one_frame=False, flip=False,
        flow='off', compute_dtype='float32', frames_seen=1, corrupt_frames_replaced=0, step=3,
    )  # fmt: skip
    experiment = config.Experiment()
    experiment.test.protocols = ('mars-paper', 'torchreid')
    rows = evaluate.score(found, experiment, selected='last step')
    assert rows[0]['strata'] == expected
    assert 'strata' not in rows[1]
    assert 'few queries' in results.table(rows)
    assert uncertainty.RESAMPLES == 2000
