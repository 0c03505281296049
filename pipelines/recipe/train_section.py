"""The `train` section of a recipe: every option of the trainer, its default and its bounds.

It holds no behaviour and imports no torch, so that reading a recipe stays quick.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Phase(BaseModel):
    """A stretch of training with its own sequence length and batch (short sequences and small batches first)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=1, description="optimizer steps of this phase")
    batch: int = Field(ge=1, description="sequences per optimizer step, over all processes")
    sequence: int = Field(ge=2, description="tokens per sequence")


class AdapterConfig(BaseModel):
    """Train low-rank matrices beside frozen first weights, and merge them into these at the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["lora", "rslora", "dora"] = "lora"
    rank: int = Field(default=8, ge=1, description="numbers that a layer's change goes through")
    alpha: float = Field(
        default=16,
        gt=0,
        allow_inf_nan=False,
        description="the change is scaled by alpha / rank; rslora: by alpha / √rank",
    )
    base: Literal["float32", "nf4"] = Field(
        default="float32", description="the adapted layers' frozen weights; nf4: in four bits (QLoRA)"
    )
    targets: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="linear layers, by name or the end of it, as q_proj or layers.0.*; * is all but the output's",
    )


class TrainConfig(BaseModel):
    """How a model is trained. Everything here is part of the run's fingerprint: a change starts a new run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # How long, on how much at a time.
    steps: int = Field(default=1000, ge=1, description="optimizer steps in all, phases included")
    batch: int = Field(default=16, ge=1, description="sequences per optimizer step, over all processes")
    sequence: int = Field(default=128, ge=2, description="tokens per sequence; at most model.context")
    micro_batch: int | None = Field(default=None, ge=1, description="sequences per forward pass (default: the batch)")
    phases: tuple[Phase, ...] = Field(default=(), description="what comes before the last phase, which has the above")
    adapter: AdapterConfig | None = Field(
        default=None, description="what is trained of first weights that are there; null: all of them"
    )
    isolate_documents: bool = Field(default=False, description="attention and positions stop at document borders")
    seed: int = Field(default=1, ge=0, lt=2**31)

    # The optimizer.
    optimizer: Literal["muon", "adamw", "lamb", "sgd", "rmsprop", "adagrad"] = "adamw"
    lr: float = Field(default=1e-3, gt=0, description="peak rate; with muon: that of hidden matrices, convolutions")
    adam_lr: float | None = Field(default=None, gt=0, description="with muon: peak rate of all else (default: lr)")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="decays of Adam's means; rmsprop: the second")
    eps: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1, description="of muon, sgd, rmsprop")
    polar_steps: int | None = Field(
        default=None, ge=1, le=5, description="muon's iterations by Polar Express; null: five of Newton-Schulz"
    )
    weight_decay: float = Field(default=0.1, ge=0, description="on matrices only: not norms, biases, embeddings")
    clip: float = Field(default=1.0, ge=0, description="largest gradient norm; 0: off")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    # The learning rate over time.
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    warmup: int | None = Field(default=None, ge=0, description="steps from 0 to the peak rate; default: 1 in 20")
    decay: float = Field(default=0.4, gt=0, le=1, description="wsd: fraction of the steps that decay at the end")
    final_lr: float = Field(default=0.1, ge=0, le=1, description="rate at the end, as a fraction of the peak")

    # Averages, validation, stopping, keeping.
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay per step of the averaged weights; 0: off")
    evaluate_every: int = Field(default=250, ge=1, description="steps between passes over the validation split")
    early_stopping: int = Field(default=0, ge=0, description="validations without improvement before stopping; 0: off")
    log_every: int = Field(default=10, ge=1, description="steps between lines of curves.jsonl")
    save_every: int = Field(default=100, ge=1, description="steps between states that training can resume from")
    keep: int = Field(default=2, ge=1, description="how many such states are kept")

    # How it is computed.
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:N, mps (METROLINE_DEVICE overrides)")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    activation_checkpointing: bool = False
    distributed: Literal["ddp", "fsdp"] = Field(default="ddp", description="under torchrun")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), not {self.betas}")
        if self.micro_batch:
            for batch in (*(phase.batch for phase in self.phases), self.batch):
                if batch % self.micro_batch and batch > self.micro_batch:
                    raise ValueError(f"batch {batch} is not a multiple of micro_batch {self.micro_batch}")
        before = sum(phase.steps for phase in self.phases)
        if before >= self.steps:
            raise ValueError(f"phases take {before} steps, all of the {self.steps} there are")
        for phase in self.phases:
            if self.sequence % phase.sequence or phase.batch * phase.sequence % self.sequence:
                raise ValueError(
                    f"a phase's sequence ({phase.sequence}) must divide sequence ({self.sequence}), "
                    "and its batch times its sequence must be a multiple of it"
                )
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be shorter than steps ({self.steps})")
        return self

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up: `warmup`, or a twentieth of all steps."""
        return self.steps // 20 if self.warmup is None else self.warmup
