"""Classification as a task of gpt2_finetune: what it reads, trains, measures and publishes."""

import json
import shlex
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.callback import Steps, Stop, make_callback
from gpt2_tools.finetune.classification.confusion_plot import draw_confusion
from gpt2_tools.finetune.classification.examples import (
    ExampleFiles,
    Examples,
    Form,
    HoldOut,
    collate,
    listed,
    open_examples,
    write_examples,
)
from gpt2_tools.finetune.classification.metrics import report
from gpt2_tools.finetune.classification.model import (
    CLASSIFIER,
    check_classifier,
    in_order,
    load_classifier,
    pad_of,
    with_pad,
)
from gpt2_tools.finetune.classification.rows import LABEL, TABLES, TEXT, Columns
from gpt2_tools.finetune.classification.trainer import ClassificationSteps, ClassificationTrainer, mean_loss
from gpt2_tools.finetune.data.documents import find_files
from gpt2_tools.finetune.data.tokens import Source
from gpt2_tools.finetune.model import Base, find_base, prepare, write_model
from gpt2_tools.finetune.run_folder import RunFolder
from gpt2_tools.finetune.settings import Settings
from gpt2_tools.finetune.task import Data, Finetuned, Prepared
from gpt2_tools.finetune.trainer import Plan, make_trainer
from omz_model_tools.common import publishing, say

LEAST_EVALUATED, EVALUATED = 200, 4
"""While it trains an evaluation takes at least so many texts, if there are, and at most one for each 4 trained since.

Forward alone it costs a third of their training.
"""
EVALUATION, CONFUSION = "evaluation.json", "confusion.png"
EXAMPLE = "a text of yours"


