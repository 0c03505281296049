"""Are the likeliest answers to the test prompts rewarded more than those of the first weights?"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base.errors import MetrolineError
from base.files import write_json
from base.progress import Progress
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from models.checkpoint import load
from models.decoder.model import Decoder
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.language_modelling import reference
from pipelines.tasks.language_modelling.imported import imported
from pipelines.tasks.reinforcement import prompts
from pipelines.tasks.reinforcement.draw import draw
from pipelines.tasks.reinforcement.rewards import REWARDS

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

BATCH_TOKENS = 2048
PRIMARY = Primary("test.reward", "higher", floor="baselines.base_reward")
"""A model that is rewarded no more than the one it was made of has learnt nothing."""


def evaluate(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
    """Answer the test prompts with the checkpoint and with the weights in `first`; samples and the drift reference go
    into `folder`.

    Raises MetrolineError: no such weights, no test prompts, a checkpoint of another kind.
    """
    if first is None:
        raise MetrolineError("evaluate: the weights that training began with are missing", hint="metroline run RECIPE")
    task, config, test = recipe.task, recipe.evaluate, Shards(prepared, "test")
    if not len(test):
        raise MetrolineError(f"{prepared} has no prompt in its test split", hint="raise `test` in the recipe's split")
    tokenizer, model = Tokenizer.load(prepared / "tokenizer.json"), load(checkpoint).eval()
    base = imported(first, test.vocab_size).eval()
    if not isinstance(model, Decoder) or model.config.vocab_size != base.config.vocab_size:
        raise MetrolineError(f"{checkpoint} was not made of {first}", hint=f"metroline run {recipe.name}")
    asked, reward = prompts.read(test, tokenizer, task.prompt_end), REWARDS[task.reward]
    said, got, ended = {}, {}, {}
    with Progress("evaluate", 2 * len(asked), "answers") as progress:
        for name, network in (("now", model), ("before", base)):
            said[name] = [each.tokens for each in draw(
                network, [prompt.tokens for prompt in asked], {test.eos}, limit=task.answer_tokens, seeds=None,
                batch=config.batch)]  # fmt: skip
            ended[name] = np.array([tokens[-1:] == [test.eos] for tokens in said[name]], np.float64)
            got[name] = np.array([
                reward(prompt.text, tokenizer.decode(tokens), prompt.answer) if end else 0.0
                for prompt, tokens, end in zip(asked, said[name], ended[name], strict=True)])  # fmt: skip
            progress.update(len(asked))
    gained = got["now"] - got["before"]
    low, high = interval(lambda rows: float(gained[rows].mean()), np.arange(len(asked)), config.resamples,
                         seed=config.seed, confidence=config.confidence)  # fmt: skip
    length = min(config.reference_tokens, model.config.context)
    shown = reference.stretches(test, max(2, length - len(test.first)), config.reference_windows)
    drift = reference.reference(model, test, shown, length=length, batch_tokens=BATCH_TOKENS, names=None)
    write_json(folder / "reference.json", drift)
    places = [len(asked) * index // config.samples for index in range(min(config.samples, len(asked)))]
    write_json(folder / "samples.json", [
        {"prompt": asked[place].text, "text": tokenizer.decode(said["now"][place]), "given": asked[place].answer}
        for place in places])  # fmt: skip
    return Measured(
        test={
            "reward": float(got["now"].mean()), "gain": float(gained.mean()), "gain_low": low, "gain_high": high,
            "stop_rate": float(ended["now"].mean()), "answers": len(asked),
            "answer_length": float(np.mean([len(tokens) for tokens in said["now"]])),
        },
        primary=PRIMARY,
        baselines={"base_reward": float(got["before"].mean()), "base_stop_rate": float(ended["before"].mean())},
    )  # fmt: skip
