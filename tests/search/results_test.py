"""Filters by camera and time, the query itself, and what is said of the answers."""

import dataclasses
import json
import re

import numpy as np
import pytest

from jaxreid.search import calibration_file, feature_rows, page, results, tracklets


def made(names, angles, **columns):
    """Tracklets whose features lie at angles in degrees."""
    turned = np.deg2rad(angles)
    count = len(names)
    columns = {key: columns.get(key, [''] * count) for key in ('person', 'camera', 'time')}
    return tracklets.Tracklets(
        where='here',
        features=feature_rows.Rows.of(np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32)),
        name=names,
        frames=[4] * count,
        made={},
        film=lambda row: [],
        **columns,
    )


GALLERY = made(
    ['a', 'b', 'c', 'd', 'e'],
    [0, 10, 20, 30, 40],
    person=['ann', 'bob', 'ann', '', 'eve'],
    camera=['door', 'door', 'yard', '', 'yard'],
    time=['2026-11-21T14:00', '2026-11-21T15:00+01:00', '2026-11-21T16:00', '', '2026-11-22'],
)
QUERIES = made(['a', 'x'], [0, 33], person=['ann', 'eve'], camera=['door', 'yard'])


def names(top=5, **filters):
    found = results.search(GALLERY, QUERIES, top=top, distance='cosine', filters=results.Filters(**filters))
    return [''.join(GALLERY.name[hit.row] for hit in hits) for hits in found.hits]


def test_answers_come_nearest_first_without_the_query_itself():
    assert names() == ['bcde', 'decba']
    assert names(top=2) == ['bc', 'de']


@pytest.mark.parametrize(
    ('filters', 'wanted'),
    [
        ({'camera': ['yard']}, ['ce', 'ec']),
        ({'not_camera': ['yard']}, ['bd', 'dba']),
        ({'camera': ['yard', 'door'], 'not_camera': ['door']}, ['ce', 'ec']),
        ({'same_camera': 'drop'}, ['cde', 'dba']),
        ({'same_camera': 'only'}, ['b', 'ec']),
        ({'after': '2026-11-21T14:00'}, ['bce', 'ecba']),
        ({'after': '2026-11-21T14:00:01'}, ['ce', 'ec']),
        ({'before': '2026-11-21T14:00:01Z'}, ['b', 'ba']),
        ({'after': '2026-11-21T15:00', 'before': '2026-11-22'}, ['c', 'c']),
    ],
)
def test_filters_leave_what_fits(filters, wanted):
    assert names(**filters) == wanted


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ({'camera': ['attic']}, "has no camera 'attic'; its cameras are: door, yard"),
        ({'after': 'noon'}, "'noon' is no time"),
        ({'after': '12.5'}, 'are given in seconds, but 4 of 5 tracklets have their times as dates'),
        ({'after': '12.5', 'before': '2026-11-22'}, 'must both be dates, or both seconds'),
        ({'after': '2027-01-01'}, 'the filters leave none of the 5 tracklets'),
        ({'top': 0}, '--top 0: expected at least 1'),
    ],
)
def test_what_cannot_be_asked_is_said(how, message):
    with pytest.raises(ValueError, match=message):
        names(**how)


def test_queries_whose_person_is_named_are_counted():
    found = results.search(GALLERY, QUERIES, top=1, distance='cosine', filters=results.Filters())
    assert (found.known, found.first) == ([0, 1], [])
    found = results.search(GALLERY, QUERIES, top=1, distance='cosine', filters=results.Filters(camera=['yard']))
    assert (found.known, found.first) == ([0, 1], [0, 1])
    assert (
        'The tracklets searched name the person of 2 queries. For 2 of them that person comes first.'
        in results.meaning(found)
    )
    found = results.search(GALLERY, QUERIES, top=1, distance='cosine', filters=results.Filters(not_camera=['yard']))
    assert (found.known, found.first) == ([], [])


def test_tracklets_of_another_clock_have_no_known_time():
    both = made(['a', 'b', 'c'], [0, 10, 20], time=['12.5', '2026-11-21T14:00', '99'])
    for filters, wanted in (({'after': '5'}, 'ac'), ({'before': '2027-01-01'}, 'b')):
        found = results.search(both, QUERIES, top=3, distance='cosine', filters=results.Filters(**filters))
        assert ''.join(sorted(both.name[hit.row] for hit in found.hits[1])) == wanted
        assert f'but {3 - len(wanted)} of 3 tracklets have their times' in results.meaning(found)[-1]


