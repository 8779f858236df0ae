import io
import pathlib
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxreid.weights import state_file


@pytest.mark.parametrize('name', ['broken.pth', 'broken.safetensors'])
def test_a_damaged_file_names_itself(tmp_path, name):
    pytest.importorskip('torch')
    (tmp_path / name).write_bytes(b'PK\x03\x04 cut off')
    with pytest.raises(state_file.WeightsError, match=f'{name} is not a readable'):
        state_file.read(tmp_path / name)
    with pytest.raises(state_file.WeightsError, match='there is no such file'):
        state_file.read(tmp_path / 'nowhere' / name)


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.write_text, (self.path, 'ran')


@pytest.mark.parametrize('legacy', [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path, legacy):
    torch = pytest.importorskip('torch')
    stranger = {'state_dict': {'conv1.weight': torch.zeros(2)}, 'rank1': Code(tmp_path / 'marker')}
    torch.save(stranger, tmp_path / 'stranger.pth', _use_new_zipfile_serialization=not legacy)
    with pytest.raises(state_file.WeightsError, match=r'stranger.pth is not a readable'):
        state_file.read(tmp_path / 'stranger.pth')
    assert not (tmp_path / 'marker').exists()
    torch.save([torch.zeros(2)], tmp_path / 'list.pth')
    with pytest.raises(state_file.WeightsError, match='holds a list, expected a dictionary'):
        state_file.read(tmp_path / 'list.pth')


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('kind', [np.float32, np.float64, np.int64])
def test_a_numpy_number_beside_the_tensors_is_read_past(tmp_path, kind, legacy):
    torch = pytest.importorskip('torch')
    saved = {'state_dict': {'module.conv1.weight': torch.ones(2, dtype=torch.float64)}, 'rank1': kind(1), 'epoch': 239}
    torch.save(saved, tmp_path / 'ap3d.pth.tar', _use_new_zipfile_serialization=not legacy)
    tensors = state_file.read(tmp_path / 'ap3d.pth.tar')
    assert tensors.keys() == {'conv1.weight'}
    assert tensors['conv1.weight'].dtype == np.float32
    if legacy:
        return
    # The same file as NumPy 1 wrote it.
    old = io.BytesIO()
    with zipfile.ZipFile(tmp_path / 'ap3d.pth.tar') as new, zipfile.ZipFile(old, 'w', zipfile.ZIP_STORED) as file:
        for item in new.namelist():
            content = new.read(item)
            if item.endswith('data.pkl'):
                assert b'numpy._core.multiarray' in content
                content = content.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
            file.writestr(item, content)
    (tmp_path / 'old.pth.tar').write_bytes(old.getvalue())
    assert state_file.read(tmp_path / 'old.pth.tar').keys() == {'conv1.weight'}


def test_safetensors_may_carry_the_prefix_of_dataparallel_too(tmp_path):
    safetensors.numpy.save_file({'module.bn1.weight': np.ones(3, np.float32)}, tmp_path / 'x.safetensors')
    np.testing.assert_array_equal(state_file.read(tmp_path / 'x.safetensors')['bn1.weight'], np.ones(3))


@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16, np.float64])
def test_numbers_of_any_precision_become_float32(tmp_path, dtype):
    safetensors.numpy.save_file({'bn1.weight': np.full(3, 1.5, dtype)}, tmp_path / 'x.safetensors')
    found = state_file.read(tmp_path / 'x.safetensors')['bn1.weight']
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, 1.5)


def test_tensors_of_all_kinds_become_arrays_or_are_named(tmp_path):
    torch = pytest.importorskip('torch')
    path = tmp_path / 'a.pth'
    torch.save({7: torch.ones(2), 'p': torch.nn.Parameter(torch.ones(3, dtype=torch.float16))}, path)
    found = state_file.read(path)
    assert {name: array.tolist() for name, array in found.items()} == {'7': [1, 1], 'p': [1, 1, 1]}
    shared = torch.ones(10**6)
    for tensors, message in (
        ({'x': torch.eye(3).to_sparse()}, 'x is no plain tensor of numbers but torch.sparse_coo'),
        ({'x': torch.ones(2, dtype=torch.complex64)}, 'x is no plain tensor'),
        ({'x': torch.ones(1).expand(10**11)}, r'x claims shape \(100000000000,\), of which the file has a part only'),
        ({f'x{i}': shared for i in range(40)}, 'its tensors share memory and would be larger than the file'),
    ):
        torch.save(tensors, path)
        with pytest.raises(state_file.WeightsError, match=rf'a\.pth: {message}'):
            state_file.read(path)


@pytest.mark.slow
def test_compressed_tensors_that_become_gigabytes_are_refused(tmp_path):
    torch = pytest.importorskip('torch')
    torch.save({'x': torch.zeros(100 * 2**20)}, tmp_path / 'whole.pth')
    with (
        zipfile.ZipFile(tmp_path / 'whole.pth') as whole,
        zipfile.ZipFile(tmp_path / 'a.pth', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(state_file.WeightsError, match=r'a\.pth is not a readable .* claim to be'):
        state_file.read(tmp_path / 'a.pth')


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.'])
@pytest.mark.parametrize('trunk', ['', 'backbone.', 'backbone.module.', 'backbone._orig_mod.module.'])
@pytest.mark.parametrize(
    'wrapper', ['', 'state_dict', 'model', 'model_state_dict', 'model/state_dict', 'state_dict/model/model_state_dict']
)
def test_every_prefix_that_training_loops_leave_is_understood(tmp_path, prefix, trunk, wrapper):
    torch = pytest.importorskip('torch')
    names = {f'{trunk}conv1.weight': 1.0, f'{trunk}layer1.0.bn1.bias': 2.0, 'classifier.module.weight': 3.0}
    saved = {f'{prefix}{name}': torch.full((2,), value) for name, value in names.items()}
    for key in reversed(wrapper.split('/')):
        saved = {key: saved, 'epoch': 3} if key else saved
    torch.save(saved, tmp_path / 'a.pth')
    found = state_file.read(tmp_path / 'a.pth')
    assert {name: float(x[0]) for name, x in found.items()} == {
        'conv1.weight': 1.0, 'layer1.0.bn1.bias': 2.0, 'classifier.module.weight': 3.0,
    }  # fmt: skip


def test_names_that_would_become_one_are_left_or_refused(tmp_path):
    both = {'backbone.conv1.weight': np.ones(1, np.float32), 'conv1.weight': np.zeros(1, np.float32)}
    safetensors.numpy.save_file(both, tmp_path / 'a.safetensors')
    assert set(state_file.read(tmp_path / 'a.safetensors')) == set(both)
    twice = {'module.conv1.weight': np.ones(1, np.float32), 'conv1.weight': np.zeros(1, np.float32)}
    safetensors.numpy.save_file(twice, tmp_path / 'b.safetensors')
    with pytest.raises(state_file.WeightsError, match='two of its names are one'):
        state_file.read(tmp_path / 'b.safetensors')
