"""The largest batch, on memories that are known beforehand."""

import pickle

import pytest

from jaxreid.plan import largest


def compiler(memory, limit):
    """Compiles by a formula, and remembers what it was asked for."""
    asked = []

    def compiled(clips):
        asked.append(clips)
        return largest.Batch(clips, memory(clips), memory(clips) <= limit)

    return compiled, asked


@pytest.mark.parametrize('first', [32, 64, 800, 3200])
@pytest.mark.parametrize(
    'memory',
    [
        lambda clips: 1000 + 7 * clips,  # a line
        lambda clips: 1000 + 7 * clips + 300 * (clips % 64 == 0),  # one with teeth
        lambda clips: 900 + 7.5 * clips - clips**2 / 4000,  # and one that bends
    ],
    ids=['line', 'teeth', 'bend'],
)
def test_the_edge_is_found_in_four_compiles_and_both_its_sides_are_compiled(memory, first):
    limit, unit = 8000, 16
    compiled, asked = compiler(memory, limit)
    known = largest.Batch(first, memory(first), memory(first) <= limit)
    fits, over = largest.edge(known, 0.5 * memory(first), compiled, unit=unit, limit=limit)
    assert len(asked) <= largest.COMPILES
    assert len({*asked, first}) == len(asked) + 1
    assert {fits.clips, over.clips} <= {*asked, first}
    assert memory(fits.clips) <= limit < memory(over.clips)
    assert over.clips - fits.clips <= 3 * unit  # of about a thousand
    if memory(17) - memory(16) == 7:
        assert over.clips == fits.clips + unit


def test_nothing_is_compiled_twice_where_the_edge_is_known():
    compiled, asked = compiler(lambda clips: 100 * clips, 1600)
    fits, over = largest.edge(largest.Batch(16, 1600, True), 1600, compiled, unit=16, limit=1600)
    assert (fits.clips, over.clips, asked) == (16, 32, [32])


def test_where_the_smallest_batch_is_too_large_there_is_none():
    compiled, asked = compiler(lambda clips: 5000 + clips, 1000)
    fits, over = largest.edge(largest.Batch(64, 5064, False), 100, compiled, unit=16, limit=1000)
    assert fits is None
    assert (over.clips, asked) == (16, [16])
    assert largest.words(fits, over) == (
        'none was found that fits; the smallest that was compiled, of 16 clips, needs 0.00 GiB'
    )


def test_words_say_what_was_compiled():
    fits, over = largest.Batch(96, 15 * 2**30, True), largest.Batch(112, 17.25 * 2**30, False)
    assert largest.words(fits, over) == '96 clips fit: 15.00 GiB; 112 do not: 17.25 GiB; both compiled'
    assert largest.words(fits, None) == '96 clips fit: 15.00 GiB, compiled; larger ones were not tried'


def test_a_refusal_keeps_its_bytes_on_its_way_between_processes():
    error = pickle.loads(pickle.dumps(largest.DoesNotFit('too much', 12.5)))
    assert (str(error), error.needed) == ('too much', 12.5)