def test_more_answers_than_tracklets_are_all_of_them():
    found = results.search(GALLERY, QUERIES, top=1000, distance='cosine', filters=results.Filters())
    assert [len(hits) for hits in found.hits] == [4, 5]
    assert results.meaning(found)[-1] == '--top 1000 is more than the 5 tracklets of here; all are listed.'


@pytest.mark.parametrize(
    ('persons', 'people', 'known', 'marks'),
    [
        (['1', '1'], ['mars', 'mars'], [0], ['right']),
        (['1', '1'], ['mars', 'ilids'], [], ['']),
        (['1', '2'], ['mars', 'mars'], [], ['wrong']),
        (['1', '1'], ['', ''], [], ['']),
        (['ann', 'ann'], ['a', 'b'], [0], ['right']),
        (['ann', '1'], ['a', 'a'], [], ['']),
    ],
)
def test_numbers_of_persons_mean_nothing_in_another_data_set(persons, people, known, marks):
    gallery = dataclasses.replace(made(['g'], [0], person=persons[:1]), people=people[:1])
    queries = dataclasses.replace(made(['q'], [0], person=persons[1:]), people=people[1:])
    found = results.search(gallery, queries, top=1, distance='cosine', filters=results.Filters())
    assert (found.known, found.first) == (known, known)
    html = page.render(gallery, queries, found, budget_mb=1, when='now')
    assert re.findall(r'<li class="item (\w*)">', html) == marks


def test_an_answer_as_similar_as_the_threshold_stays():
    how = {'top': 5, 'distance': 'cosine', 'filters': results.Filters()}
    at = results.search(GALLERY, QUERIES, **how).hits[0][2].similarity
    for threshold, expected in ((at, 'bcd'), (np.nextafter(at, 1), 'bc')):
        hits = results.search(GALLERY, QUERIES, **how, threshold=threshold).hits[0]
        assert ''.join(GALLERY.name[hit.row] for hit in hits) == expected


def test_a_threshold_may_leave_nobody():
    how = {'top': 5, 'distance': 'euclidean', 'filters': results.Filters()}
    found = results.search(GALLERY, QUERIES, threshold=-0.1, **how)
    assert [[GALLERY.name[hit.row] for hit in hits] for hits in found.hits] == [[], ['d']]
    assert '  nobody here\n' in results.table(GALLERY, QUERIES, found, shown=9)
    assert 'minus the Euclidean distance' in results.table(GALLERY, QUERIES, found, shown=9)


def test_features_of_zeros_and_copies_are_said_before_the_answers_and_kept():
    many = [f't{i}' for i in range(3000)]
    held = made(many, np.linspace(1, 80, 3000))
    values = held.features.read(0, 3000)
    values[[7, 2000]] = 0
    values[[9, 11, 12, 2500]] = values[5]
    held = dataclasses.replace(
        held, features=feature_rows.Rows([lambda: values[:10], lambda: values[10:]], [10, 2990], dim=2)
    )
    found = results.search(held, QUERIES, top=2, distance='cosine', filters=results.Filters())
    assert found.warnings == [
        '2 of the 3,000 tracklets of here have features of zeros only, which are like nothing (first: t7, t2000)',
        '4 of the 3,000 tracklets of here repeat the features of another one (first: t9, t11, t12 ...)',
    ]
    lines = results.table(held, QUERIES, found, shown=2).splitlines()
    assert lines[:2] == [f'warning: {one}' for one in found.warnings]
    assert results.to_json(held, QUERIES, found)['warnings'] == found.warnings
    assert found.warnings[0] in page.render(held, QUERIES, found, budget_mb=0, when='')
    assert not results.search(GALLERY, QUERIES, top=2, distance='cosine', filters=results.Filters()).warnings


def test_features_whose_sums_agree_by_chance_are_no_copies():
    swapped = np.array([[1, 2], [2, 1], [3, 4]], np.float32)
    held = dataclasses.replace(made(['a', 'b', 'c'], [0, 1, 2]), features=feature_rows.Rows.of(swapped))
    assert not results.search(held, QUERIES, top=2, distance='cosine', filters=results.Filters()).warnings


