"""Settings: every wrong value is refused with the field's name and what is valid."""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

from configs import sta_synthetic, strf_mars, strf_synthetic
from configs.recipes import variants
from jaxreid import command_line, config, main
from jaxreid.reproduce import one_run
from jaxreid.reproduce.published import tables
from jaxreid.training import checkpoint

ROW = {'mAP': 50.0, 'cmc': {'1': 60.0}, 'step': 2, 'selected': 'last step', 'protocol': {'name': 'mars-paper'}}
FILES = sorted(p.stem for p in pathlib.Path(strf_mars.__file__).parent.glob('*_*.py') if p.stem != '__init__')


@pytest.mark.parametrize('file', FILES)
def test_every_variant_of_every_config_is_valid(file):
    module = importlib.import_module(f'configs.{file}')
    system, dataset = file.split('_')
    for variant in module.VARIANTS:
        made = config.validate(module.get_config(variant))
        if file == 'finetune_manifest':  # all systems
            system = variant.removesuffix('_small')
        assert made.system == (system if system in config.choices('system') else 'baseline')
        assert made.data.dataset == dataset


@pytest.mark.parametrize('file', FILES)
def test_the_docstring_of_a_config_holds_command_and_figure(file):
    text = importlib.import_module(f'configs.{file}').__doc__
    assert 'python -m jaxreid.main' in text
    if not file.endswith('_synthetic'):
        assert f'--config configs/{file}.py --config.data.root=' in text
        paper, ours = text.split('Ours: ')
        assert ours.split('.')[0]
        system, dataset = file.split('_')
        published = {
            f'{value:.1f}'
            for table in tables.TABLES.values()
            if table.system == system
            for row in table.rows
            for value in row.paper.get(dataset, {}).values()
            if isinstance(value, float)
        }
        said = re.findall(r'\b\d\d\.\d\b', paper)
        assert not published or (said and set(said) <= published)


@pytest.mark.parametrize('module', [strf_mars, strf_synthetic])
def test_an_unknown_variant_names_the_nearest(module):
    variant = next(iter(module.VARIANTS))
    with pytest.raises(config.ConfigError, match=f'Did you mean .{variant}'):
        module.get_config(variant[:-1])


def test_variants_joined_by_commas_are_applied_in_order():
    made = sta_synthetic.get_config('table1_avg,tiny')
    assert (made.sta.mode, made.data.preset, made.data.num_ids) == ('avg', 'tiny', 12)
    assert sta_synthetic.get_config('table2_n2,table2_n6').test.frames == 6


def test_a_variant_that_names_no_setting_is_refused():
    with pytest.raises(config.ConfigError, match=r"Did you mean 'optim\.lr'"):
        variants.getter('x', {'optim.lrr': 1}, variants={'a': {}})()


@pytest.mark.parametrize(
    ('spec', 'ids', 'protocol'),
    [
        ('strf_mars', 625, 'mars-paper'),
        ('stmn_dukev', 702, 'dukev'),
        ('ap3d_ilids', 150, 'ilids'),
        ('star_prid', 89, 'prid'),
        ('stmn_lsvid', 842, 'lsvid'),
        ('sinet_lsvid', 842, 'lsvid'),
    ],
)
def test_a_data_set_brings_its_published_identities_and_protocol(spec, ids, protocol):
    made = importlib.import_module(f'configs.{spec}').get_config()
    assert (made.data.num_ids, made.test.protocols) == (ids, (protocol,))


def test_the_grid_holds_a_fifth_of_the_identities_out():
    stmn = importlib.import_module('configs.stmn_mars')
    assert stmn.get_config('grid_alpha_0.5').data.num_ids == 500
    assert len([v for v in stmn.VARIANTS if v.startswith('grid_items_')]) == 9


