"""Where somebody cannot have been, pair by pair."""

import math

import numpy as np
import pytest

from jaxreid.global_ids import constraints

LIMITS = {('a', 'b'): constraints.Limits(10, 60), ('b', 'a'): constraints.Limits(5, math.inf)}


def one_pair(seen, i, j, overlap, topology):
    """(cannot, comparable) of a pair, by cases."""
    cameras, first, last = seen
    if i == j or math.isnan(first[i]) or math.isnan(first[j]):
        return False, True
    if cameras[i] != cameras[j] and {cameras[i], cameras[j]} in overlap:
        return False, True
    if first[i] > first[j]:
        i, j = j, i
    wait = first[j] - last[i]
    least, most = topology.get((cameras[i], cameras[j]), (0, math.inf))
    if wait <= 0:
        return True, False
    return wait < least, wait <= most


@pytest.mark.parametrize('seed', range(6))
def test_pairs_are_judged_as_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n = 25
    first = rng.integers(0, 100, n).astype(float)
    last = first + rng.integers(0, 15, n)
    first[3] = last[3] = np.nan
    seen = constraints.Seen([str(c) for c in rng.choice(['a', 'b', 'c', 'd'], n)], first, last)
    overlap = [frozenset('cd')]
    cannot, comparable = constraints.pairs(seen, overlap=overlap, topology=LIMITS)
    for i in range(n):
        for j in range(n):
            assert (cannot[i, j], comparable[i, j]) == one_pair(seen, i, j, overlap, LIMITS), (i, j)


def test_who_leaves_in_the_frame_in_which_another_comes_is_somebody_else():
    seen = constraints.Seen(['a', 'a', 'a'], np.array([0.0, 2.0, 2.1]), np.array([2.0, 3.0, 4.0]))
    assert constraints.pairs(seen)[0].tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_a_line_holds_both_ways_unless_the_other_has_its_own(tmp_path):
    path = tmp_path / 'ways.csv'
    path.write_text('from,to,minimum,maximum\na,b,10,60\nb,a,5,\na,c,,\n')
    found = constraints.read(str(path), ['a', 'b', 'c'])
    free = constraints.Limits(0, math.inf)
    assert found == {**LIMITS, ('a', 'c'): free, ('c', 'a'): free}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('from,to\na,b\n', 'has the columns from, to; expected'),
        ('', 'has the columns none'),
        ('from,to,minimum,maximum\na,x,1,2\n', "line 2: there is no camera 'x'; there are a, b"),
        ('from,to,minimum,maximum\na,b,soon,2\n', "line 2: 'soon' is no number of seconds"),
        ('from,to,minimum,maximum\na,b,-1,2\n', "'-1' is no number"),
        ('from,to,minimum,maximum\na,b,nan,2\n', "'nan' is no number"),
        ('from,to,minimum,maximum\na,b,3,2\n', 'the minimum, 3, is above the maximum, 2'),
        ('from,to,minimum,maximum\na,b,1,2\na,b,1,3\n', 'line 3: the way from a to b was given before'),
        (b'\xff\xfe\x00', 'cannot be read'),
    ],
)
def test_a_topology_that_is_none_is_refused_by_its_line(tmp_path, text, message):
    path = tmp_path / 'ways.csv'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        constraints.read(str(path), ['a', 'b'])


def test_a_topology_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r'there is no topology nowhere\.csv; expected a CSV file'):
        constraints.read('nowhere.csv', ['a'])


def test_limits_are_learnt_from_walks_that_are_seen_often():
    waits = [20.0, 22, 24, 26, 28, 30]
    camera, first, last, label = [], [], [], []
    for person, wait in enumerate(waits):
        camera += ['a', 'b']
        first += [100.0 * person, 100.0 * person + 5 + wait]
        last += [100.0 * person + 5, 100.0 * person + 5 + wait + 5]
        label += [person, person]
    camera += ['c', 'a']
    first += [900.0, 950.0]
    last += [910.0, 960.0]
    label += [7, 7]
    found = constraints.learnt(constraints.Seen(camera, np.array(first), np.array(last)), np.array(label))
    low, high = sorted(waits)[0], sorted(waits)[-1]
    assert list(found) == [('a', 'b')]
    assert low / 2 <= found['a', 'b'].minimum <= 0.55 * low
    assert 1.9 * high <= found['a', 'b'].maximum <= 2 * high
