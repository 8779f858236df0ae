"""Networks of the authors' code, rebuilt in PyTorch (tests/oracles), come in, compute the same and go out again."""

import functools
import importlib

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.training import checkpoint
from jaxreid.weights import export_torch, import_torch, state_file, torch_names

torch = pytest.importorskip('torch')

from tests.oracles import torch_ap3d, torch_sinet, torch_stmn_official  # noqa: E402

pytestmark = pytest.mark.slow

# Source -> (kind of block, whether non-local blocks follow, row of configs/ap3d_mars.py).
NETS = {
    'ap3d_c2d': ('c2d', False, 'c2d'),
    'ap3d_i3d': ('i3d', False, 'i3d'),
    'ap3d_p3da': ('p3da', False, 'p3da'),
    'ap3d_p3db': ('p3db', False, 'p3db'),
    'ap3d_p3dc': ('p3dc', False, 'p3dc'),
    'ap3d': ('ap3d_c', False, 'ap3d'),
    'ap3d_nl': ('ap3d_c', True, 'ap3d_nl'),
}
NONLOCAL = ((), (1, 3), (1, 3, 5), ())


def small_ap3d(source, seed=0):
    kind, nonlocal_blocks, _ = NETS[source]
    net = torch_ap3d.Network(
        kind,
        num_ids=5,
        width=4,
        depths=(1, 2, 1, 1),
        replaced=((), (0,), (0,), ()),
        nonlocal_after=((), (0, 1), (0,), ()) if nonlocal_blocks else ((), (), (), ()),
        reduction=4,
    )
    return torch_ap3d.randomise(net, seed)


def small_stmn(seed=0):
    net = torch_stmn_official.Stmn(num_ids=5, width=4, depths=(1, 1, 2, 2), items=(4, 3), frames=3)
    net = torch_ap3d.randomise(net, seed)
    with torch.no_grad():
        net.tmem.val.mul_(5)  # frame weights that differ
        net.bn_t.bias.normal_()  # frozen where it was trained, and not at zero
    return net


def clips(frames=3):
    return np.random.default_rng(0).normal(size=(2, frames, 64, 32, 3)).astype(np.float32)


# Most of the time goes into compiling, so little is optimised.
@functools.partial(jax.jit, static_argnums=0, compiler_options={'xla_backend_optimization_level': 0})
def evaluate(model, variables, x):
    return model.apply(variables, x, train=False)


def saved(net, path, **extra):
    torch.save({'state_dict': net.state_dict(), **extra} if extra else net.state_dict(), path)
    return path


def assert_close(ours, theirs):
    theirs = theirs.numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def assert_same_state(exported, net):
    state = net.state_dict()
    assert exported.keys() == state.keys()
    for name, value in exported.items():
        expected = np.zeros((), np.int64) if name.endswith('num_batches_tracked') else state[name].numpy()
        np.testing.assert_array_equal(value, expected, err_msg=name)
        assert value.dtype == expected.dtype


@pytest.mark.parametrize('source', NETS)
def test_ap3d_networks_compute_what_they_computed_in_pytorch_and_go_out_unchanged(source, tmp_path):
    net = small_ap3d(source)
    path = saved(net, tmp_path / 'checkpoint_ep240.pth.tar', rank1=np.float64(0.9), epoch=239)
    experiment, model, variables = import_torch.imported(path, source)
    assert experiment.ap3d.reduction == 4
    x = clips()
    with torch.no_grad():
        feature, embedding, logits = net(torch.tensor(x))
    got = evaluate(model, variables, x)
    assert_close(got.embedding_before_neck, feature)
    assert_close(got.embedding, embedding)
    assert_close(got.logits, logits)
    assert_same_state(export_torch.state_dict(variables, experiment), net)


def test_stmn_computes_what_its_released_code_computed_and_goes_out_unchanged(tmp_path):
    net = small_stmn()
    torch.save({f'module.{k}': v for k, v in net.state_dict().items()}, tmp_path / 'ckpt_best.pth')
    model, variables = import_torch.load(tmp_path / 'ckpt_best.pth')
    x = clips()
    with torch.no_grad():
        theirs = net(torch.tensor(x))
    ours = evaluate(model, variables, x)
    for name in ('embedding', 'embedding_before_neck', 'logits'):
        assert_close(getattr(ours, name), theirs[name])
    assert_close(ours.streams['spatial'].logits, theirs['spatial_logits'])
    assert_close(ours.extras['spatial_match'].reshape(2, 3, -1, 4), theirs['spatial_match'])
    for name in ('temporal_match', 'frame_weights'):
        assert_close(ours.extras[name], theirs[name])
    assert float(np.ptp(ours.extras['frame_weights'])) > 0.01
    assert 'bias' not in variables['params']['head_temporal']['neck']
    np.testing.assert_array_equal(variables['batch_stats']['head_temporal']['neck']['bias'], net.bn_t.bias.detach())
    experiment = import_torch.settings(state_file.read(tmp_path / 'ckpt_best.pth'), 'stmn')
    assert_same_state(export_torch.state_dict(variables, experiment), net)


