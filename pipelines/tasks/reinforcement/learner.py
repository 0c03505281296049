"""What the trainer needs to know of reinforcement learning: in each step the network answers prompts, and is rewarded.

An epoch takes each prompt once; `train.batch` counts prompts, each answered `task.group` times. What is drawn is a
function of the weights, the seed and the step, so a run that goes on draws the same.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from base.errors import MetrolineError
from data.text.tokenizer import Tokenizer
from kernels import linear_cross_entropy
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from models.decoder.model import Decoder
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.language_modelling.imported import imported
from pipelines.tasks.language_modelling.learner import LanguageModelling
from pipelines.tasks.reinforcement import prompts
from pipelines.tasks.reinforcement.draw import Drawn, draw
from pipelines.tasks.reinforcement.loss import advantages
from pipelines.tasks.reinforcement.objective import Reinforcement
from pipelines.tasks.reinforcement.prompts import Prompt
from pipelines.tasks.reinforcement.rewards import REWARDS

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

TOGETHER = 256
"""Answers drawn at once."""


class Rewarded(LanguageModelling):
    """`pipelines.tasks.interface.Learner` of answers that a function rewards, for a pretrained decoder; `Judged` by the
    mean reward of the likeliest answers to the validation split.

    Raises MetrolineError: as LanguageModelling; documents that are no prompt and answer; weights with dropout.
    """

    words = Words(targets="answers", loss="per answer")
    metric = "reward"
    better: Literal["higher", "lower"] = "higher"

    def __init__(self, recipe: "Recipe", prepared: Path, first: Path | None) -> None:
        super().__init__(recipe, prepared, first)
        self.task, self.reward = recipe.task, REWARDS[recipe.task.reward]
        if getattr(self.model_config, "dropout", 0.0):
            raise MetrolineError("the first weights have dropout, under which an answer has no one probability")
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json")
        end = recipe.task.prompt_end
        self.asked, self.held_out = (prompts.read(each, self.tokenizer, end) for each in (self.train, self.valid))
        self.examples = len(self.asked)
        self._reference: Decoder | None = None

    def objective(self, network: nn.Module) -> Reinforcement:  # type: ignore[override]
        """See `Reinforcement`. Raises MetrolineError: a train split that is smaller than one batch."""
        assert isinstance(network, Decoder)
        self.check_sizes()
        self._network = network
        return Reinforcement(network, self.task)

    def check_sizes(self) -> None:
        """Raise MetrolineError: a prompt with its answer beyond the context, fewer prompts than a batch."""
        longest = max(len(prompt.tokens) for prompt in (*self.asked, *self.held_out)) + self.task.answer_tokens
        if longest > self.model_config.context:
            raise MetrolineError(
                f"a prompt and task.answer_tokens are {longest:,} tokens, more than the weights' context "
                f"({self.model_config.context:,})"
            )
        if self.examples < self.config.batch:
            raise MetrolineError(
                f"the train split has {self.examples:,} prompts, less than one batch of {self.config.batch:,}",
                hint="take more data, or a smaller train.batch",
            )

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """Prompts, answered by the network as it is now, with rewards and advantages."""
        config, network = self.task, self._network
        assert isinstance(network, Decoder)
        asked = [self.asked[place] for place in examples.tolist() for _ in range(config.group)]
        seeds = torch.randint(2**62, (len(asked),)).tolist()  # from the step's own generator
        network.eval()
        with torch.autocast(device.type, enabled=False):
            drawn = draw(network, [prompt.tokens for prompt in asked], {self.train.eos}, limit=config.answer_tokens,
                         seeds=seeds, batch=TOGETHER)  # fmt: skip
        network.train()
        rewards = torch.tensor([self._rewarded(prompt, each) for prompt, each in zip(asked, drawn, strict=True)])
        tokens, targets = rows([prompt.tokens for prompt in asked], [each.tokens for each in drawn], self.train.eos)
        old = torch.zeros(tokens.shape)
        for row, (prompt, each) in enumerate(zip(asked, drawn, strict=True)):
            begin = len(prompt.tokens) - 1
            old[row, begin : begin + len(each.log_p)] = torch.tensor(each.log_p)
        inputs = {"tokens": tokens, "targets": targets, "old": old, "reward": rewards}
        inputs["advantage"] = advantages(rewards.view(-1, config.group)).flatten()
        inputs = {name: value.to(device) for name, value in inputs.items()}
        if config.kl:
            inputs["reference"] = self._under_first(inputs["tokens"], inputs["targets"])
        flops = network.flops_per_token(tokens.shape[1])
        return Batch(inputs, len(asked), float(flops) * tokens.numel())

    def _rewarded(self, prompt: Prompt, drawn: Drawn) -> float:
        """Of an answer; one that does not end by itself is none."""
        if drawn.tokens[-1:] != [self.train.eos]:
            return 0.0
        return self.reward(prompt.text, self.tokenizer.decode(drawn.tokens), prompt.answer)

    @torch.no_grad()
    def _under_first(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities under the first weights, which are read again when they are first needed."""
        assert self.first is not None
        if self._reference is None:
            self._reference = imported(self.first, self.train.vocab_size).eval().requires_grad_(False)
        model = self._reference.to(tokens.device)
        return -linear_cross_entropy(model.features(tokens), model.head_weight, targets, reduction="none")

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """The given answers to all prompts of the validation split: their loss is shown, not judged by."""
        for at in range(0, len(self.held_out), TOGETHER):
            part = self.held_out[at : at + TOGETHER]
            tokens, targets = rows([each.tokens for each in part], [each.given for each in part], self.train.eos)
            flops = self._network.flops_per_token(tokens.shape[1])
            values = {"tokens": tokens.to(device), "targets": targets.to(device)}
            yield Batch(values, len(part), float(flops) * tokens.numel())

    def value(self, network: nn.Module, device: torch.device) -> float:
        """The mean reward of the likeliest answers to the validation split."""
        assert isinstance(network, Decoder)
        said = draw(network, [each.tokens for each in self.held_out], {self.train.eos}, limit=self.task.answer_tokens,
                    seeds=None, batch=TOGETHER)  # fmt: skip
        return float(np.mean([self._rewarded(*pair) for pair in zip(self.held_out, said, strict=True)]))

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """The prompts, the first few of them."""
        few = ", ".join(repr(self.asked[place].text) for place in examples.tolist()[:4])
        return f"{len(examples)} prompts, {few}" + (", …" if len(examples) > 4 else "")


def rows(asked: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Tokens and targets, int64 [answers, S]: a prompt and its answer a row, of which the answer's tokens count."""
    width = max(len(prompt) + len(answer) - 1 for prompt, answer in zip(asked, answers, strict=True))
    tokens = torch.full((len(asked), width), padding)
    targets = torch.full((len(asked), width), IGNORE)
    for row, (prompt, answer) in enumerate(zip(asked, answers, strict=True)):
        whole = torch.tensor([*prompt, *answer])
        tokens[row, : len(whole) - 1] = whole[:-1]
        targets[row, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
    return tokens, targets