def test_settings_are_read_without_heavy_packages():
    """Choices of settings come from the data sets' facts, beside readers that need them."""
    heavy = 'cv2', 'h5py', 'scipy', 'jax', 'tensorflow_datasets'
    script = f'import sys; from jaxreid import config; print([name for name in {heavy} if name in sys.modules])'
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout == '[]\n'


def test_defaults_are_valid_and_round_trip_to_plain_values():
    experiment = config.validate(config.Experiment())
    assert config.to_dict(experiment)['backbone']['depths'] == [3, 4, 6, 3]
    assert config.flatten(experiment)['optim.lr'] == 3e-4


@pytest.mark.parametrize(
    ('section', 'field', 'value', 'message'),
    [
        ('optim', 'lr', '0.1', 'config.optim.lr = .0.1. has type str, expected float'),
        ('train', 'epochs', 2.5, 'has type float, expected int'),
        ('train', 'epochs', True, 'has type bool, expected int'),
        ('train', 'remat', 1, 'has type int, expected bool'),
        ('data', 'store', '5', "config.data.store = '5' is not known. Valid: folder"),
        ('sampler', 'kind', 'tracklet_epok', "Did you mean 'tracklet_epoch'"),
        ('backbone', 'depths', (1, 1.5, 1, 1), 'holds 1.5, which is not of type int'),
        ('backbone', 'depths', 3, 'is not a tuple'),
        ('backbone', 'depths', (1, 1), 'has 2 entries, expected 4'),
        ('backbone', 'stages', (0,), 'config.backbone.stages = 0 is not known. Valid: 1, 2, 3, 4'),
        ('optim', 'lr', float('nan'), 'is not finite'),
        ('optim', 'lr', 0.0, 'is not above 0'),
        ('augment', 'flip', 1.5, 'config.augment.flip = 1.5 is not at least 0 and at most 1'),
        ('augment', 'erase_area_min', 0.9, 'min <= max'),
        ('train', 'epochs', 0, 'config.train.epochs = 0 is not at least 1'),
        ('train', 'bn_groups', 3, '32 clips .* do not split over train.bn_groups = 3'),
        ('strf', 'branches', (), 'at least one entry'),
        ('strf', 'branches', ('t_tau', 't_tau'), 'each once'),
        ('strf', 'reduction', 7, 'does not divide the 128 channels of stage 2'),
        ('backbone', 'block', 'c2d', 'needs one of the blocks i3d'),
        ('backbone', 'width', 32, 'backbone.init=random'),
        ('nonlocal_blocks', 'stage2', (4,), 'outside 0 ... 3'),
        ('sampler', 'num_ids', 1, 'at least 2'),
        ('data', 'height', 2**31, 'config.data.height = 2147483648 is not at least 1 and at most 4096'),
        (
            'data',
            'height',
            10**20,
            r'config.data.height = 100000000000000000000 is too large; expected less than 2\^32',
        ),
        ('train', 'seed', 10**20, 'is too large'),
        ('optim', 'lr', 10**400, 'config.optim.lr = 1000.* is too large'),
        ('backbone', 'depths', (3, 4, 6, 10**9), 'at most 512'),
        ('backbone', 'width', 10**6, 'at most 4096'),
        (
            'sampler',
            'frames',
            10**9,
            'config.sampler: 32 clips of 1000000000 frames of 256x128 pixels are .* GiB',
        ),
        ('test', 'batch_clips', 10**9, 'config.test: 1000000000 clips of 4 frames'),
        ('star', 'pyramid_levels', (0,), 'is not at least 1'),
    ],
)
def test_a_wrong_setting_is_refused_by_name(section, field, value, message):
    experiment = config.Experiment()
    setattr(getattr(experiment, section), field, value)
    with pytest.raises(config.ConfigError, match=message):
        config.validate(experiment)


def test_all_problems_are_listed_at_once():
    experiment = config.Experiment()
    experiment.optim.lr = 'fast'
    experiment.data = 'mars'
    with pytest.raises(config.ConfigError) as error:
        config.validate(experiment)
    assert len(str(error.value).splitlines()) == 2


