"""The networks of AP3D's public code in PyTorch's own layers on [B, C, T, H, W], under the names that it saves.

Blocks: c2d, i3d, p3da, p3db, p3dc and, behind an alignment of the neighbouring frames, ap3d_i3d, ap3d_a, ap3d_b, ap3d_c
(the released AP3D). Written frame by frame, so that nothing is shared with the network under test.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv3d(inputs, outputs, size, stride=1, bias=False, time_stride=1, pad_time=True):
    kt, k = size
    return nn.Conv3d(
        inputs,
        outputs,
        (kt, k, k),
        stride=(time_stride, stride, stride),
        padding=(kt // 2 if pad_time else 0, k // 2, k // 2),
        bias=bias,
    )


class Alignment(nn.Module):
    """x -> for every frame: the frame before, aligned to it, itself, the frame after, aligned; [B, C, 3 T, H, W]."""

    def __init__(self, channels, reduction, temperature, contrastive):
        super().__init__()
        reduced = channels // reduction
        self.temperature = temperature
        self.semantic_mapping = conv3d(channels, reduced, (1, 1))
        if contrastive:
            self.x_mapping = conv3d(channels, reduced, (1, 1))
            self.n_mapping = conv3d(channels, reduced, (1, 1))
            self.contrastive_att_net = nn.Sequential(conv3d(reduced, 1, (1, 1)), nn.Sigmoid())

    def _neighbour(self, x, semantic, frame, other):
        centre = x[:, :, frame]
        if not 0 <= other < x.shape[2]:
            return torch.zeros_like(centre)
        scores = self.temperature * semantic[:, :, frame].flatten(2).mT @ semantic[:, :, other].flatten(2)
        combined = x[:, :, other].flatten(2) @ scores.softmax(-1).mT
        combined = combined.reshape(centre.shape)
        if hasattr(self, 'contrastive_att_net'):
            product = self.x_mapping(centre.detach()[:, :, None]) * self.n_mapping(combined.detach()[:, :, None])
            combined = combined * self.contrastive_att_net(product)[:, :, 0]
        return combined

    def forward(self, x):
        semantic = F.normalize(self.semantic_mapping(x), dim=1)
        frames = []
        for t in range(x.shape[2]):
            before, after = (self._neighbour(x, semantic, t, other) for other in (t - 1, t + 1))
            frames += [before, x[:, :, t], after]
        return torch.stack(frames, 2)


class Block(nn.Module):
    """What takes the place of the middle convolution."""

    def __init__(self, kind, channels, stride, **alignment):
        super().__init__()
        self.kind = kind
        aligned = kind.startswith('ap3d')
        time = {'time_stride': 3, 'pad_time': False} if aligned else {}
        if aligned:
            self.APM = Alignment(channels, **alignment)
        if kind == 'c2d':
            self.conv3d = conv3d(channels, channels, (1, 3), stride)
        elif kind.endswith('i3d'):
            self.conv3d = conv3d(channels, channels, (3, 3), stride, **time)
        else:
            self.spatial_conv3d = conv3d(channels, channels, (1, 3), stride)
            self.temporal_conv3d = conv3d(channels, channels, (3, 1), stride if kind[-1] == 'b' else 1, **time)

    def forward(self, x):
        around = self.APM if hasattr(self, 'APM') else nn.Identity()
        if hasattr(self, 'conv3d'):
            return self.conv3d(around(x))
        y = self.spatial_conv3d(x)
        match self.kind[-1]:
            case 'a':
                return self.temporal_conv3d(around(y))
            case 'b':
                return y + self.temporal_conv3d(around(x))
        return y + self.temporal_conv3d(around(y))


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride, kind=None, **alignment):
        super().__init__()
        self.conv1 = conv3d(inputs, planes, (1, 1))
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = Block(kind, planes, stride, **alignment) if kind else conv3d(planes, planes, (1, 3), stride)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = conv3d(planes, 4 * planes, (1, 1))
        self.bn3 = nn.BatchNorm3d(4 * planes)
        if stride != 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(conv3d(inputs, 4 * planes, (1, 1), stride), nn.BatchNorm3d(4 * planes))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if hasattr(self, 'downsample') else x))


class NonLocal(nn.Module):
    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.g = nn.Sequential(conv3d(channels, half, (1, 1), bias=True), nn.MaxPool3d((1, 2, 2)))
        self.theta = conv3d(channels, half, (1, 1), bias=True)
        self.phi = nn.Sequential(conv3d(channels, half, (1, 1), bias=True), nn.MaxPool3d((1, 2, 2)))
        self.W = nn.Sequential(conv3d(half, channels, (1, 1), bias=True), nn.BatchNorm3d(channels))

    def forward(self, x):
        weights = (self.theta(x).flatten(2).mT @ self.phi(x).flatten(2)).softmax(-1)
        y = self.g(x).flatten(2) @ weights.mT
        return x + self.W(y.reshape(x.shape[0], -1, *x.shape[2:]))


class Network(nn.Module):
    """Everything by name; `replaced` and `nonlocal_after` list bottlenecks of the four stages."""

    def __init__(
        self,
        kind='ap3d_c',
        *,
        num_ids=625,
        width=64,
        depths=(3, 4, 6, 3),
        replaced=((), (0, 2), (0, 2, 4), ()),
        nonlocal_after=((), (), (), ()),
        reduction=16,
        temperature=4,
        contrastive=True,
    ):
        super().__init__()
        self.conv1 = conv3d(3, width, (1, 7), 2)
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        inputs = width
        alignment = {'reduction': reduction, 'temperature': temperature, 'contrastive': contrastive}
        for s, (depth, stride) in enumerate(zip(depths, (1, 2, 2, 1), strict=True)):
            planes = width * 2**s
            modules = []
            for i in range(depth):
                chosen = kind if i in replaced[s] else None
                modules.append(Bottleneck(inputs, planes, stride if i == 0 else 1, chosen, **alignment))
                inputs = 4 * planes
                if i in nonlocal_after[s]:  # takes a number of its own in the row
                    modules.append(NonLocal(inputs))
            setattr(self, f'layer{s + 1}', nn.Sequential(*modules))
        self.bn = nn.BatchNorm1d(inputs)
        self.classifier = nn.Linear(inputs, num_ids)

    def forward(self, clips):
        """clips [B, T, H, W, 3] -> feature, embedding, logits of the clip as AP3D tests it."""
        x = clips.movedim(-1, 1)
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        feature = x.amax((3, 4)).mean(2)
        embedding = self.bn(feature)
        return feature, embedding, self.classifier(embedding)


def randomise(net, seed=0):
    """Random parameters and statistics, so that every one has an effect, and activations of ordinary size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith('num_batches_tracked'):
                value.fill_(1234)
            elif name.endswith('running_var') or (name.endswith('weight') and value.ndim == 1):
                value.uniform_(0.7, 1.3, generator=generator)
            elif value.ndim <= 1:
                value.normal_(0, 0.1, generator=generator)
            else:
                value.normal_(0, value[0].numel() ** -0.5, generator=generator)
    return net.eval()
