"""The trainer of a classifier: batches of texts of like lengths, and evaluations with accuracy and macro-F1."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2_tools.finetune.callback import Steps
from gpt2_tools.finetune.classification.examples import Examples
from gpt2_tools.finetune.classification.metrics import Confusion, accuracy, confusion_of, macro_f1
from gpt2_tools.finetune.trainer import SEEDS, FinetuneTrainer

POOL = 32
"""Batches whose texts are sorted by length together."""
EVALUATED_AT_ONCE = 8
"""Texts of a batch of an evaluation, at least."""


class ByLength:
    """The order of the texts, a function of the seed and the epoch: a resumed run has it too."""

    def __init__(self, lengths: npt.NDArray[Any], batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """Yield a random order in which the texts of a batch have like lengths; a smaller batch is the last."""
        import torch  # noqa: PLC0415

        generator = torch.Generator().manual_seed(self._seed * SEEDS + self._epoch())
        order = torch.randperm(len(self), generator=generator).numpy()
        pools = np.split(order, range(self._batch * POOL, len(order), self._batch * POOL))
        order = np.concatenate([pool[np.argsort(self._lengths[pool], kind="stable")] for pool in pools])
        whole = len(order) // self._batch
        batches = order[: whole * self._batch].reshape(whole, self._batch)
        shuffled = batches[torch.randperm(whole, generator=generator).numpy()]
        yield from [*shuffled.reshape(-1).tolist(), *order[whole * self._batch :].tolist()]


def mean_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Return the cross-entropy of a batch, as its share of the mean over all texts of a step."""
    from torch.nn.functional import cross_entropy  # noqa: PLC0415

    return cross_entropy(outputs.logits.float(), labels, reduction="sum") / num_items_in_batch


class ClassificationTrainer(FinetuneTrainer):
    """What differs for a classifier. held_out: all texts to validate on; eval_dataset has those of an evaluation."""

    held_out: Examples | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        settings, lengths = self.plan.settings, self.train_dataset.lengths
        batch = settings.batch_size * self.plan.processes  # which are dealt out to the processes
        return ByLength(lengths, batch, settings.seed, lambda: int(self.state.epoch or 0))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return mean loss, accuracy and macro-F1 of the texts that are evaluated while it trains."""
        loss, confusion = self.measure(self.eval_dataset)
        metrics = {"eval_loss": loss, "eval_accuracy": accuracy(confusion), "eval_macro_f1": macro_f1(confusion)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def measure(self, examples: Examples) -> tuple[float, Confusion]:
        """Return the mean loss in nats a text, and the confusion matrix, computed by all processes."""
        import torch  # noqa: PLC0415
        from torch.nn.functional import cross_entropy  # noqa: PLC0415

        count = self.model.config.num_labels
        size = max(self.plan.settings.batch_size, EVALUATED_AT_ONCE)
        ours = np.argsort(examples.lengths, kind="stable")[self.args.process_index :: self.plan.processes]
        total, confusion = torch.zeros((), dtype=torch.float64), torch.zeros((count, count), dtype=torch.int64)
        self.model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.plan.settings.precision == "bf16"):
            for start in range(0, len(ours), size):
                batch: Any = self.data_collator([examples[i] for i in ours[start : start + size]])  # type: ignore[misc]
                labels = batch["labels"]
                logits = self.model(input_ids=batch["input_ids"]).logits.double()
                total += cross_entropy(logits, labels, reduction="sum")
                confusion += torch.from_numpy(confusion_of(labels.numpy(), logits.argmax(-1).numpy(), count))
        if self.plan.processes > 1:
            torch.distributed.all_reduce(total)
            torch.distributed.all_reduce(confusion)
        loss = float(total) / len(examples)
        self._refuse_non_finite(loss, "the validation loss")
        return loss, confusion.numpy()


class ClassificationSteps(Steps):
    """What is logged and shown of a classifier's evaluation."""

    def evaluation(self, metrics: dict[str, float]) -> tuple[dict[str, float], str]:
        """Return an evaluation for the log, and in words."""
        found = {name: metrics[f"eval_{name}"] for name in ("loss", "accuracy", "macro_f1")}
        words = " ".join(f"{name}={value:.3f}" for name, value in found.items() if name != "loss")
        logged = {"eval_loss": found["loss"], "accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}
        return logged, f"loss={found['loss']:.4f} {words}"