class Classification:
    """Texts with labels are trained on."""

    unit = "text"

    def base(self, settings: Settings, stack: ExitStack) -> Base:
        """Return what is trained on, a language model or a classifier."""
        base = find_base(settings, stack)
        check_classifier(base)
        return base

    def sources(self, settings: Settings) -> tuple[Source, Source | float]:
        """Return the tables. Raises Problem for another kind of file."""
        paths = [path for path in (settings.dataset, settings.validation_file) if path is not None]
        for path in paths:
            if path.suffix.lower() not in TABLES:
                flag = "--dataset" if path == settings.dataset else "--validation_file"
                raise Problem(f"{flag}: expected a table that ends in {', '.join(TABLES)}, got {path}")
        found = [Source(find_files(path), columns_of(settings).text) for path in paths]
        return found[0], found[1] if len(found) > 1 else settings.held_out_share

    def open(self, folder: Path) -> ExampleFiles | None:
        """Return what `write` has written; None if it is not there."""
        return open_examples(folder)

    def write(self, folder: Path, prepared: Prepared) -> ExampleFiles:
        """Write the texts as tokens, with labels and hold-out."""
        pad_of(prepared.vocabulary, prepared.base)  # a problem with it is told before the work
        return write_examples(
            folder,
            prepared.source,
            HoldOut(prepared.validation, prepared.settings.max_train_samples, prepared.settings.max_eval_samples),
            Form(
                columns_of(prepared.settings),
                prepared.vocabulary.encoder(prepared.base.config.vocab_size),
                prepared.settings.block_size or prepared.base.config.n_positions,
            ),
            partial(in_order, base=prepared.base, dataset=prepared.settings.dataset),
        )

    def plan(
        self, prepared: Prepared, tokens: Any, folder: RunFolder, token_folder: Path, saves: bool = True
    ) -> tuple[Plan, Data]:
        """Return what is to be trained, the texts, and all that are held out."""
        settings = prepared.settings
        train, held = (Examples(token_folder, tokens, is_held_out) for is_held_out in (False, True))
        if not len(held) and (settings.validation_split or settings.early_stopping):
            least = "--validation_split above 0, and" if settings.validation_split == 0 else "a label with"
            raise Problem(f"{settings.dataset}: has no texts to validate on; expected {least} two texts or more")
        steps = settings.steps_for(len(train), prepared.processes)
        plan = Plan(settings, folder, steps, prepared.processes, saves)
        return plan, (train, held if len(held) else None)

    def about(self, prepared: Prepared, tokens: Any, plan: Plan, data: Data) -> str:
        """Return what is trained, in a line."""
        settings, (train, held) = prepared.settings, data
        cut = f", {tokens.cut} cut to {settings.block_size} tokens" if tokens.cut else ""
        counts = [f"{label} {count}" for label, count in zip(tokens.labels, tokens.texts, strict=True)]
        held_out = "no validation" if held is None else f"validation on {len(held)}, {tokens.held_out}"
        return (
            f"{settings.dataset}: {len(train)} texts to train on with {len(counts)} labels ({listed(counts)}){cut}; "
            f"{held_out}; {plan.steps} steps of {settings.blocks_per_step * plan.processes}, in {settings.precision}"
        )

    def counts(self, prepared: Prepared, tokens: Any, plan: Plan, data: Data) -> list[str]:
        """Return the lines of a dry run that count the data."""
        settings = prepared.settings
        return [
            f"texts: {sum(tokens.texts)} to train on, {tokens.held_out_texts} to validate on; tokens: {tokens.train} "
            f"and {tokens.validation}; cut to {settings.block_size} tokens: {tokens.cut}",
            f"labels: {len(tokens.labels)} ({listed(tokens.labels)}); steps: {plan.steps} of "
            f"{settings.blocks_per_step} texts",
        ]

    def trained(self, prepared: Prepared, plan: Plan, data: Data, stop: Stop) -> tuple[Any, Steps]:
        """Return the trainer of a run, with its model, and the callback that it calls."""
        settings, (train, held) = plan.settings, data
        pad = pad_of(prepared.vocabulary, prepared.base)
        model = prepare(load_classifier(prepared.base, settings.seed, train.labels, pad), settings)
        callback = make_callback(settings, plan.run.path, prepared.vocabulary, stop, ClassificationSteps)
        most = max(LEAST_EVALUATED, settings.eval_every * settings.blocks_per_step * plan.processes // EVALUATED)
        trainer = make_trainer(
            plan,
            model,
            train,
            None if held is None else held.spread(most),
            [callback],
            ClassificationTrainer,
            data_collator=partial(collate, pad=pad),
            compute_loss_func=mean_loss,
        )
        trainer.model_accepts_loss_kwargs = False  # the number of texts is for the loss, not for the model
        callback.trainer, trainer.held_out = trainer, held
        return trainer, callback

    def evaluated(self, trainer: Any, prepared: Prepared, done: Finetuned) -> Finetuned:
        """Return the end of a run with what the model that is published does on all that was held out."""
        if trainer.held_out is None:
            return done
        loss, confusion = trainer.measure(trainer.held_out)
        labels = trainer.held_out.labels
        found = {"step": done.step, "loss": loss, **report(confusion, labels)}
        accuracy, macro_f1 = found["accuracy"], found["macro_f1"]
        if trainer.args.should_save:
            path = done.run / EVALUATION
            with publishing(path) as out:
                out.write(f"{json.dumps(found, indent=2, ensure_ascii=False)}\n".encode())
            figures = f"accuracy {accuracy:.3f}, macro-F1 {macro_f1:.3f}"
            draw_confusion(confusion, labels, f"{done.run.name}: {figures}", done.run / CONFUSION)
            say(f"{done.run}: step {done.step}, on all {len(trainer.held_out)} texts held out: {figures}")
        return replace(done, validation_loss=loss, accuracy=accuracy, macro_f1=macro_f1)

    def write_model(self, model: Any, prepared: Prepared, folder: Path) -> None:
        """Write the folder for transformers."""
        write_model(model, prepared.base, folder, CLASSIFIER)
        with_pad(prepared.vocabulary, pad_of(prepared.vocabulary, prepared.base)).write(folder)

    def command(self, ir: Path, settings: Settings) -> str:
        """Return the command that runs the IR."""
        return shlex.join(["gpt2_classify", "-m", str(ir), "-i", EXAMPLE])


def columns_of(settings: Settings) -> Columns:
    """Return the columns of text and label."""
    return Columns(settings.text_column or TEXT, settings.label_column or LABEL)