SINETS = {'sinet': {}, 'sbnet': {'idm': ()}, 'idnet': {'sbm': (), 'projection': False}}


@pytest.mark.parametrize('row', SINETS)
def test_sinet_computes_what_it_computed_in_pytorch_and_its_idle_biases_go_out_as_zeros(row, tmp_path):
    parts = {'idm': (0,), 'sbm': (0, 1)} | SINETS[row]
    net = torch_sinet.randomise(torch_sinet.Network(num_ids=5, width=4, depths=(1, 1, 2, 1), **parts))
    experiment, model, variables = import_torch.imported(saved(net, tmp_path / 'checkpoint_ep150.pth.tar'), 'sinet')
    assert (experiment.sinet.idm, experiment.sinet.sbm) == (parts['idm'], parts['sbm'])
    assert experiment.sampler.frames == experiment.test.frames == 4
    config.validate(experiment)
    x = np.random.default_rng(0).normal(size=(2, 4, 256, 128, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = net(torch.tensor(x))
    ours = evaluate(model, variables, x)
    for got, expected in zip((ours.embedding_before_neck, ours.embedding, ours.logits), theirs, strict=False):
        assert_close(got, expected)

    exported = export_torch.state_dict(variables, experiment)
    state = net.state_dict()
    assert {k: v.shape for k, v in exported.items()} == {k: tuple(v.shape) for k, v in state.items()}
    changed = {k for k, v in exported.items() if not np.array_equal(v, state[k].numpy())}
    idle = {k for k in state if (found := torch_names.BEFORE_NORM.search(k)) and found[3] == 'bias'}
    assert {k for k in changed if k.endswith('.bias')} == idle
    assert all(k.endswith(('running_mean', 'num_batches_tracked', '.bias')) for k in changed)
    net.load_state_dict({k: torch.tensor(v) for k, v in exported.items()})
    with torch.no_grad():
        again = net(torch.tensor(x))
    assert_close(again[2].numpy(), theirs[2])
    _, back = import_torch.load(saved(net, tmp_path / 'back.pth'), 'sinet')
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def full_size(source):
    """Names and shapes of a full network, without numbers."""
    with torch.device('meta'):
        if source == 'stmn':
            net = torch_stmn_official.Stmn()
        elif source == 'sinet':
            net = torch_sinet.Network()
        else:
            kind, nonlocal_blocks, _ = NETS[source]
            net = torch_ap3d.Network(kind, nonlocal_after=NONLOCAL if nonlocal_blocks else ((), (), (), ()))
    return {k: np.broadcast_to(np.float32(0), v.shape) for k, v in net.state_dict().items()}


@pytest.mark.parametrize('source', [*NETS, 'stmn', 'sinet'])
def test_every_name_and_shape_of_the_full_network_is_known_and_its_config_restores_it(source):
    state = full_size(source)
    if source == 'stmn':
        assert len(state) == 463
    tensors = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    tensors = torch_names.without_biases(tensors) if source == 'sinet' else tensors
    e = import_torch.settings(tensors, source)
    model = build.build(e, num_ids=625, dtype=np.dtype('float32'))
    shapes = traverse_util.flatten_dict(cost.shapes(model, frames=e.sampler.frames, height=256, width=128))
    names = import_torch.published_names(e, source)
    expected = {name: torch_names.their_shape(shapes[entry.path].shape, entry) for name, entry in names.items()}
    assert {name: v.shape for name, v in tensors.items()} == expected
    assert {entry.path for entry in names.values()} == shapes.keys()
    file, variant = ('ap3d_mars', NETS[source][2]) if source in NETS else (f'{source}_mars', 'released')
    written = importlib.import_module(f'configs.{file}').get_config(variant)
    checkpoint.check_same_model({'config': config.to_dict(e)}, written, 'imported')
    assert written.sampler.frames == e.sampler.frames or source != 'stmn'


def test_c2d_may_be_saved_without_replaced_bottlenecks(tmp_path):
    net = torch_ap3d.randomise(torch_ap3d.Network('c2d', num_ids=5, width=4, depths=(1, 1, 1, 1), replaced=((),) * 4))
    experiment, _, variables = import_torch.imported(saved(net, tmp_path / 'c2d.pth'), 'ap3d_c2d')
    assert_same_state(export_torch.state_dict(variables, experiment), net)


def test_alignment_without_contrastive_attention_is_recognised(tmp_path):
    net = torch_ap3d.Network(
        num_ids=5, width=4, depths=(1, 1, 1, 1), replaced=((), (0,), (0,), ()), contrastive=False, reduction=2
    )
    experiment, _, variables = import_torch.imported(
        saved(torch_ap3d.randomise(net), tmp_path / 'ap3d.pth'), 'ap3dres50'
    )
    assert not experiment.ap3d.contrastive
    assert experiment.ap3d.reduction == 2
    assert_same_state(export_torch.state_dict(variables, experiment), net)


def test_every_name_and_shape_that_does_not_fit_is_listed_once(tmp_path):
    state = {k: v.numpy() for k, v in small_stmn().state_dict().items()}
    state['features.backbone.conv1.weight'] = np.zeros((3, 3, 7, 7), np.float32)
    state['smem.bn.extra'] = np.zeros(2, np.float32)
    del state['tmem.lstm.bias_hh_l0']
    state['cls_s.weight'] = np.zeros((6, 128), np.float32)
    safetensors.numpy.save_file(state, tmp_path / 'wrong.safetensors')
    with pytest.raises(state_file.WeightsError) as caught:
        import_torch.load(tmp_path / 'wrong.safetensors', source='stmn')
    lines = str(caught.value).splitlines()
    assert "wrong.safetensors as 'stmn': 4 names or shapes do not fit" in lines[0]
    assert sorted(lines[1:5]) == [
        '  cls_s.weight: shape (6, 128) in the file, expected (5, 128)',
        '  features.backbone.conv1.weight: shape (3, 3, 7, 7) in the file, expected (4, 3, 7, 7)',
        '  smem.bn.extra: not in the model',
        '  tmem.lstm.bias_hh_l0: not in the file; expected shape (512,)',
    ]
    with pytest.raises(
        state_file.WeightsError, match=r'cls_t.weight: shape \(5, 128\) in the file, expected \(7, 128\)'
    ):
        import_torch.load(tmp_path / 'wrong.safetensors', num_ids=7)


def test_a_file_of_another_source_is_refused(tmp_path):
    path = saved(small_ap3d('ap3d_p3dc'), tmp_path / 'p3dc.pth')
    with pytest.raises(
        state_file.WeightsError, match=r'layer2\.0\.conv2\.APM\.semantic_mapping\.weight: not in the file'
    ):
        import_torch.load(path, source='ap3d')
    with pytest.raises(state_file.WeightsError, match=r'smem\.key: not in the file'):
        import_torch.load(path)
    with pytest.raises(state_file.WeightsError, match=r"source = 'ap3d_p3d' is not known\. Did you mean"):
        import_torch.load(path, source='ap3d_p3d')


def torchvision_state():
    """Names, shapes and order of axes of torchvision's ResNet, from AP3D's net of frame-wise convolutions."""
    net = torch_ap3d.randomise(torch_ap3d.Network(num_ids=5, width=4, depths=(1, 2, 1, 1), replaced=((),) * 4))
    state = {k: (v[:, :, 0] if v.ndim == 5 else v).clone() for k, v in net.state_dict().items()}
    head = {k.replace('classifier', 'fc'): state.pop(k) for k in list(state) if k.startswith(('bn.', 'classifier'))}
    return net, state | {k: v for k, v in head.items() if k.startswith('fc')}


def test_torchvisions_resnet_keeps_its_strides_pooling_and_classes_and_goes_out_unchanged(tmp_path):
    net, state = torchvision_state()
    torch.save(state, tmp_path / 'resnet.pth')
    x = clips()
    with torch.no_grad():
        net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = (1, 2, 2)
        y = torch.tensor(x).movedim(-1, 1)
        y = net.maxpool(torch.relu(net.bn1(net.conv1(y))))
        feature = net.layer4(net.layer3(net.layer2(net.layer1(y)))).mean((2, 3, 4))
        logits = net.classifier(feature)
    experiment, model, variables = import_torch.imported(tmp_path / 'resnet.pth', 'torchvision_resnet50')
    ours = evaluate(model, variables, x)
    assert_close(ours.embedding, feature)
    assert_close(ours.logits, logits)
    exported = export_torch.state_dict(variables, experiment, source='torchvision_resnet50')
    assert exported.keys() == state.keys()
    for name, value in exported.items():
        if not name.endswith('num_batches_tracked'):
            np.testing.assert_array_equal(value, state[name].numpy(), err_msg=name)
    _, headless = import_torch.load(tmp_path / 'resnet.pth', 'torchvision_resnet50', num_ids=3)
    assert headless['params']['head']['classifier'].shape == (128, 3)
    assert not headless['params']['head']['classifier'].any()


def test_the_commands_write_a_checkpoint_that_evaluation_reads_and_a_file_that_pytorch_reads(tmp_path, capsys):
    net = small_stmn()
    source, folder, exported = (str(tmp_path / n) for n in ('ckpt.pth', 'imported', 'back.safetensors'))
    saved(net, source)
    assert import_torch.main(['--source', 'stmn', source, folder]) == 0
    assert f'--mode eval --checkpoint {folder}' in capsys.readouterr().out
    found, at = checkpoint.find(tmp_path / 'imported')
    meta = checkpoint.read_meta(found, at)
    assert len(meta['labels']) == 5
    assert meta['imported'] == {'source': 'stmn', 'file': 'ckpt.pth'}
    e = config.from_dict(meta['config'])
    assert config.validate(e).stmn.query_layout == 'flat'
    # What `--mode eval` restores (evaluation/network.py).
    shapes = cost.shapes(build.build(e, num_ids=5, dtype=np.dtype('float32')), frames=3, height=32, width=32)
    placed = checkpoint.abstract_like(shapes, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    restored = checkpoint.restore(found, at, placed)
    _, variables = import_torch.load(source)
    jax.tree.map(np.testing.assert_array_equal, restored, variables)

    assert export_torch.main([folder, exported]) == 0
    tensors = {k: torch.tensor(v) for k, v in safetensors.numpy.load_file(exported).items()}
    again = torch_stmn_official.Stmn(num_ids=5, width=4, depths=(1, 1, 2, 2), items=(4, 3), frames=3)
    again.load_state_dict(tensors)
    assert_same_state({k: v.numpy() for k, v in again.state_dict().items()}, net)

    assert import_torch.main(['--source', 'stmn', source, folder]) == 1
    assert 'holds a checkpoint already' in capsys.readouterr().err
    assert import_torch.main(['--source', 'ap3d', source, str(tmp_path / 'other')]) == 1
    assert not (tmp_path / 'other').exists()
    assert export_torch.main([folder, str(tmp_path / 'back.pth')]) == 1
    assert export_torch.main([str(tmp_path / 'nothing'), exported]) == 1


def test_what_no_published_network_has_goes_out_under_our_names():
    e = config.Experiment(system='star', backbone=config.Backbone(block='c2d', width=4, depths=(1, 1, 1, 1)))
    e.star = config.Star(streams=('rgb', 'flow'), attention='off', aggregator='pool')
    e.head.kind = 'plain'
    model = build.build(e, num_ids=5, dtype=np.dtype('float32'))
    shapes = cost.shapes(model, frames=2, height=64, width=32, flow=True)
    tensors = export_torch.state_dict(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes), e)
    assert tensors['conv1.weight'].shape == (4, 3, 7, 7)
    assert tensors['flow_stem.conv1.weight'].shape == (4, 2, 7, 7)
    assert tensors['flow_stem.bn1.running_mean'].shape == (4,)
    assert tensors['head.classifier.weight'].shape == (5, 128)
    assert tensors['layer1.0.bn1.num_batches_tracked'] == 0
    counted = sum(v.size for k, v in tensors.items() if not k.endswith('num_batches_tracked'))
    assert counted == sum(s.size for s in jax.tree.leaves(shapes))


def test_settings_survive_being_written_and_new_ones_have_their_default():
    e = config.Experiment(system='stmn', backbone=config.Backbone(block='c2d', depths=(1, 2, 3, 4)))
    written = config.to_dict(e)
    assert config.from_dict(written) == e
    del written['ap3d'], written['stmn']['key_norm']
    assert config.from_dict(written) == e
    with pytest.raises(config.ConfigError, match=r'unknown setting config.stmn.keynorm'):
        config.from_dict({'stmn': {'keynorm': 'item'}})
