"""Names of PyTorch parameters and buffers beside ours: tables, and one function that expands them."""

from collections.abc import Sequence

# PyTorch module -> our module. '{stage}' runs from 1, '{block}' from 0.
RESNET_STEM = {
    'conv1': 'stem/conv1',
    'bn1': 'stem/bn1',
}
RESNET_BLOCK = {
    'layer{stage}.{block}.conv1': 'layer{stage}/block{block}/conv1',
    'layer{stage}.{block}.bn1': 'layer{stage}/block{block}/bn1',
    'layer{stage}.{block}.conv2': 'layer{stage}/block{block}/conv2',
    'layer{stage}.{block}.bn2': 'layer{stage}/block{block}/bn2',
    'layer{stage}.{block}.conv3': 'layer{stage}/block{block}/conv3',
    'layer{stage}.{block}.bn3': 'layer{stage}/block{block}/bn3',
}
RESNET_FIRST_BLOCK = {
    'layer{stage}.0.downsample.0': 'layer{stage}/block0/downsample_conv',
    'layer{stage}.0.downsample.1': 'layer{stage}/block0/downsample_bn',
}

# Kind of module -> PyTorch leaf -> our collection and leaf.
CONV = {'weight': ('params', 'kernel')}
BATCH_NORM = {
    'weight': ('params', 'scale'),
    'bias': ('params', 'bias'),
    'running_mean': ('batch_stats', 'mean'),
    'running_var': ('batch_stats', 'var'),
}
BATCH_NORM_ENDINGS = ('bn1', 'bn2', 'bn3', 'downsample.1')

Path = tuple[str, ...]


def resnet(depths: Sequence[int]) -> dict[str, Path]:
    """Names of torchvision's bottleneck ResNets without classifier: PyTorch name -> (collection, module ..., leaf)."""
    modules = dict(RESNET_STEM)
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            table = RESNET_BLOCK | (RESNET_FIRST_BLOCK if block == 0 else {})
            modules |= {
                k.format(stage=stage, block=block): v.format(stage=stage, block=block) for k, v in table.items()
            }
    names = {}
    for theirs, ours in modules.items():
        for leaf, (collection, our_leaf) in (BATCH_NORM if theirs.endswith(BATCH_NORM_ENDINGS) else CONV).items():
            names[f'{theirs}.{leaf}'] = (collection, *ours.split('/'), our_leaf)
    return names
