"""What the model is taught by: pictures against captions, and both against what is known to be in the scene."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel

from demo.batches import MOST_THINGS, Batch
from demo.concepts import load_concepts
from demo.scenes import COLOUR_NAMES


class Teacher(nn.Module):
    """The model with the extra heads that are thrown away after training."""

    def __init__(self, model: CLIPModel, *, width: int, dimension: int, padding: int) -> None:
        super().__init__()
        self.model = model
        self.padding = padding
        self.known = len(load_concepts())
        kinds = self.known + len(COLOUR_NAMES) + MOST_THINGS
        self.meanings = nn.Parameter(torch.randn(kinds, dimension) * 0.02)
        self.sharpness = nn.Parameter(torch.tensor(math.log(16.0)))
        self.spot_norm = nn.LayerNorm(width)
        self.spot_head = nn.Linear(width, self.known)

    def forward(self, batch: Batch, mean: Tensor, spread: Tensor) -> dict[str, Tensor]:
        """Every part of the loss for one batch."""
        pixels = batch.pictures.to(self.meanings.dtype).mul_(1 / (255 * spread)).sub_(mean / spread)
        seen = self.model.vision_model(pixel_values=pixels)
        image = functional.normalize(self.model.visual_projection(seen.pooler_output).float(), dim=-1)
        text = functional.normalize(self.read(batch.tokens).float(), dim=-1)
        patches = seen.last_hidden_state[batch.spots[:, 0], batch.spots[:, 1] + 1]
        return {
            "match": self.match(image, text, batch),
            "image": self.meaning(image, batch.present),
            "text": self.meaning(text, batch.named),
            "spot": functional.cross_entropy(self.spot_head(self.spot_norm(patches)).float(), batch.spots[:, 2]),
        }

    def read(self, tokens: Tensor) -> Tensor:
        """Text embeddings; the shorter half is read apart, so that it is not padded to the longest caption."""
        lengths = (tokens != self.padding).sum(1)
        order = lengths.argsort()
        parts = []
        for rows in order.chunk(2):
            ids = tokens[rows, : int(lengths[rows].max())]
            parts.append(self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output))
        return torch.cat(parts)[order.argsort()]

    def match(self, image: Tensor, text: Tensor, batch: Batch) -> Tensor:
        """The CLIP loss, in which another picture that fits the caption too is no wrong answer."""
        scores = self.model.logit_scale.float().exp() * text @ image.T
        named, present = batch.named.float(), batch.present.float()
        fits = named @ present.T >= named.sum(1, keepdim=True) - 0.5
        fits.fill_diagonal_(False)
        scores = scores.masked_fill(fits, -1e4)
        own = torch.arange(len(scores))
        return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2

    def meaning(self, embedding: Tensor, flags: Tensor) -> Tensor:
        """How far an embedding is from the concepts, the colour and the count it should stand for."""
        scores = self.sharpness.float().exp() * embedding @ functional.normalize(self.meanings.float(), dim=-1).T
        first, second = self.known, self.known + len(COLOUR_NAMES)
        parts = ((slice(0, first), 1.0), (slice(first, second), 0.5), (slice(second, None), 0.1))
        return torch.stack([weight * _soft(scores[:, part], flags[:, part]) for part, weight in parts]).sum()


def _soft(scores: Tensor, flags: Tensor) -> Tensor:
    told = flags.any(1)
    share = flags[told].float()
    share = share / share.sum(1, keepdim=True)
    return -(share * functional.log_softmax(scores[told], dim=-1)).sum() / max(1, len(share))