def test_i3d_has_no_1x3x3_location():
    experiment = config.Experiment()
    experiment.backbone.block, experiment.strf.location = 'i3d', '1x3x3'
    with pytest.raises(config.ConfigError, match='I3D has no separate spatial convolution'):
        config.validate(experiment)


def test_an_unknown_field_names_the_nearest():
    assert "Did you mean 'optim.lr'?" in str(config.unknown_field('optim.lrr'))
    assert "Did you mean 'optim.lr'?" in str(config.unknown_field('optm.lr'))


@pytest.mark.parametrize(
    'change',
    [
        ('stmn.spread_groups', 3),
        ('star.pyramid_levels', (0,)),
        ('star.attention_stages', (5,)),
        ('loss.smoothing', 1.5),
        ('optim.decay_factor', -0.1),
        ('backbone.strides', (1, 2, 2, 3)),
        ('star.flow_channels', 4),
        ('test.protocols', ()),
        ('augment.erase_aspect_min', 0.0),
    ],
)
def test_what_the_facts_of_a_setting_forbid_is_refused(change):
    path, value = change
    section, name = path.split('.')
    experiment = config.Experiment(system='stmn') if section == 'stmn' else config.Experiment()
    setattr(getattr(experiment, section), name, value)
    with pytest.raises(config.ConfigError, match=name):
        config.validate(experiment)


@pytest.mark.parametrize(
    ('argument', 'path', 'value'),
    [
        ('data.split=3', 'data.split', '3'),
        ('star.flow_channels=3', 'star.flow_channels', 3),
        ('strf.order=parallel', 'strf.order', 'parallel'),
        ('strf.stages=(3,)', 'strf.stages', (3,)),
        ('strf.branches=("t_tau", "s_tau")', 'strf.branches', ('t_tau', 's_tau')),
        ('backbone.strides=(1, 2, 2, 2)', 'backbone.strides', (1, 2, 2, 2)),
        ('strf.residual=true', 'strf.residual', True),
        ('system=stmn', 'system', 'stmn'),
    ],
)
def test_the_command_line_reads_every_kind_of_setting(argument, path, value):
    made = command_line.unchecked_config(command_line.DEFAULT_CONFIG, [f'--config.{argument}'])
    assert config.flatten(made)[path] == value


def of_a_system_that_it_matters_to(one):
    """Settings in which every section that there is looks at this one."""
    experiment = config.Experiment(
        system=one.section if one.section in ('stmn', 'sta', 'star', 'sinet', 'tfclip') else 'baseline'
    )
    experiment.system = 'tfclip' if one.section == 'vit' else experiment.system
    experiment.backbone.block = 'ap3d_a' if one.section == 'ap3d' else 'p3dc'
    experiment.backbone.init = 'checkpoint' if one.path == 'backbone.weights' else 'imagenet'
    return experiment


def another(one):
    """A value that a setting may have and has not by default."""
    if one.is_tuple:
        return one.default[:-1] if one.default else (one.choices or {int: (1,), str: ('dukev=/x',)}[one.kind])[:1]
    if one.choices:
        return next(value for value in one.choices if value != one.default)
    return {bool: not one.default, int: 7, float: 0.7, str: 'elsewhere'}[one.kind]


