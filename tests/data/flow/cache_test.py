import concurrent.futures
import pickle
import threading

import numpy as np
import pytest

from jaxreid.data.flow import cache as flow_cache


def _array(value):
    return np.full(100, value, np.uint8)  # 100 bytes


def _refuse(key=None):
    raise AssertionError(f'{key} should be there')


def _get(cache, key, compute):
    """One array, made by a function without arguments."""
    return cache.get([key], lambda keys: [compute() for _ in keys])[0]


def test_each_array_is_computed_once_and_the_longest_unused_leaves():
    cache = flow_cache.FlowCache(350)
    for key in 'abc':
        _get(cache, key, lambda key=key: _array(ord(key)))
    assert cache.bytes == 300
    np.testing.assert_array_equal(_get(cache, 'a', _refuse), _array(ord('a')))
    _get(cache, 'd', lambda: _array(0))  # b is the longest unused
    assert cache.bytes == 300
    for key in 'acd':
        _get(cache, key, _refuse)
    with pytest.raises(AssertionError, match='should be there'):
        _get(cache, 'b', _refuse)


def test_memory_stays_within_the_bound_whatever_is_asked_for():
    cache = flow_cache.FlowCache(1000)
    rng = np.random.default_rng(0)
    for _ in range(500):
        size = int(rng.integers(1, 1500))
        assert _get(cache, size, lambda size=size: np.zeros(size, np.uint8)).shape == (size,)
        assert cache.bytes <= 1000
        assert cache.bytes == sum(array.nbytes for array in cache._kept.values())


def test_a_cache_without_room_keeps_nothing():
    cache = flow_cache.FlowCache(0)
    calls = []
    for _ in range(2):
        _get(cache, 'a', lambda: calls.append(0) or _array(1))
    assert (len(calls), cache.bytes) == (2, 0)


def test_threads_that_ask_at_once_share_one_computation():
    cache = flow_cache.FlowCache(10**6)
    calls, gate = [], threading.Event()

    def compute():
        calls.append(0)
        gate.wait(5)
        return _array(7)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(_get, cache, 'a', compute) for _ in range(8)]
        gate.set()
        for one in waiting:
            np.testing.assert_array_equal(one.result(), _array(7))
    assert len(calls) == 1


def test_many_threads_leave_the_bound_and_the_values_intact():
    cache = flow_cache.FlowCache(1000)
    keys = np.random.default_rng(0).integers(0, 30, 4000).tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda key: _get(cache, key, lambda: _array(key)), keys))
    assert [array[0] for array in got] == keys
    assert cache.bytes == 1000


def test_what_is_missing_is_computed_in_one_call():
    cache = flow_cache.FlowCache(1000)
    calls = []

    def compute(keys):
        calls.append(keys)
        return [_array(ord(key)) for key in keys]

    for wanted in ('ba', 'abcbd', 'dd', ''):
        got = cache.get(list(wanted), compute)
        assert [array[0] for array in got] == [ord(key) for key in wanted]
    assert calls == [['b', 'a'], ['c', 'd']]


def test_threads_that_ask_for_what_the_other_computes_both_get_on():
    cache = flow_cache.FlowCache(1000)
    both_at_work = threading.Barrier(2, timeout=5)

    def compute(keys):
        if len(keys) == 2:
            both_at_work.wait()
        return [_array(ord(key)) for key in keys]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: (cache.get(['a', 'b'], compute), cache.get(['a', 'b', 'c', 'd'], compute)))
        second = pool.submit(lambda: (cache.get(['c', 'd'], compute), cache.get(['c', 'd', 'a', 'b'], compute)))
        for one, names in ((first, 'abcd'), (second, 'cdab')):
            assert [array[0] for array in one.result(5)[1]] == [ord(name) for name in names]


def test_an_error_reaches_who_waits_and_the_next_tries_again():
    cache = flow_cache.FlowCache(1000)
    started, gate = threading.Event(), threading.Event()

    def fail():
        started.set()
        gate.wait(5)
        raise ValueError('unreadable')

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(_get, cache, 'a', fail)
        started.wait(5)
        second = pool.submit(_get, cache, 'a', fail)
        gate.set()
        for one in (first, second):
            with pytest.raises(ValueError, match='unreadable'):
                one.result()
    np.testing.assert_array_equal(_get(cache, 'a', lambda: _array(3)), _array(3))


def test_arrays_that_others_get_too_cannot_be_written_to():
    cache = flow_cache.FlowCache(1000)
    with pytest.raises(ValueError, match='read-only'):
        _get(cache, 'a', lambda: _array(3))[0] = 1


def test_a_pickled_copy_is_empty_and_has_the_same_bound():
    cache = flow_cache.FlowCache(250)
    _get(cache, 'a', lambda: _array(3))
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.bytes == 0
    for key in 'abc':
        _get(copy, key, lambda: _array(1))
    assert copy.bytes == 200
