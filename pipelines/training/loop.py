"""The training loop: steps, validation, averages, early stopping, saving and resuming. It knows no task.

A step's batch, learning rate and random numbers are functions of the recipe and the step's number, so what a resumed
run needs is the tensors and counters of `pipelines.training.state`, and no generator.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from base.errors import MetrolineError
from pipelines.recipe.train_section import Phase, TrainConfig
from pipelines.tasks.interface import Batch, Begins, Judged, Learner, words
from pipelines.training import device as machine
from pipelines.training.adapter import added, check_used, digest, network_of
from pipelines.training.distributed import Group, gathered
from pipelines.training.metrics import Clock, Metrics, Progress
from pipelines.training.optimizers import build, set_rate
from pipelines.training.order import Order
from pipelines.training.randomness import BATCH, VALIDATION, piece_seed, reseed
from pipelines.training.schedule import rate, shape
from pipelines.training.snapshot import pack, persistent_buffers, swapped, unpack
from pipelines.training.state import Counters, States, read_tensors, write_tensors
from pipelines.training.stop import Stopped, StopRequest
from pipelines.training.validation import Interrupted, mean_loss, noted

FIRST = "first"  # folder below the states: what was computed of the first weights


class Trainer:
    """One run of one recipe on one device (or one of the processes of such a run)."""

    def __init__(self, config: TrainConfig, task: Learner, group: Group, states: States) -> None:
        self.config, self.task, self.group, self.states = config, task, group, states
        self.device = group.device
        self.precision = machine.precision(config.precision, self.device)
        self.fsdp = group.size > 1 and config.distributed == "fsdp"
        if self.fsdp and self.precision == "fp16":
            raise MetrolineError("precision fp16 does not go with distributed: fsdp", hint="use bf16 or ddp")
        for part in (*config.phases, Phase(steps=1, batch=config.batch, sequence=config.sequence)):
            if part.batch * part.sequence // config.sequence % group.size:
                raise MetrolineError(
                    f"a batch of {part.batch} sequences of {part.sequence} cannot be shared by {group.size} processes"
                )
        reseed(self.device, config.seed)  # for layers that draw their first weights without the generator
        self.network = network_of(task, config, torch.Generator().manual_seed(config.seed)).to(self.device)
        self.objective = task.objective(self.network)
        self.wrapped = group.wrap(self.objective, self.network, config.distributed)
        self.call = machine.Compiled(self.wrapped, "off" if self.fsdp else config.compile, self.device)
        units = machine.bf16_units(self.device)
        self.optimizers = build(config, self.network, task.outer, bf16_units=units)
        weights = dict(self.network.named_parameters())  # tied weights come once
        self.weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
        self.frozen = {name: weight for name, weight in weights.items() if not weight.requires_grad}
        self.untouched = self.frozen_hash()
        self.trained = sum(weight.numel() for weight in self.weights.values())
        self.parameters = self.trained + sum(weight.numel() for weight in self.frozen.values()) - added(self.network)
        self.averages = {name: weight.detach().clone() for name, weight in self.weights.items()} if config.ema else {}
        self.metric = task.metric if isinstance(task, Judged) else "loss"
        self.scaler = machine.scaler(self.device, self.precision)
        self.order = Order(task.examples, config.seed)
        self.counters = Counters()
        self.clock = Clock()
        self.stop = StopRequest()
        self.saved = self.logged = 0  # steps
        self.since_log, self.flops, self.flops_since_log = 0, 0.0, 0.0  # targets; operations of a step, and since then
        self.speed, self.peak = 0.0, math.inf  # targets and operations per second
        self.valid_noted: dict[str, float] = {}  # of the latest validation

    # What a step is -------------------------------------------------------------------------------------------------

    def batches(self, step: int) -> list[Batch]:
        """This process's part of the batch of a step, in pieces of at most `micro_batch` sequences."""
        plan = shape(self.config, step)
        epochs, windows = self.order.take(plan.first, plan.windows)
        share = plan.windows // self.group.size
        begin = share * self.group.rank
        piece = share
        if self.config.micro_batch:
            piece = max(1, self.config.micro_batch * plan.sequence // self.config.sequence)
        batches = []
        for index, at in enumerate(range(begin, begin + share, piece)):
            part = slice(at, min(at + piece, begin + share))
            reseed(self.device, piece_seed(self.config.seed, step, self.group.rank, index), BATCH)
            batches.append(self.task.batch(epochs[part], windows[part], plan.sequence, self.device))
        return batches

    def step(self) -> None:
        """One optimizer step; the counters say what it did."""
        counters, config, number = self.counters, self.config, self.counters.step
        batches = self.batches(number)
        self.clock.lap("data")
        (targets,) = self.group.sum(sum(batch.targets for batch in batches))
        if not targets:
            raise MetrolineError(
                f"step {number + 1}: no target counts in its batch, {self.where()}",
                hint="take out examples without targets when the data is prepared, or take a larger train.batch",
            )
        set_rate(self.optimizers, rate(config, number))
        total = torch.zeros((), device=self.device)
        self.objective.train()
        for index, batch in enumerate(batches):
            seed = piece_seed(config.seed, number, self.group.rank, index)
            reseed(self.device, seed)
            with self.group.accumulating(self.wrapped, index == len(batches) - 1):
                with machine.autocast(self.device, self.precision):
                    loss = self.call(**batch.inputs, seed=torch.tensor(seed))
                # Divided by the targets of the whole batch, so that its pieces weigh by what they hold; times the
                # number of processes, because sharing gradients takes their mean.
                self.scaler.scale(loss * (self.group.size / targets)).backward()
            total += loss.detach()
        (loss_sum,) = self.group.sum(float(total))
        if self.frozen and not number:
            check_used(self.network)
        norm = self.clip()
        if not math.isfinite(loss_sum) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise self.diverged(loss_sum / targets, norm)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        if self.group.size > 1:
            self.group.share(list(persistent_buffers(self.network).values()))
        if self.averages:
            decay = min(config.ema, (1 + number) / (10 + number))  # short at first: the first weights are random
            torch._foreach_lerp_(list(self.averages.values()), list(self.weights.values()), 1 - decay)
        counters.step += 1
        counters.tokens += int(targets)
        counters.loss_sum += loss_sum
        counters.loss_targets += int(targets)
        for name, value in noted(self.objective).items():
            counters.noted[name] = counters.noted.get(name, 0.0) + self.group.sum(value)[0]
        counters.gradient_norm = norm
        self.flops = sum(batch.flops for batch in batches) * self.group.size
        self.clock.lap("compute")

    def clip(self) -> float:
        """The gradient's norm before it is clipped."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.config.clip or math.inf
        return float(gathered(torch.nn.utils.clip_grad_norm_(list(self.weights.values()), limit)))

    def diverged(self, loss: float, norm: float) -> "Diverged":
        """The error for a step whose loss or gradient is not a finite number."""
        number = self.counters.step
        good = self.states.newest() if self.group.leads else None
        last = f"the last good state is step {good} in {self.states.folder}" if good else "no state was saved before it"
        return Diverged(
            f"step {number + 1}: loss {loss}, gradient norm {norm}; the batch was {self.where()}; {last}",
            hint="lower train.lr, lengthen train.warmup, or take precision fp32",
        )

    def frozen_hash(self) -> str:
        """Of the weights that are not trained; nothing where all are. To be called on all processes."""
        return digest({name: gathered(weight) for name, weight in self.frozen.items()}) if self.frozen else ""

    def where(self) -> str:
        """Where in the data the batch of this step is."""
        plan = shape(self.config, self.counters.step)
        return self.task.describe(*self.order.take(plan.first, plan.windows))

    # What follows a step --------------------------------------------------------------------------------------------

    def follow(self, metrics: Metrics | None) -> None:
        """Validate, log and save what is due after the step that was just done. Raises `Interrupted`."""
        config, counters = self.config, self.counters
        last = counters.step == config.steps
        validated = None
        if last or counters.step % config.evaluate_every == 0:
            self.clock.lap("rest")
            validated = self.validate()
            self.clock.lap("validate")
        if validated is not None:
            self.keep_best(*validated)
            last = last or counters.finished
        counters.finished = last
        if last or validated is not None or counters.step % config.log_every == 0:
            self.log(metrics, validated)
        if last or counters.step % config.save_every == 0:
            self.save(metrics)

    @torch.no_grad()
    def validate(self) -> tuple[float, float] | None:
        """Loss over the whole validation split and the value that it is judged by, which is the loss unless the learner
        has its own; of the averaged weights where there are any. None: no split."""
        reseed(self.device, piece_seed(self.config.seed, VALIDATION, self.group.rank, 0))
        with swapped(self.weights, self.averages), machine.autocast(self.device, self.precision):
            batches = self.task.validation(self.device)
            loss, self.valid_noted = mean_loss(self.objective, batches, self.group, self.stopping)
            value = loss
            if loss is not None and isinstance(self.task, Judged):
                self.group.gather(self.wrapped)
                own = float(self.task.value(self.network, self.device))
                (value,) = self.group.sum(own if self.group.leads else 0.0)
            self.group.forget_gathered(self.wrapped)
        return None if loss is None or value is None else (loss, value)

    def keep_best(self, loss: float, value: float) -> None:
        """Keep the weights when `value` is the best so far, or equal with less loss; note when to stop early."""
        counters, better = self.counters, self.task.better if isinstance(self.task, Judged) else "lower"
        if not math.isfinite(loss):
            raise self.diverged(loss, counters.gradient_norm)
        if not math.isfinite(value):
            raise MetrolineError(
                f"step {counters.step}: {self.metric} of the validation split is {value}",
                hint="the task must give a number for every network, also for one that has learnt nothing",
            )
        counters.valid_loss, counters.valid_value = loss, value
        best, best_loss, sign = counters.best_value, counters.best_loss, 1 if better == "lower" else -1
        if best is None or best_loss is None or (sign * value, loss) < (sign * best, best_loss):
            counters.best_loss, counters.best_value = loss, value
            counters.best_step, counters.stale = counters.step, 0
            weights = self.whole()
            if self.group.leads:
                write_tensors(self.states.best(counters.step), weights)
        else:
            counters.stale += 1
            counters.finished = 0 < self.config.early_stopping <= counters.stale

    def log(self, metrics: Metrics | None, validated: tuple[float, float] | None) -> None:
        """A line of the curves, one of timing, and the gauges."""
        counters, seconds = self.counters, self.clock.take()
        line: dict[str, Any] = {"step": counters.step, "tokens": counters.tokens}
        if counters.loss_targets:
            line["loss"] = counters.loss_sum / counters.loss_targets
            line |= {name: value / counters.loss_targets for name, value in sorted(counters.noted.items())}
        line["lr"] = self.config.lr * rate(self.config, counters.step - 1)
        line["grad_norm"] = counters.gradient_norm
        if validated is not None:
            line["valid_loss"], line[f"valid_{self.metric}"] = validated
            line |= {f"valid_{name}": value for name, value in self.valid_noted.items()}
        counters.loss_sum, counters.loss_targets, counters.noted = 0.0, 0, {}
        if metrics is None:
            return
        metrics.curve(line)
        steps = counters.step - self.logged
        self.logged = counters.step
        metrics.set(
            step=counters.step, loss=line.get("loss"), valid_loss=line.get("valid_loss"),
            valid_value=line.get(f"valid_{self.metric}"), gradient_norm=counters.gradient_norm,
        )  # fmt: skip
        if steps:
            busy = sum(value for name, value in seconds.items() if name in ("data", "compute", "rest"))
            self.speed = self.since_log / busy
            mfu = self.flops_since_log / busy / (self.peak * self.group.size)
            data = seconds.get("data", 0.0) / steps
            metrics.set(tokens_per_second=self.speed, mfu_ratio=mfu, step_seconds=busy / steps, data_wait_seconds=data)
            timing = {"step": counters.step, "steps": steps, "tokens_per_s": self.speed, "mfu": mfu}
            each = {"step_s": busy, "data_wait_s": seconds.get("data", 0.0), "compute_s": seconds.get("compute", 0.0)}
            extra = {f"{name}_s": value for name, value in seconds.items() if name in ("validate", "save")}
            metrics.timing({**timing, **{name: value / steps for name, value in each.items()}, **extra})
        self.since_log, self.flops_since_log = 0, 0.0
        metrics.write(now=False)

    # States ---------------------------------------------------------------------------------------------------------

    def save(self, metrics: Metrics | None) -> None:
        """Write a state of now."""
        self.clock.lap("rest")
        if self.scaler.is_enabled():
            self.counters.scaler = dict(self.scaler.state_dict())
        tensors = pack(self.weights | persistent_buffers(self.network), self.averages, self.optimizers)
        if self.group.leads:
            if metrics is not None:
                self.counters.curves_bytes = metrics.curves_bytes()
            self.states.save(self.counters, tensors, self.environment())
        self.saved = self.counters.step
        self.group.wait()
        self.clock.lap("save")

    @torch.no_grad()
    def begin(self) -> None:
        """What the learner computes once of its first weights; to be called before `restore`."""
        if not isinstance(self.task, Begins):
            return
        if self.fsdp:
            raise MetrolineError("train.distributed: this task begins with whole weights", hint="take ddp")
        with self.group.leader_first(), machine.autocast(self.device, self.precision):
            self.task.begin(self.objective, self.states.folder / FIRST, self.device)

    def restore(self) -> bool:
        """Take up the latest whole state; False when there is none."""
        found = self.group.agree((self.states.newest() or 0) if self.group.leads else 0)
        if not found:
            if self.group.leads:
                self.states.forget_after(0, 0)
            return False
        self.counters, tensors, environment = self.states.load(found)
        unpack(tensors, self.weights | persistent_buffers(self.network), self.averages, self.optimizers)
        if self.counters.scaler:
            self.scaler.load_state_dict(self.counters.scaler)
        self.saved = self.counters.step
        if self.group.leads:
            self.states.forget_after(found, self.counters.curves_bytes)
            for key, now in self.environment().items():
                if (was := environment.get(key)) != now:
                    say(f"note: {key} was {was} and is {now}: the numbers go on, but not to the last bit")
        return True

    def environment(self) -> dict[str, Any]:
        """What else decides the last bits."""
        return {
            "torch": torch.__version__,
            "device": self.device.type,
            "precision": self.precision,
            "compiled": self.call.active,
            "processes": self.group.size,
            "threads": torch.get_num_threads(),
        }

    # The run --------------------------------------------------------------------------------------------------------

    def run(self, metrics: Metrics | None) -> None:
        """Train to the end. Raises `Stopped` after a signal (the state is saved), MetrolineError when it diverges."""
        self.logged = self.counters.step
        self.peak, source = machine.peak(self.device, self.precision)
        if metrics is not None:
            metrics.timing({"step": self.counters.step, "peak_flops": self.peak, "peak_from": source,
                            "time": time.time(), **self.environment()})  # fmt: skip
        with self.stop, self.bar() as progress, machine.deterministic(self.device):
            self.clock = Clock()
            try:
                if self.counters.pending:
                    self.counters.pending = False
                    self.follow(metrics)
                while not self.counters.finished:
                    before = self.counters.tokens
                    self.step()
                    self.since_log += self.counters.tokens - before
                    self.flops_since_log += self.flops
                    loss = self.counters.loss_sum / self.counters.loss_targets
                    self.follow(metrics)
                    if progress is not None:
                        fields = {"loss": loss}
                        if self.speed:
                            fields[f"{words(self.task).targets}_per_s"] = self.speed
                        if self.counters.valid_value is not None:
                            fields[f"valid_{self.metric}"] = self.counters.valid_value
                        progress.update(advance=1, **fields)
                    self.clock.lap("rest")
                    if self.stopping() and not self.counters.finished:
                        self.interrupt(metrics)
            except Interrupted:
                self.counters.pending = True
                self.interrupt(metrics)
        if self.frozen_hash() != self.untouched:
            raise MetrolineError("weights that were frozen have changed; nothing is written")

    def interrupt(self, metrics: Metrics | None) -> None:
        """Save and leave, as a signal asked. Raises `Stopped`."""
        if self.saved != self.counters.step or self.counters.pending:
            self.save(metrics)
        if self.group.leads:
            say(f"stopped at step {self.counters.step}; the same command goes on from there")
        raise Stopped(self.stop.number or int(self.group.sum(self.stop.number)[0]) or 15)

    def stopping(self) -> bool:
        """Whether any process was asked to stop."""
        return bool(self.group.sum(self.stop.number)[0])

    def best(self) -> dict[str, Tensor]:
        """The weights to keep, whole: those of the best validation, else the (averaged) last ones."""
        if self.counters.best_value is not None:
            self.group.wait()
            return read_tensors(self.states.best(self.counters.best_step))
        return self.whole()

    def whole(self) -> dict[str, Tensor]:
        """The (averaged) weights and the buffers of now, gathered; to be called on all processes."""
        tensors = (self.averages or self.weights) | persistent_buffers(self.network)
        return {name: gathered(tensor.detach()) for name, tensor in tensors.items()}

    @contextlib.contextmanager
    def bar(self) -> Iterator[Progress | None]:
        """The progress bar; the other processes have none."""
        if not self.group.leads:
            yield None
            return
        with Progress("train", self.config.steps, "steps") as progress:
            progress.update(advance=self.counters.step)
            yield progress


class Diverged(MetrolineError):
    """A loss or a gradient that is not a finite number."""


def say(line: str) -> None:
    """One line for whoever watches."""
    print(line, file=sys.stderr, flush=True)
