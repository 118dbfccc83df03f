"""Generation as a task of gpt2_finetune: texts in blocks, and the loss of each next token."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.callback import Steps, Stop, make_callback
from gpt2_tools.finetune.data.documents import TABLES, find_files, is_table, is_tokens
from gpt2_tools.finetune.data.tokens import (
    TRAIN,
    VALIDATION,
    Blocks,
    Source,
    TokenFiles,
    open_tokens,
    write_tokens,
)
from gpt2_tools.finetune.generation.head_loss import use_head_loss
from gpt2_tools.finetune.model import Base, find_base, load_model, prepare, write_model
from gpt2_tools.finetune.publish import demo_command
from gpt2_tools.finetune.run_folder import RunFolder
from gpt2_tools.finetune.settings import Settings
from gpt2_tools.finetune.task import Data, Finetuned, Prepared
from gpt2_tools.finetune.trainer import Plan, make_trainer

LEAST_VALIDATION, EVALUATED = 8, 10
"""An evaluation takes at least so many blocks, if there are, and at most one for each 10 trained since the last."""


class Generation:
    """Text is trained on, to be continued."""

    unit = "token"

    def base(self, settings: Settings, stack: ExitStack) -> Base:
        """Return what --model or --from_scratch names."""
        return find_base(settings, stack)

    def sources(self, settings: Settings) -> tuple[Source, Source | float]:
        """Return the data, and those to validate on or their share."""
        paths = [path for path in (settings.dataset, settings.validation_file) if path is not None]
        if settings.text_column is not None and not any(map(is_table, paths)):
            got = ", ".join(map(str, paths))
            raise Problem(f"--text_column: belongs to a data set that ends in {' or '.join(TABLES)}, got {got}")
        ours = (settings.checkpoint_dir, settings.run_dir)
        found = [Source(find_files(path, ours), settings.text_column if is_table(path) else None) for path in paths]
        for path in (path for source in found for path in source.files):
            if settings.from_scratch is not None and is_tokens(path):
                raise Problem(f"{path}: has tokens of another vocabulary; --from_scratch expects a text")
        return found[0], found[1] if len(found) > 1 else settings.held_out_share

    def open(self, folder: Path) -> TokenFiles | None:
        """Return what `write` has written; None if it is not there."""
        return open_tokens(folder)

    def write(self, folder: Path, prepared: Prepared) -> TokenFiles:
        """Write the documents' tokens."""
        encoder = prepared.vocabulary.encoder(prepared.base.config.vocab_size)
        return write_tokens(folder, prepared.source, encoder, prepared.validation)

    def plan(
        self, prepared: Prepared, tokens: TokenFiles, folder: RunFolder, token_folder: Path, saves: bool = True
    ) -> tuple[Plan, Data]:
        """Return what is to be trained, and the blocks to train and to validate on.

        Raises Problem for too short a text.
        """
        settings, size = prepared.settings, prepared.settings.block_size
        assert size is not None  # as resolve left it
        train = Blocks(token_folder / TRAIN, tokens.dtype, size)
        if not len(train):
            held = f" beside {tokens.validation} to validate on" if tokens.validation else ""
            raise Problem(
                f"{settings.dataset}: has {tokens.train} tokens{held}; expected at least a block of {size}; "
                "give a smaller --block_size"
            )
        per_step = settings.blocks_per_step * prepared.processes
        most = max(LEAST_VALIDATION, (settings.eval_every or 0) * per_step // EVALUATED)
        validation = Blocks(token_folder / VALIDATION, tokens.dtype, size, most)
        named = settings.validation_file
        if not len(validation) and (named is not None or settings.validation_split or settings.early_stopping):
            raise Problem(
                f"{named or settings.dataset}: has {tokens.validation} tokens to validate on; expected at least a "
                f"block of {size}; give a smaller --block_size, or more of it"
            )
        steps = settings.steps_for(len(train), prepared.processes)
        data = train, validation if len(validation) else None
        return Plan(settings, folder, steps, prepared.processes, saves), data

    def about(self, prepared: Prepared, tokens: TokenFiles, plan: Plan, data: Data) -> str:
        """Return what is trained, in a line."""
        settings, (train, validation) = prepared.settings, data
        held = "no validation" if validation is None else f"validation on {len(validation)} of {tokens.held_out}"
        return (
            f"{settings.dataset}: {tokens.train} tokens in {len(train)} blocks of {train.size}; {held}; "
            f"{plan.steps} steps of {settings.blocks_per_step * plan.processes}, in {settings.precision}"
        )

    def counts(self, prepared: Prepared, tokens: TokenFiles, plan: Plan, data: Data) -> list[str]:
        """Return the lines of a dry run that count the data."""
        settings = prepared.settings
        return [
            f"documents: {tokens.documents}; tokens: {tokens.train} to train on, {tokens.validation} to validate on",
            f"blocks of {settings.block_size}: {len(data[0])}; steps: {plan.steps} of "
            f"{settings.blocks_per_step} blocks",
        ]

    def trained(self, prepared: Prepared, plan: Plan, data: Data, stop: Stop) -> tuple[Any, Steps]:
        """Return the trainer of a run, with its model, and the callback that it calls."""
        callback = make_callback(plan.settings, plan.run.path, prepared.vocabulary, stop)
        model = load_model(prepared.base, plan.settings.seed)
        use_head_loss(model)
        trainer = make_trainer(plan, prepare(model, plan.settings), *data, [callback])
        callback.trainer = trainer
        return trainer, callback

    def evaluated(self, trainer: Any, prepared: Prepared, done: Finetuned) -> Finetuned:
        """Return the end of a run as it is: its last validation is in it."""
        return done

    def write_model(self, model: Any, prepared: Prepared, folder: Path) -> None:
        """Write the folder for transformers."""
        write_model(model, prepared.base, folder)
        prepared.vocabulary.write(folder)

    def command(self, ir: Path, settings: Settings) -> str:
        """Return the command that runs the IR."""
        return demo_command(ir, settings.sample_prompt)
