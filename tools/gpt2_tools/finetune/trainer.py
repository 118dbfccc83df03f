"""transformers' Trainer, with the run's own data order, saves, early stopping and stop at a loss that is no number."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.data.tokens import collate
from gpt2_tools.finetune.optimizers import make_optimizer
from gpt2_tools.finetune.run_folder import STATE, RunFolder, readable_checkpoint
from gpt2_tools.finetune.settings import Settings
from omz_model_tools.common import one_line

if TYPE_CHECKING:
    import torch
    from transformers import Trainer as _Trainer
    from transformers import TrainingArguments
else:
    _Trainer = object  # added by make_trainer, since transformers is imported inside functions

SEEDS = 1_000_003
"""Steps and processes apart, so that each has random numbers of its own."""


@dataclass(frozen=True)
class Plan:
    """What a trainer does: settings that are resolved, where to save, how many steps."""

    settings: Settings
    run: RunFolder
    steps: int
    processes: int = 1
    saves: bool = True  # not in a dry run


class Shuffled:
    """The order of the blocks, a function of the seed and the epoch: a resumed run has it too."""

    def __init__(self, count: int, seed: int, epoch: Callable[[], int]) -> None:
        self._count, self._seed, self._epoch = count, seed, epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        import torch  # noqa: PLC0415

        generator = torch.Generator().manual_seed(self._seed * SEEDS + self._epoch())
        yield from map(int, torch.randperm(self._count, generator=generator).numpy())


class FinetuneTrainer(_Trainer):
    """What differs from transformers' Trainer."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    train_dataset: Any
    eval_dataset: Any
    plan: Plan
    last_loss: float = 0.0
    gradient_norm: float = 0.0

    def create_optimizer(self, model: Any = None) -> "torch.optim.Optimizer":
        """Make the optimizer of the settings."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model, self.plan.settings)
        made: torch.optim.Optimizer = self.optimizer
        return made

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return Shuffled(len(self.train_dataset), self.plan.settings.seed, lambda: int(self.state.epoch or 0))

    def seed_step(self) -> None:
        """Seed dropout by the step, so that no random state need be saved."""
        import torch  # noqa: PLC0415

        step, process = self.state.global_step, self.args.process_index
        torch.manual_seed(((self.plan.settings.seed * SEEDS + step) * SEEDS + process) % 2**63)
        self.last_loss = 0.0

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **named: Any) -> Any:
        """Raise Problem for a loss that is no number, before it reaches the weights."""
        found = super().compute_loss(model, inputs, *args, **named)
        loss = found[0] if isinstance(found, tuple) else found
        self._refuse_non_finite(float(loss.detach()), "the loss")
        return found

    def training_step(self, *args: Any, **named: Any) -> Any:
        """Add up the loss of the step."""
        loss = super().training_step(*args, **named)
        self.last_loss += float(loss)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        self.gradient_norm = float(norm)
        self._refuse_non_finite(self.gradient_norm, "the norm of the gradients")
        return norm

    def _refuse_non_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            saved = self.plan.run.checkpoints()
            last = f"{saved[-1].path} is the last good checkpoint" if saved else "no checkpoint was saved yet"
            rate = self.plan.settings.peak_learning_rate
            raise Problem(
                f"step {self.state.global_step + 1}: {what} is {value}; {last}; give a lower --learning_rate than "
                f"{rate:g}, more --warmup, or --precision f32"
            )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the mean loss of all blocks; Trainer's own counts a last, smaller batch as a whole one."""
        metrics = {"eval_loss": self._validation_loss()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation_loss(self) -> float:
        import torch  # noqa: PLC0415

        blocks, size = self.eval_dataset, self.plan.settings.batch_size
        ours = range(self.args.process_index, len(blocks), self.plan.processes)
        total = torch.zeros(2, dtype=torch.float64)  # of the losses, and the number of blocks
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(ours), size):
                batch = collate([blocks[i] for i in ours[start : start + size]])
                loss = float(self.compute_loss(self.model, batch))
                total += torch.tensor([loss * len(batch["labels"]), len(batch["labels"])], dtype=torch.float64)
        if self.plan.processes > 1:
            torch.distributed.all_reduce(total)
        return float(total[0] / total[1])

    def _determine_best_metric(self, metrics: Any, trial: Any) -> bool:
        """Keep the best evaluation, and stop after enough worse ones."""
        is_best = bool(super()._determine_best_metric(metrics, trial))
        patience = self.plan.settings.early_stopping
        if patience is not None:
            is_over = worse_evaluations(self.state.log_history) >= patience
            self.control.should_save |= is_best or is_over
            self.control.should_training_stop |= is_over
        return is_best

    def forget_lost_best(self) -> bool:
        """Forget a best evaluation whose checkpoint is not there, and those before it; return whether it was so."""
        state = self.state
        best, here = state.best_global_step, state.global_step
        if self.plan.settings.early_stopping is None or not best or best == here or self._checkpoint(best).is_dir():
            return False
        state.log_history = [entry for entry in state.log_history if entry["step"] == here and "eval_loss" in entry]
        state.best_metric = state.log_history[-1]["eval_loss"] if state.log_history else None
        state.best_global_step = here if state.log_history else None
        return True

    def _checkpoint(self, step: int) -> Path:
        return self.plan.run.path / f"checkpoint-{step}"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save by way of RunFolder.save, complete or not at all; the first process does, the others wait."""
        if self.plan.saves and self.args.should_save:
            self.plan.run.save(self.state.global_step, self._bytes(), self._write_checkpoint)
            best = self.state.best_global_step if self.plan.settings.early_stopping else None
            self.plan.run.prune(self.plan.settings.keep, best)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with readable_checkpoint(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load their states, but keep the learning rate, schedule and weight decay of the settings."""
        groups, scheduler = self.optimizer.param_groups, self.lr_scheduler
        asked = [{name: group[name] for name in ("weight_decay", "initial_lr")} for group in groups]
        with readable_checkpoint(Path(checkpoint or "")):
            super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        scheduler.base_lrs = [group["initial_lr"] for group in asked]
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        scheduler._last_lr = [rate * factor for rate, factor in zip(scheduler.base_lrs, factors, strict=True)]
        for group, ours, rate in zip(self.optimizer.param_groups, asked, scheduler._last_lr, strict=True):
            group.update(ours, lr=rate)

    def _write_checkpoint(self, folder: Path) -> None:
        import torch  # noqa: PLC0415
        from safetensors import SafetensorError  # noqa: PLC0415

        try:
            self.model.save_pretrained(folder)
            torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
            torch.save(self.lr_scheduler.state_dict(), folder / "scheduler.pt")
        except (SafetensorError, RuntimeError) as error:  # a full disk, in the words of either library
            path = self._checkpoint(self.state.global_step)
            raise Problem(f"{path}: cannot be written: {one_line(error)[:200]}; the last checkpoint is kept") from error
        self.state.save_to_json(str(folder / STATE))

    def _bytes(self) -> int:
        """Return the size of a checkpoint: the weights that are saved, and two moments of those that are trained."""
        weights = list(self.model.parameters())
        trained: int = sum(weight.numel() for weight in weights if weight.requires_grad)
        saved: int = trained if self.plan.settings.lora else sum(weight.numel() for weight in weights)
        return 4 * (saved + 2 * trained) + 2**20

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: seed_step makes the random state of each step."""


def worse_evaluations(history: list[dict[str, float]]) -> int:
    """Return the number of evaluations since the best one; that before the first step does not count."""
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry and entry["step"]]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def make_trainer(
    plan: Plan,
    model: Any,
    train: Any,
    validation: Any,
    callbacks: list[Any],
    kind: type[FinetuneTrainer] = FinetuneTrainer,
    **more: Any,
) -> Any:
    """Return a FinetuneTrainer, whose class transformers' Trainer completes; more: other arguments of that."""
    from transformers import PrinterCallback, Trainer  # noqa: PLC0415

    made: Any = type(kind.__name__, (kind, Trainer), {})
    trainer = made(
        model=model,
        args=training_arguments(plan, validation is not None),
        train_dataset=train,
        eval_dataset=validation,
        callbacks=callbacks,
        **{"data_collator": collate, **more},
    )
    trainer.plan = plan
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_arguments(plan: Plan, evaluates: bool) -> "TrainingArguments":
    """Return the settings as Trainer's."""
    from transformers import TrainingArguments  # noqa: PLC0415

    settings = plan.settings
    return TrainingArguments(
        output_dir=str(plan.run.path),
        use_cpu=True,
        ddp_backend="gloo" if plan.processes > 1 else None,
        max_steps=plan.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate_gradients,
        learning_rate=settings.peak_learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.lr_scheduler == "constant" else settings.lr_scheduler,
        warmup_steps=settings.warmup_steps(plan.steps),
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=settings.precision == "bf16",
        eval_strategy="steps" if evaluates and settings.eval_every else "no",
        eval_steps=settings.eval_every or None,
        save_strategy="steps",
        save_steps=settings.save_every,
        metric_for_best_model="loss" if evaluates else None,
        greater_is_better=False if evaluates else None,
        logging_strategy="no",
        logging_nan_inf_filter=False,  # which hides a loss that is no number
        log_level_replica="error",  # of the processes beside the first, which else print what that does not
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