@pytest.mark.parametrize('path', list(config.settings()))
def test_a_run_goes_on_and_a_result_counts_as_what_a_setting_affects_tells(path, tmp_path):
    one = config.settings()[path]
    before, now = of_a_system_that_it_matters_to(one), of_a_system_that_it_matters_to(one)
    setattr(getattr(now, one.section) if one.section else now, one.name, another(one))
    saved = {'config': json.loads(json.dumps(config.to_dict(before))), 'labels': {}}

    def accepted(check):
        try:
            check(saved, now, tmp_path)
        except checkpoint.CheckpointError as e:
            assert f'config.{path}: ' in str(e)  # noqa: PT017
            return False
        return True

    run = one_run.Run(0, '', now, tmp_path / 'run', ())
    (tmp_path / 'other').mkdir()
    for folder in (run.folder, tmp_path / 'other'):
        folder.mkdir(exist_ok=True)
        (folder / 'results.json').write_text(json.dumps([ROW]))
        (folder / 'finished.json').write_text(json.dumps({'config': saved['config'], 'trained': True, 'row': ROW}))
    same_training = one_run.donor(run) is not None
    assert same_training == (one.affects in ('test', 'nothing'))
    assert same_training == (one_run.Run(0, '', before, run.folder, ()).trained_as() == run.trained_as())
    assert (one_run.finished(run) is not None) == (one.affects == 'nothing')
    assert accepted(checkpoint.check_same_model) == (one.affects != 'network')
    length = path in ('train.epochs', 'train.max_steps')  # a run may go on to another end
    assert accepted(checkpoint.check_same_run) == (same_training or length)


def test_a_value_at_its_limit_is_valid():
    made = config.Experiment()
    made.augment.flip, made.augment.erase_area_max, made.data.threads = 1.0, 1.0, 1
    made.data.store, made.data.records = 'device', '/records'
    made.train.steps_per_dispatch = made.train.log_every_steps  # a dispatch ends where a report is due
    assert config.validate(made) is made


def test_settings_of_sections_that_do_not_matter_change_nothing():
    before, now = config.Experiment(system='stmn'), config.Experiment(system='stmn')
    now.star.hidden, now.strf.order, now.ap3d.reduction = 1, 'parallel', 1
    assert config.changed(before, now, 'nothing') == {}
    now.stmn.sm = False
    assert config.changed(before, now, 'network') == {'stmn.sm': 'config.stmn.sm: True before, False now'}


def test_imagenet_weights_may_lie_anywhere():
    before, now = config.Experiment(), config.Experiment()
    now.backbone.weights = '/moved/resnet50.pth'
    assert config.changed(before, now, 'nothing') == {}


def test_mixed_in_data_sets_may_lie_elsewhere_but_not_be_others():
    before, now = config.Experiment(), config.Experiment()
    before.data.also, now.data.also = ('dukev=/a', 'ilids:3=/b'), ('dukev=/c', 'ilids:3=/d')
    assert config.changed(before, now, 'test') == {}
    now.data.also = ('dukev=/a', 'ilids:4=/b')
    assert list(config.changed(before, now, 'training')) == ['data.also']


def test_help_shows_what_matters_to_the_system_and_all_where_asked(capsys):
    assert main.run(['main', '--config=configs/stmn_synthetic.py', '--help']) == 0
    shown = capsys.readouterr().out
    for part in ("--config.stmn.tm='memory'", '(memory | mlp | off)', '--config.data.height=64  [pixels]'):
        assert part in shown
    assert all(
        f'--config.{section}.' not in shown for section in ('strf', 'sta', 'star', 'sinet', 'ap3d', 'nonlocal_blocks')
    )
    assert main.run(['main', '--helpfull']) == 0
    shown = capsys.readouterr().out
    for path, one in config.settings().items():
        assert f'--config.{path}=' in shown
        assert one.meaning.split()[0] in shown


def test_settings_of_an_old_checkpoint_are_read():
    old = config.to_dict(config.Experiment())
    old['data']['split'] = 3  # once a number
    old['strf']['order'] = 'a choice of then'
    del old['star'], old['train']['steps_per_dispatch']
    assert config.from_dict(old).data.split == '3'
    assert config.from_dict(old).strf.order == 'a choice of then'
    with pytest.raises(config.ConfigError, match=r"order = 'a choice of then' is not known\. Valid: t_then_s"):
        config.validate(config.from_dict(old))
    old['strf']['kappa'] = 'many'
    with pytest.raises(config.ConfigError, match=r"config\.strf\.kappa = 'many' has type str, expected float"):
        config.from_dict(old)
