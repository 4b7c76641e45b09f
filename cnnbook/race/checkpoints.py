"""The trained networks of `cnnbook.pretrained`: how each is made, compared with its card, and saved."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import cnnbook.pretrained
from cnnbook import pretrained
from cnnbook.race.networks import OPTIONS, SIZE, he
from cnnlib import data, lr_scheduler, models, optim, recipes, training
from cnnlib.arrays import move
from cnnlib.module import Module
from cnnlib.recipes import Recipe

FOLDER = Path(cnnbook.pretrained.__file__).parent
TOLERANCE = 0.015
"""How far the accuracy of a new training may be from the card's: another machine rounds otherwise."""

CLASSES = {"digits": tuple("0123456789"), "fashion-mnist": data.FASHION_MNIST_CLASSES, "shapes": data.SHAPES}


@dataclass(frozen=True)
class Plan:
    """A network, what it learns from and how: the rate falls along a cosine, and SGD's momentum is Nesterov's.

    `first_std` is the deviation that the first layer's weights start with, He's if it isn't said."""

    network: str
    data: str
    recipe: Recipe
    shift: int = 0
    flip: bool = False
    first_std: float | None = None
    seed: int = 0
    data_options: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def for_card(self) -> dict[str, Any]:
        """Return what a card says of the training."""
        of_recipe = ("epochs", "batch_size", "optimizer", "lr", "weight_decay")
        own = {name: getattr(self, name) for name in ("shift", "flip", "first_std")}
        return {name: getattr(self.recipe, name) for name in of_recipe} | own


def _shapes(network: str, first_std: float | None = None, **changes: Any) -> Plan:
    drawn = {"size": SIZE["others"], "train": 10_000, "test": 2_000, "seed": 0}
    recipe = replace(recipes.SHAPES, **changes)
    return Plan(network, "shapes", recipe, first_std=first_std, data_options=drawn, options=OPTIONS[network])


# Found by trying a few rates with other seeds.
PLANS = {
    "lenet-digits": Plan("lenet", "digits", recipes.LENET_SHORT, shift=2),
    "lenet-fashion": Plan("lenet", "fashion-mnist", recipes.LENET_FASHION, shift=1, flip=True),
    "alexnet-shapes": _shapes("alexnet"),
    # small weights at the start and weight decay: what the first filters have learned shows, and not what they began as
    "alexnet-shapes-sgd": _shapes("alexnet", 0.02, optimizer="sgd", lr=0.01, weight_decay=5e-4),
    "vgg-shapes": _shapes("vgg"),
    "googlenet-shapes": _shapes("googlenet", epochs=8, lr=2e-3),
}


def make(name: str, save: bool, say: Callable[[str], None] = print) -> bool:
    """Train a checkpoint anew; return whether its accuracy is its card's, or save it."""
    plan = PLANS[name]
    under_way = Path("runs") / f"checkpoint-{name}.safetensors"  # an interruption loses no epoch
    started = time.process_time()
    model, split, curve = train(plan, under_way, say)
    card = pretrained.Card(
        name=name,
        network=plan.network,
        options=plan.options,
        data=plan.data,
        data_options=plan.data_options,
        classes=CLASSES[plan.data],
        accuracy=training.evaluate(stored(model), split.test)[1],
        tested=len(split.test.labels),
        seed=plan.seed,
        recipe=plan.for_card(),
        command=f"python -m cnnbook.race checkpoint {name}",
        seconds=round(time.process_time() - started, 1),
        curve=tuple(curve),
    )
    if save:
        write(model, card)
        under_way.unlink()
        say(f"{name}: {card.accuracy:.2%}, saved")
        return True
    expected = pretrained.card(name).accuracy
    under_way.unlink()
    say(f"{name}: {card.accuracy:.2%}, and {expected:.2%} on its card")
    return abs(card.accuracy - expected) <= TOLERANCE


def train(
    plan: Plan, under_way: Path, say: Callable[[str], None]
) -> tuple[Module, data.DataSplit, list[dict[str, Any]]]:
    """Train the network of a plan, or go on from the file `under_way`; return it, its data and a row for each epoch."""
    split = getattr(data, plan.data.replace("-", "_"))(**plan.data_options)
    model = getattr(models, plan.network)(seed=plan.seed, **plan.options)
    if plan.network == "alexnet":
        model = he(model, plan.seed)
    if plan.first_std:
        weight = model.parameters()[0]
        weight.data = (weight.data / weight.data.std() * plan.first_std).astype("f4")
    model.to("cpu", channels_last=True)
    recipe, parameters = plan.recipe, model.parameters()
    if recipe.optimizer == "adam":
        optimizer: optim.Optimizer = optim.Adam(parameters, recipe.lr)
    else:
        optimizer = optim.SGD(parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True)
    augmentations = [partial(data.shift, pixels=plan.shift)] * (plan.shift > 0) + [data.flip] * plan.flip
    history = training.fit(
        model,
        split.train,
        split.test,
        optimizer=optimizer,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=plan.seed,
        scheduler=lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs),
        augment=data.each(*augmentations) if augmentations else None,
        channels_last=True,
        checkpoint=training.Checkpoint(under_way, resume=under_way.exists(), settings=asdict(plan)),
        callbacks=training.Callbacks(
            on_epoch=lambda epoch: say(f"epoch {epoch.epoch}: test accuracy {epoch.test_accuracy:.2%}")
        ),
    )
    return model.to("cpu").eval(), split, [_rounded(asdict(epoch)) for epoch in history.epochs]