def test_the_table_moves_no_cursor_and_json_says_it_all():
    hostile = made(['\x1b[2J\u202eevil'], [5])
    found = results.search(GALLERY, hostile, top=1, distance='cosine', filters=results.Filters())
    text = results.table(GALLERY, hostile, found, shown=9)
    assert '\x1b' not in text
    assert '\u202e' not in text
    said = json.loads(json.dumps(results.to_json(GALLERY, hostile, found)))
    (one,) = said['results']
    assert one['name'] == '\x1b[2J\u202eevil'
    assert one['hits'][0]['name'] == 'a'
    assert one['hits'][0]['similarity'] == pytest.approx(np.cos(np.deg2rad(5)), abs=1e-6)
    assert 'uncalibrated' in text


# 100 pairs of different people and 20 of the same person: the shares that reach each similarity.
MEASURED = calibration_file.Calibration(
    'by hand', 'cosine', '', 100, np.array([0.5, 0.7, 0.9, 0.99]), np.array([0.5, 0.2, 0.01, 0]),
    np.array([1, 0.95, 0.5, 0.25]),
)  # fmt: skip


def sure(similarity, *, searched, calibration=MEASURED):
    hits = [[results.Hit(0, similarity, calibration_file.false_accept_rate(MEASURED, similarity))]]
    found = results.Answers(hits, 'cosine', None, calibration, searched, [], [])
    return results.verdict(found, hits[0][0]), results.conclusion(found, hits[0])


@pytest.mark.parametrize(
    ('similarity', 'searched', 'verdict', 'query'),
    [
        (0.95, 5, 'same person', 'same person'),  # 0.01 * 5 = 0.05 of other people
        (0.95, 6, 'unsure', 'unsure'),
        (0.995, 5, 'same person', 'same person'),  # none was counted: less than 1 of 100 pairs
        (0.995, 6, 'unsure', 'unsure'),
        (0.8, 5, 'somebody else', 'nobody here'),  # 0.2 * 5 = 1, and 95 % of the same person are as similar
        (0.8, 4, 'unsure', 'unsure'),
        (0.95, 1000, 'unsure', 'unsure'),  # ten other people, but half of the pairs of the same person are below
        (-0.5, 1, 'somebody else', 'nobody here'),
    ],
)
def test_a_verdict_weighs_other_people_against_the_same_person(similarity, searched, verdict, query):
    assert sure(similarity, searched=searched) == (verdict, query)


def test_without_a_calibration_there_is_no_verdict_and_without_an_answer_nobody():
    assert sure(0.95, searched=5, calibration=None) == ('', '')
    found = results.Answers([[]], 'cosine', None, MEASURED, 5, [], [])
    assert results.conclusion(found, []) == 'nobody here'


def test_error_rates_are_shown_when_asked_for():
    hits = [[results.Hit(1, 0.95, 0.01), results.Hit(2, 0.995, 0.0)], []]
    found = results.Answers(hits, 'cosine', None, MEASURED, 5, [], [])
    plain, full = (results.table(GALLERY, QUERIES, found, shown=9, rates=rates) for rates in (False, True))
    assert re.search(r'^a  .*: same person$', plain, re.MULTILINE)
    assert '% of other people' not in plain
    assert '1% of other people, 0.05 expected here' in full
    assert '< 1% of other people, < 0.05 expected here' in full
    drawn = page.render(GALLERY, QUERIES, found, budget_mb=1, when='now')
    assert '<summary>same person</summary>1% of other people, 0.05 expected here</details>' in drawn
    asked, nobody = json.loads(json.dumps(results.to_json(GALLERY, QUERIES, found)))['results']
    assert [asked['verdict'], nobody['verdict']] == ['same person', 'nobody here']
    assert [hit['verdict'] for hit in asked['hits']] == ['same person'] * 2
    assert asked['hits'][0]['error_rates'] == '1% of other people, 0.05 expected here'
    found = dataclasses.replace(found, calibration=None)
    (hit, _), none = (one['hits'] for one in results.to_json(GALLERY, QUERIES, found)['results'])
    assert (hit['verdict'], hit['error_rates'], none) == (None, None, [])
