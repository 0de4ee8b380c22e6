"""Train the small CLIP from scratch: `python -m demo.train`.

The pictures are rendered in a process of their own while the model trains in bfloat16 on a float32 master copy. A
checkpoint is written every few minutes, and the same command goes on from it.
"""

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import CLIPConfig, CLIPModel

from demo.batches import Batch, Batches
from demo.losses import Teacher
from demo.scenes import COLOUR_NAMES, STYLES, background
from demo.tokens import MAX_TOKENS, SPECIAL, build_tokenizer

MODEL_DIR = Path(__file__).parent / "tiny-clip"
WEIGHTS = {"match": 1.0, "image": 2.0, "text": 0.5, "spot": 0.5}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out of the training."""

    pixels: int = 96
    patch: int = 16
    width: int = 256
    layers: int = 4
    text_width: int = 192
    dimension: int = 512
    text_layers: int = 2
    batch: int = 512
    steps: int = 1400
    warm_up: int = 200
    easy: float = 0.15
    rate: float = 1.5e-3
    decay: float = 0.05
    smooth: float = 0.995
    seed: int = 1


@dataclass
class Run:
    """A training under way: the working model, its master copy, and the slow average that is kept."""

    teacher: Teacher
    master: list[nn.Parameter]
    average: list[Tensor]
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    shown: dict[str, float] = field(default_factory=dict)


def build_model(recipe: Recipe) -> CLIPModel:
    """A fresh CLIPModel whose token numbers agree with its tokenizer."""
    tokenizer = build_tokenizer()
    vision = {
        "hidden_size": recipe.width,
        "intermediate_size": 4 * recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.width // 64,
        "image_size": recipe.pixels,
        "patch_size": recipe.patch,
        "hidden_act": "relu",
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.text_width,
        "intermediate_size": 4 * recipe.text_width,
        "num_hidden_layers": recipe.text_layers,
        "num_attention_heads": recipe.text_width // 64,
        "max_position_embeddings": MAX_TOKENS,
        "hidden_act": "relu",
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = CLIPConfig(projection_dim=recipe.dimension, vision_config=vision, text_config=text)
    # on short sequences the plain attention trains twice as fast on a CPU as the fused one
    model: CLIPModel = CLIPModel._from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]
    return model


def start(recipe: Recipe) -> Run:
    """A run at step nought."""
    torch.manual_seed(recipe.seed)
    padding = SPECIAL.index("[PAD]")
    teacher = Teacher(build_model(recipe), width=recipe.width, dimension=recipe.dimension, padding=padding)
    master = [nn.Parameter(weight.detach().clone()) for weight in teacher.parameters()]
    average = [weight.detach().clone() for weight in master]
    teacher.to(torch.bfloat16)
    plain = [weight for weight in master if weight.ndim < 2]
    groups = [
        {"params": [weight for weight in master if weight.ndim >= 2], "weight_decay": recipe.decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return Run(teacher, master, average, torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98), fused=True))


def colour_statistics(pixels: int) -> tuple[list[float], list[float]]:
    """Mean and spread of the backgrounds, to which the pictures are normalised."""
    everything = np.stack([background(colour, style, pixels) for colour in COLOUR_NAMES for style in range(STYLES)])
    flat = everything.reshape(-1, 3) / 255
    return [round(float(x), 4) for x in flat.mean(0)], [round(float(x), 4) for x in flat.std(0)]


def rate_at(step: int, recipe: Recipe) -> float:
    """A linear warm-up, then half a cosine down to nearly nothing."""
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    part = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, part))) / 2)


def train_step(run: Run, batch: Batch, recipe: Recipe, mean: Tensor, spread: Tensor) -> None:
    """One step: gradients in bfloat16, the update in float32."""
    parts = run.teacher(batch, mean, spread)
    loss = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for master, weight in zip(run.master, run.teacher.parameters(), strict=True):
        master.grad = None if weight.grad is None else weight.grad.float()
        weight.grad = None
    nn.utils.clip_grad_norm_(run.master, 1.0)
    for group in run.optimizer.param_groups:
        group["lr"] = rate_at(run.step, recipe)
    run.optimizer.step()
    keep = min(recipe.smooth, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        torch._foreach_lerp_(run.average, [master.data for master in run.master], 1 - keep)
        for master, weight in zip(run.master, run.teacher.parameters(), strict=True):
            weight.copy_(master)
        run.teacher.model.logit_scale.clamp_(max=math.log(100))
    run.step += 1
    for name, part in parts.items():
        run.shown[name] = 0.98 * run.shown.get(name, float(part.detach())) + 0.02 * float(part.detach())


def save_checkpoint(run: Run, path: Path) -> None:
    """Everything needed to go on, written beside and moved into place."""
    state = {
        "master": [weight.data for weight in run.master],
        "average": run.average,
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
    }
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def load_checkpoint(run: Run, path: Path) -> None:
    """Go on where the file stopped."""
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for mine, theirs in zip(run.master, state["master"], strict=True):
            mine.copy_(theirs)
        for weight, master in zip(run.teacher.parameters(), run.master, strict=True):
            weight.copy_(master)
    run.average = state["average"]
    run.optimizer.load_state_dict(state["optimizer"])
    run.step, run.seconds = state["step"], state["seconds"]


def export(run: Run, recipe: Recipe, folder: Path) -> None:
    """Write the averaged model, its tokenizer and its image processor where transformers finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name, _ in run.teacher.named_parameters()]
    averaged = dict(zip(names, run.average, strict=True))
    model = build_model(recipe)
    kept = {name.removeprefix("model."): weight for name, weight in averaged.items() if name.startswith("model.")}
    model.load_state_dict(kept, strict=False)
    weights = {name: weight.detach().half().contiguous() for name, weight in model.named_parameters()}
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    model.config.architectures = ["CLIPModel"]
    model.config.dtype = "float16"
    model.config.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    mean, spread = colour_statistics(recipe.pixels)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": recipe.pixels},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": recipe.pixels, "width": recipe.pixels},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": spread,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", "utf-8")


