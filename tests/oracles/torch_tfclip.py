"""TF-CLIP in PyTorch, from the description, with the names that its code saves; training mode, without dropout."""

import torch
from torch import nn

from tests.oracles import torch_vit


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, x, tokens):
        def split(y):
            return y.reshape(*y.shape[:2], self.heads, -1).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(tokens)), split(self.v_proj(tokens))
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(x.shape))


class Decoder(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.self_attn, self.cross_attn = Attention(width, heads), Attention(width, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        quick = torch_vit.QuickGelu()
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), quick, nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x, tokens):
        y = self.norm1(x)
        x = x + self.self_attn(y, y)
        x = x + self.cross_attn(self.norm2(x), tokens)
        return x + self.mlp(self.norm3(x))


class Ssp(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.memory_proj = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width))
        self.text_proj = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.out_proj = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.decoder = nn.ModuleList([Decoder(width, heads) for _ in range(2)])
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, memory, tokens):
        tokens, x = self.memory_proj(tokens), self.text_proj(memory)
        for layer in self.decoder:
            x = layer(x, tokens)
        return self.out_proj(x)


class Diffusion(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.message_fc, self.message_ln = nn.Linear(width, width), nn.LayerNorm(width)
        self.message_attn, self.attn = nn.MultiheadAttention(width, heads), nn.MultiheadAttention(width, heads)
        self.ln_1, self.mlp, self.ln_2 = nn.LayerNorm(width), torch_vit.mlp(width), nn.LayerNorm(width)

    def forward(self, tokens):  # [B, T, N, D] -> [B, T, D]
        message = self.message_fc(tokens.mean(2)).transpose(0, 1)  # [T, B, D]
        y = self.message_ln(message)
        message = message + self.message_attn(y, y, y, need_weights=False)[0]
        x = torch.cat([tokens, message.transpose(0, 1)[:, :, None]], dim=2)
        x = x.flatten(0, 1).transpose(0, 1)  # [N + 1, B T, D]
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.ln_2(x))
        return x.mean(0).reshape(*tokens.shape[:2], -1)


class TfClip(nn.Module):
    def __init__(self, *, num_ids, cameras, width, projection, heads, ssp_heads, **tower):
        super().__init__()
        self.cv_embed = nn.Parameter(torch.randn(cameras, width))
        self.image_encoder = torch_vit.Vit(width=width, projection=projection, heads=heads, **tower)
        sizes = {'2': width, '_proj': projection, '_proj_temp': width, '_proj_temp2': width}
        for suffix, size in sizes.items():
            setattr(self, f'classifier{suffix}', nn.Linear(size, num_ids, bias=False))
            setattr(self, f'bottleneck{suffix.removeprefix("2") if suffix == "2" else suffix}', nn.BatchNorm1d(size))
        self.SSP = Ssp(projection, ssp_heads)
        self.TMD = nn.Module()
        self.TMD.resblocks = nn.Sequential(Diffusion(width, heads))

    def forward(self, clips, cameras, memory):
        """Clips [B, T, 3, H, W], cameras [B] from 0, memory [K, P] -> features and logits by name."""
        b, t = clips.shape[:2]
        tokens, projected = self.image_encoder(clips.flatten(0, 1), self.cv_embed[cameras].repeat_interleave(t, 0))
        tokens, projected = (x.reshape(b, t, *x.shape[1:]) for x in (tokens, projected))
        v, p = tokens[:, :, 0].mean(1), projected[:, :, 0].mean(1)
        frames = self.TMD.resblocks(tokens.detach())
        tmd = frames.mean(1)
        changed = memory + self.SSP(memory.expand(b, -1, -1), projected.mean(1))
        return {
            'features': (v, p, tmd),
            'token': self.classifier2(self.bottleneck(v)),
            'projected': self.classifier_proj(self.bottleneck_proj(p)),
            'tmd': self.classifier_proj_temp(self.bottleneck_proj_temp2(tmd)),
            'frames': self.classifier_proj_temp(self.bottleneck_proj_temp(frames.flatten(0, 1))),
            'memory': torch.einsum('bp,bkp->bk', p, changed),
        }


def loss(out, labels, *, smoothing=0.1, margin=0.3):
    """Of a batch, as its code sums it."""

    def ce(logits, labels):
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def triplet(x):
        distances = torch.cdist(x, x, compute_mode='donot_use_mm_for_euclid_dist')
        same = labels[:, None] == labels[None]
        farthest = torch.where(same, distances, -torch.inf).amax(1)
        nearest = torch.where(same, torch.inf, distances).amin(1)
        return torch.relu(farthest - nearest + margin).mean()

    frames = len(out['frames']) // len(labels)
    total = 0.25 * sum(ce(out[name], labels) for name in ('token', 'projected', 'tmd'))
    total = total + sum(triplet(x) for x in out['features']) + ce(out['memory'], labels)
    return total + ce(out['frames'], labels.repeat_interleave(frames)) / frames
