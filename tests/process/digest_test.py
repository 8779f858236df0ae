"""Digests tell what was written from what is read."""

import json

import numpy as np
import pytest

from jaxreid.process import digest, json_file


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'int32', 'bool'])
def test_every_flipped_bit_of_an_array_its_shape_and_its_type_change_its_digest(dtype):
    array = np.ones((2, 3), dtype)
    seen = {digest.of_array(array), digest.of_array(array.reshape(3, 2)), digest.of_array(array.astype('int64'))}
    for bit in range(array.nbytes * 8):
        flipped = np.unpackbits(array.view(np.uint8).reshape(-1))
        flipped[bit] ^= 1
        seen.add(digest.of_array(np.packbits(flipped).view(dtype).reshape(2, 3)))
    assert len(seen) == 3 + array.nbytes * 8


def test_arrays_that_are_equal_have_one_digest_however_they_lie_in_memory():
    array = np.arange(6.0).reshape(2, 3)
    assert digest.of_array(array) == digest.of_array(np.asfortranarray(array))
    assert digest.of_array(np.float32(2)) == digest.of_array(np.full((), 2, np.float32))
    digest.of_array(np.zeros((0, 4)))


def test_a_value_is_known_again_after_json_and_every_change_of_it_is_seen():
    value = {'b': [1, 2.5, None], 'a': {'x': 'ö', 'y': 0.1}}
    text = json.dumps(digest.signed(value), indent=1)
    assert not digest.problem(json.loads(text))
    assert not digest.problem(value)  # older files carry none
    for changed in (text.replace('2.5', '2.25'), text.replace('"x"', '"z"'), text.replace('null', 'true')):
        assert 'not those that were written' in digest.problem(json.loads(changed))
        with pytest.raises(ValueError, match=r'a\.json does not hold .* not those that were written'):
            json_file.parse(changed, dict, where='a.json')
    assert json_file.parse(text, dict, where='a.json')['a'] == value['a']