def train(recipe: Recipe, checkpoint: Path, folder: Path, minutes_between: float) -> None:
    """Train to the last step, saving on the way."""
    run = start(recipe)
    if checkpoint.exists():
        load_checkpoint(run, checkpoint)
    easy = round(recipe.easy * recipe.steps)
    source = Batches(recipe.seed, recipe.batch, recipe.pixels, recipe.pixels // recipe.patch, easy, run.step)
    mean, spread = (torch.tensor(part).view(1, 3, 1, 1) for part in colour_statistics(recipe.pixels))
    loader = DataLoader(source, batch_size=None, num_workers=1, prefetch_factor=3)
    began = saved = time.monotonic()
    for batch in loader:
        train_step(run, batch, recipe, mean, spread)
        now = time.monotonic()
        run.seconds, began = run.seconds + now - began, now
        if run.step % 25 == 0:
            parts = "  ".join(f"{name} {value:.3f}" for name, value in run.shown.items())
            speed = run.step * recipe.batch / run.seconds
            print(f"step {run.step}  {run.seconds / 60:.1f} min  {speed:.0f}/s  {parts}", flush=True)
        if run.step >= recipe.steps or now - saved > 60 * minutes_between:
            saved = now
            save_checkpoint(run, checkpoint)
            export(run, recipe, folder)
        if run.step >= recipe.steps:
            break


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=MODEL_DIR, help="Where the model goes.")
@click.option("--checkpoint", type=click.Path(path_type=Path), default=Path("tiny-clip.checkpoint"))
@click.option("--steps", type=int, default=Recipe.steps, show_default=True)
@click.option("--batch", type=int, default=Recipe.batch, show_default=True)
@click.option("--rate", type=float, default=Recipe.rate, show_default=True)
@click.option("--patch", type=int, default=Recipe.patch, show_default=True)
@click.option("--layers", type=int, default=Recipe.layers, show_default=True)
def main(folder: Path, checkpoint: Path, steps: int, batch: int, rate: float, patch: int, layers: int) -> None:
    """Train the small CLIP; started again, go on from the checkpoint."""
    recipe = Recipe(steps=steps, batch=batch, rate=rate, patch=patch, layers=layers)
    train(recipe, checkpoint, folder, minutes_between=4)


if __name__ == "__main__":
    main()