def stored(model: Module) -> Module:
    """Round the weights to what float16 keeps, which is what is saved."""
    model.load_state_dict({name: move(array, "numpy").astype("f2") for name, array in model.state_dict().items()})
    return model


def write(model: Module, card: pretrained.Card, folder: Path = FOLDER) -> None:
    """Write weights as float16 with the card, and the card as a page of Markdown."""
    arrays = {name: np.ascontiguousarray(move(array, "numpy"), "f2") for name, array in model.state_dict().items()}
    arrays = {name: array for name, array in arrays.items() if not name.endswith(".num_batches_tracked")}
    text = np.frombuffer(json.dumps(asdict(card)).encode(), np.uint8)
    np.savez_compressed(folder / f"{card.name}.npz", card=text, **arrays)
    numbers = sum(array.size for array in arrays.values())
    (folder / f"{card.name}.md").write_text(page(card, numbers), encoding="utf-8")


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out how long an epoch took by the clock, which depends on what else the machine had to do."""
    return {k: round(value, 5) if isinstance(value, float) else value for k, value in row.items() if k != "seconds"}


ABOUT = {
    "digits": "4,000 of MNIST's handwritten digits, and 1,000 others to be judged by: `cnnlib.data.digits`",
    "fashion-mnist": "the 60,000 pictures of clothes of Fashion-MNIST, and its 10,000 test images (Xiao, Rasul and "
    "Vollgraf 2017)",
    "shapes": "10,000 drawn pictures of ten shapes, and 2,000 others to be judged by: `cnnlib.data.shapes`",
}
TITLES = {
    "lenet": "LeNet-5, the modern variant",
    "alexnet": "AlexNet with 1/6 of its channels, conv1's stride 2 and not 4",
    "vgg": "VGG-11 with 1/8 of its channels",
    "googlenet": "GoogLeNet with 1/8 of its channels",
}
FIT_FOR = {
    "digits": "Digits like these: white on black, centred, alone. Photographs of writing are not.",
    "fashion-mnist": "Pictures like these: one piece on black. It has seen no photographs of people or shops.",
    "shapes": "Experiments with small networks. The pictures are drawn, so what it knows of photographs is nothing.",
}


def page(card: pretrained.Card, weights: int) -> str:
    """Return the model card as Markdown."""
    last, recipe = card.curve[-1], card.recipe
    rule = "Adam" if recipe["optimizer"] == "adam" else "SGD with Nesterov's momentum of 0.9"
    changes = [f"moved by up to {recipe['shift']} pixels"] * bool(recipe["shift"])
    changes += ["mirrored with probability 1/2"] * recipe["flip"]
    augmented = f" Images are {' and '.join(changes)} in training." if changes else ""
    decay = f", weight decay {recipe['weight_decay']:g}" if recipe["weight_decay"] else ""
    first = f" The first layer starts with a deviation of {recipe['first_std']:g}." if recipe["first_std"] else ""
    curve = "\n".join(
        f"| {row['epoch']} | {row['train_loss']:.4f} | {row['train_accuracy']:.2%} | {row['test_loss']:.4f} "
        f"| {row['test_accuracy']:.2%} |"
        for row in card.curve
    )
    return f"""# {card.name}

- **Network:** {TITLES[card.network]}; {weights:,} numbers, stored as float16.
- **Learned from:** {ABOUT[card.data]}.
- **Classes:** {", ".join(card.classes)}.
- **Test accuracy:** {card.accuracy:.2%} on {card.tested:,} images, with the weights as they are stored. Another seed
  comes out a little higher or lower; nothing was chosen by these test images but the rate and the epochs.
- **Fit for:** {FIT_FOR[card.data]}
- **Recipe:** {recipe["epochs"]} epochs, {recipe["batch_size"]} images a step, {rule}, rate {recipe["lr"]:g} falling
  along a cosine{decay}, seed {card.seed}.{augmented}{first}
- **Trained in** {card.seconds:.0f} s of one core's time; training accuracy in the last epoch was
  {last["train_accuracy"]:.2%}.
- **Anew, and compared with this card:** `{card.command}`; with `--save` it replaces it.

| epoch | train loss | train accuracy | test loss | test accuracy |
| ---: | ---: | ---: | ---: | ---: |
{curve}
"""
