"""C2D and STRF-P3DC in PyTorch, as the field writes them and in the form that suits the hardware best.

    conv3d  activations [B, C, T, H, W]; kernels of one frame are nn.Conv3d with (1, k, k), temporal ones (3, 1, 1)
    folded  activations [B * T, C, H, W], channels last; nn.Conv2d, temporal kernels as one product over joined shifts

Written from the papers (ResNet, P3D, STRF; see the layers of jaxreid) for the benchmarks only; no repository's code.
Modules are named as in jaxreid, so that `load` can give both the same weights and their losses can be compared.
"""

import torch
from torch import nn
from torch.nn import functional as F

FORMS = ('conv3d', 'folded')
DEPTHS = (3, 4, 6, 3)
STRF_STAGES = (2, 3)
KAPPA, REDUCTION, R_SIGMA = 4.0, 16, 3
MARGIN = 0.3


class FrameConv(nn.Module):
    """k x k convolution of every frame."""

    def __init__(self, ci, co, size, stride=1, *, folded):
        super().__init__()
        pad = size // 2
        if folded:
            self.conv = nn.Conv2d(ci, co, size, stride, pad, bias=False)
        else:
            self.conv = nn.Conv3d(ci, co, (1, size, size), (1, stride, stride), (0, pad, pad), bias=False)

    def forward(self, x):
        return self.conv(x)

    def load(self, kernel):  # [k, k, ci, co]
        value = kernel.permute(3, 2, 0, 1)
        self.conv.weight.data.copy_(value if value.dim() == self.conv.weight.dim() else value[:, :, None])


class TemporalConv(nn.Module):
    """3 x 1 x 1 convolution."""

    def __init__(self, c, *, frames, folded):
        super().__init__()
        self.frames, self.folded = frames, folded
        self.conv = (
            nn.Conv2d(3 * c, c, 1, bias=False) if folded else nn.Conv3d(c, c, (3, 1, 1), 1, (1, 0, 0), bias=False)
        )

    def forward(self, x):
        if not self.folded:
            return self.conv(x)
        clips = x.unflatten(0, (-1, self.frames))
        zeros = torch.zeros_like(clips[:, :1])
        before = torch.cat([zeros, clips[:, :-1]], 1).flatten(0, 1)
        after = torch.cat([clips[:, 1:], zeros], 1).flatten(0, 1)
        return self.conv(torch.cat([before, x, after], 1).contiguous(memory_format=torch.channels_last))

    def load(self, kernel):  # [3, ci, co]
        value = kernel.permute(2, 0, 1).flatten(1) if self.folded else kernel.permute(2, 1, 0)
        self.conv.weight.data.copy_(value.reshape(self.conv.weight.shape))


