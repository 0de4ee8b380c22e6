"""The bundled model is one that transformers loads by itself, and small enough for the repository."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clipgres.encoder import load_encoder
from demo.gallery_files import read_gallery
from demo.tokens import build_tokenizer
from demo.train import MODEL_DIR


def test_the_weights_fit_the_repository() -> None:
    assert (MODEL_DIR / "model.safetensors").stat().st_size <= 12_000_000


def test_texts_are_pooled_at_their_end() -> None:
    config, tokenizer = CLIPConfig.from_pretrained(MODEL_DIR), AutoTokenizer.from_pretrained(MODEL_DIR)
    assert config.text_config.eos_token_id == tokenizer.eos_token_id != 2
    assert config.text_config.vocab_size == len(tokenizer)
    assert config.projection_dim == 512


def test_the_saved_tokenizer_is_the_one_that_is_built() -> None:
    assert AutoTokenizer.from_pretrained(MODEL_DIR).get_vocab() == build_tokenizer().get_vocab()


def test_the_product_encodes_as_transformers_does() -> None:
    encoder, model = load_encoder("tiny-clip"), CLIPModel.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()
    picture = Image.open(read_gallery()[0].path).convert("RGB")
    pixels = CLIPImageProcessorPil.from_pretrained(MODEL_DIR)(images=picture, return_tensors="pt")["pixel_values"]
    tokens = AutoTokenizer.from_pretrained(MODEL_DIR)(["two dogs and a bicycle"], return_tensors="pt")
    with torch.inference_mode():
        image = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        text = model.text_projection(model.text_model(**tokens).pooler_output)
    for ours, theirs in ((encoder.images([picture]), image), (encoder.text(["two dogs and a bicycle"]), text)):
        assert np.allclose(ours, torch.nn.functional.normalize(theirs, dim=-1).numpy(), atol=2e-3)
