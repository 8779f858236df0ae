"""Who is who: ids that stay, corrections, new ids."""

import math

import numpy as np
import pytest

from jaxreid.global_ids import constraints, corrections, people


def asked(angles, *, person=None, camera=None, first=None, threshold=0.9, **more):
    """Tracklets whose features are directions in the plane, one after the other in time."""
    n = len(angles)
    at = np.deg2rad(np.array(angles, float))
    begin = np.arange(n) * 10.0 if first is None else np.array(first, float)
    return people.Asked(
        embedding=np.stack([np.cos(at), np.sin(at)], 1).astype(np.float32),
        seen=constraints.Seen((['a', 'b'] * n)[:n] if camera is None else camera, begin, begin + 5),
        distance='cosine',
        threshold=threshold,
        person=[people.NOBODY] * n if person is None else person,
        **more,
    )


def test_people_are_numbered_in_the_order_in_which_they_were_first_seen():
    found = people.find(asked([0, 90, 1, 91, 200], first=[50, 10, 70, 30, 0], camera=list('ababa')))
    assert found.person == [3, 2, 3, 2, 1]
    assert [join.similarity for join in found.joins] == pytest.approx([math.cos(math.pi / 180)] * 2)


def test_nobody_is_in_two_cameras_at_once_unless_they_see_one_place():
    same = {'first': [0, 0], 'camera': ['a', 'b']}
    assert people.find(asked([0, 0], **same)).person == [1, 2]
    assert people.find(asked([0, 0], overlap=[frozenset('ab')], **same)).person == [1, 1]


def test_ids_that_are_there_stay_and_are_not_joined_with_each_other():
    found = people.find(asked([0, 1, 2, 90], person=[4, 7, 0, 0], following=8))
    assert found.person[:2] == [4, 7]
    assert found.person[2] in (4, 7)
    assert found.person[3] == 8


def test_a_person_stays_though_its_tracklets_are_unlike():
    assert people.find(asked([0, 120, 121], person=[3, 3, 0], following=4)).person[:2] == [3, 3]


def test_what_must_be_one_is_and_the_lower_id_stays():
    must = [corrections.Correction('must', 0, 2)]
    assert people.find(asked([0, 1, 120], corrected=must)).person == [1, 2, 1]
    found = people.find(asked([0, 1, 120, 240], person=[2, 2, 5, 6], following=7, corrected=must))
    assert found.person == [2, 2, 2, 6]
    # The id that went is not given again.
    found = people.find(asked([0, 1, 120, 240], person=[2, 2, 2, 0], following=7, corrected=must))
    assert found.person == [2, 2, 2, 7]


def test_must_is_stronger_than_time():
    must = [corrections.Correction('must', 0, 1)]
    assert people.find(asked([0, 50], first=[0, 0], camera=['a', 'a'], corrected=must)).person == [1, 1]


def test_what_cannot_be_one_is_taken_apart_and_the_larger_part_keeps_the_id():
    cannot = [corrections.Correction('cannot', 0, 3)]
    found = people.find(asked([0, 10, 11, 12], person=[3, 3, 3, 3], following=5, corrected=cannot))
    assert found.person == [5, 3, 3, 3]
    assert people.find(asked([0, 0, 0, 0], corrected=cannot)).person == [1, 1, 1, 2]


def test_a_part_that_was_taken_out_joins_no_other_person_that_is_there():
    cannot = [corrections.Correction('cannot', 0, 1)]
    found = people.find(asked([90, 0, 91], person=[3, 3, 4], following=5, corrected=cannot))
    assert sorted(found.person[:2]) == [3, 5]
    assert found.person[2] == 4


def test_similarities_are_those_of_pairs():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    cosine, euclidean = (people.similarities(x, kind) for kind in ('cosine', 'euclidean'))
    for i in range(6):
        for j in range(6):
            a, b = x[i].astype(float), x[j].astype(float)
            assert cosine[i, j] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            assert euclidean[i, j] == pytest.approx(-np.linalg.norm(a - b), abs=1e-6)
    assert (cosine == cosine.T).all()


KEYS = ['door/a:1', 'door/a:2', 'yard/b:1']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('first,second\n', 'has the columns first, second; expected'),
        ('join,first,second\nmay,door/a:1,door/a:2\n', "line 2: join is 'may'; expected must or cannot"),
        ('join,first,second\nmust,door/a:1,door/a:3\n', "no tracklet 'door/a:3'; did you mean 'door/a:"),
        ('join,first,second\nmust,door/a:1,door/a:1\n', 'first and second are both door/a:1'),
        (
            'join,first,second\nmust,door/a:1,door/a:2\nmust,door/a:2,yard/b:1\ncannot,yard/b:1,door/a:1\n',
            'yard/b:1 and door/a:1 cannot be one person, and other lines say that they must',
        ),
    ],
)
def test_corrections_that_are_none_or_contradict_each_other_are_refused(tmp_path, text, message):
    path = tmp_path / 'said.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        corrections.read(path, KEYS)


def test_corrections_are_read_as_rows(tmp_path):
    path = tmp_path / 'said.csv'
    path.write_text('join,first,second,note\nmust, yard/b:1 ,door/a:1,look at the bag\ncannot,door/a:2,door/a:1,\n')
    assert corrections.read(path, KEYS) == [('must', 2, 0), ('cannot', 1, 0)]