class Strf(nn.Module):
    """STRF unit, temporal then spatial, each with a fine and a coarse branch."""

    def __init__(self, c, *, frames, folded):
        super().__init__()
        self.frames, self.folded = frames, folded
        for name in ('t_tau', 't_sigma', 's_tau', 's_sigma'):
            self.register_parameter(name, nn.Parameter(torch.zeros(c, c // REDUCTION)))

    def forward(self, x):
        f = x.unflatten(0, (-1, self.frames)).transpose(1, 2) if self.folded else x  # [B, C, T, H, W]
        f = self.factorise('t', (R_SIGMA, 1, 1), f)
        f = self.factorise('s', (1, R_SIGMA, R_SIGMA), f)
        return f.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last) if self.folded else f

    def factorise(self, dimension, window, f):
        b, _, _, h, w = f.shape
        masks = 0
        for k in ('tau', 'sigma'):
            u = torch.einsum('bcthw,cd->bdthw', f, getattr(self, f'{dimension}_{k}').to(f.dtype))
            if k == 'sigma':
                u = F.max_pool3d(u, window, 1, tuple(n // 2 for n in window))
            u = F.normalize(u.float()).reshape(b, -1, h * w)  # every position of every frame
            masks = masks + torch.softmax(KAPPA * u.transpose(1, 2) @ u, -1)
        x = f.reshape(b, -1, h * w)  # out[p] = sum_q mask[p, q] x[q]
        return (x @ masks.to(f.dtype).transpose(1, 2)).reshape(f.shape)


class Bottleneck(nn.Module):
    def __init__(self, ci, planes, stride, *, strf, **form):
        super().__init__()
        norm = nn.BatchNorm2d if form['folded'] else nn.BatchNorm3d
        folded = {'folded': form['folded']}
        self.conv1, self.bn1 = FrameConv(ci, planes, 1, **folded), norm(planes)
        self.conv2, self.bn2 = FrameConv(planes, planes, 3, stride, **folded), norm(planes)
        self.conv3, self.bn3 = FrameConv(planes, 4 * planes, 1, **folded), norm(4 * planes)
        if strf:
            self.strf, self.temporal = Strf(planes, **form), TemporalConv(planes, **form)
        if stride != 1 or ci != 4 * planes:
            self.downsample_conv = FrameConv(ci, 4 * planes, 1, stride, **folded)
            self.downsample_bn = norm(4 * planes)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.conv2(y)
        if hasattr(self, 'strf'):
            y = y + self.temporal(self.strf(y))
        y = F.relu(self.bn2(y), inplace=True)
        y = self.bn3(self.conv3(y))
        if hasattr(self, 'downsample_conv'):
            x = self.downsample_bn(self.downsample_conv(x))
        return F.relu(x + y, inplace=True)


class Network(nn.Module):
    """[B, 3, T, H, W], normalised, to the feature after the neck [B, D] and logits."""

    def __init__(self, *, strf, form, frames, num_ids, width=64, depths=DEPTHS):
        super().__init__()
        self.folded = form == 'folded'
        how = {'folded': self.folded, 'frames': frames}
        self.frames = frames
        self.stem = nn.Module()
        self.stem.conv1 = FrameConv(3, width, 7, 2, folded=self.folded)
        self.stem.bn1 = (nn.BatchNorm2d if self.folded else nn.BatchNorm3d)(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if self.folded else nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        ci = width
        for number, (depth, stride) in enumerate(zip(depths, (1, 2, 2, 1), strict=True), 1):
            stage, planes = nn.Module(), width * 2 ** (number - 1)
            for i in range(depth):
                has_unit = strf and number in STRF_STAGES and i % 2 == 0
                block = Bottleneck(ci, planes, stride if i == 0 else 1, strf=has_unit, **how)
                stage.add_module(f'block{i}', block)
                ci = 4 * planes
            self.add_module(f'layer{number}', stage)
        self.head = nn.Module()
        self.head.neck = nn.BatchNorm1d(ci)
        self.head.classifier = nn.Parameter(torch.zeros(ci, num_ids))
        self.head.classifier_bias = nn.Parameter(torch.zeros(num_ids))

    def forward(self, clips):
        x = clips
        if self.folded:
            x = clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = self.pool(F.relu(self.stem.bn1(self.stem.conv1(x)), inplace=True))
        for number in (1, 2, 3, 4):
            for block in getattr(self, f'layer{number}').children():
                x = block(x)
        x = x.float()
        if self.folded:
            feature = x.amax((2, 3)).unflatten(0, (-1, self.frames)).mean(1)
        else:
            feature = x.amax((3, 4)).mean(2)
        embedding = self.head.neck(feature)
        return embedding, embedding @ self.head.classifier + self.head.classifier_bias

    def load(self, variables):
        """Takes weights and statistics: 'params/layer1/block0/conv1/kernel' -> array, as jaxreid names them."""
        modules = dict(self.named_modules())
        names = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
        with torch.no_grad():
            for path, array in variables.items():
                value = torch.as_tensor(array)
                *where, leaf = path.split('/')[1:]
                module = modules['.'.join(where)]
                if leaf == 'kernel':
                    module.load(value)
                else:
                    getattr(module, names.get(leaf, leaf)).copy_(value)


def objective(embedding, logits, labels):
    """Cross entropy plus batch-hard triplet with margin on cosine distances after the neck."""
    e = F.normalize(embedding.float(), dim=1)
    distance = -e @ e.T
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distance.masked_fill(~same | itself, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return F.cross_entropy(logits.float(), labels) + F.relu(MARGIN + farthest - nearest).mean()


def compiled(act):
    """`torch.compile`; the C++ or Triton code is made at the first call."""
    return torch.compile(act)


def train_step(network, *, lr=3e-4, weight_decay=5e-4, amp=False, compile_it=False):
    """`(clips, labels) -> loss`: forward, backward, Adam with the decay in the gradient."""
    optimizer = torch.optim.Adam(network.parameters(), lr, weight_decay=weight_decay)
    device = next(network.parameters()).device.type

    def loss_of(clips, labels):
        with torch.autocast(device, torch.bfloat16, enabled=amp):
            embedding, logits = network(clips)
        return objective(embedding, logits, labels)

    loss_of = compiled(loss_of) if compile_it else loss_of

    def step(clips, labels):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(clips, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def features(network, *, amp=False, compile_it=False):
    """`clips -> [B, D]`, the network in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device.type
    call = compiled(network) if compile_it else network

    def run(clips):
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=amp):
            return call(clips)[0].float()

    return run
