"""A whole run: the data and the model of its settings, trained from where it stands, and published."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt2_text_prediction.engine import has_bf16
from gpt2_tools.common.problem import Problem, one_problem
from gpt2_tools.common.runtime import installed
from gpt2_tools.finetune.callback import Steps, Stop, stopped_by_signals
from gpt2_tools.finetune.classification import Classification
from gpt2_tools.finetune.data.tokens import Source, texts_of
from gpt2_tools.finetune.data.vocabulary import Vocabulary, of_checkpoint, read, trained
from gpt2_tools.finetune.generation import Generation
from gpt2_tools.finetune.log import LOG, read_log
from gpt2_tools.finetune.model import Base
from gpt2_tools.finetune.plot import draw_losses
from gpt2_tools.finetune.publish import publish_irs, publish_model
from gpt2_tools.finetune.run_folder import STATE, TOKENIZER, TOKENS, Checkpoint, RunFolder
from gpt2_tools.finetune.settings import CLASSIFICATION, EPOCHS, Settings
from gpt2_tools.finetune.task import Finetuned, Prepared, Task
from gpt2_tools.finetune.trainer import Plan, worse_evaluations
from omz_model_tools.common import PublishedFolder, disk_problems, say

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "matplotlib")
INSTALL = "pip install 'omz-gpt2[finetune]' --extra-index-url https://download.pytorch.org/whl/cpu"
MOST_BLOCK = 1024


def task_of(settings: Settings) -> Task:
    """Return the task that --task names."""
    return Classification() if settings.task == CLASSIFICATION else Generation()


def finetune(dataset: Path | str, **settings: Any) -> Finetuned:
    """Fine-tune a model on a text, as gpt2_finetune does; the settings are its flags, by name.

    A run that was stopped is resumed. Raises Problem for what the user can fix.
    """
    with one_problem():
        return run(Settings(Path(dataset), **settings))


def require_libraries(is_installed: Callable[[str], bool] = installed) -> None:
    """Raise Problem, with the `pip install`, if a library is missing."""
    missing = [name for name in LIBRARIES if not is_installed(name)]
    if missing:
        raise Problem(f"gpt2_finetune: {', '.join(missing)} missing: {INSTALL}")


def run(settings: Settings) -> Finetuned:
    """Train to the end, or to a signal, and publish. Raises Problem."""
    require_libraries()
    process = start_libraries(settings)
    folder, task = RunFolder(settings.run_dir), task_of(settings)
    with ExitStack() as stack:
        named = (task.base(settings, stack), *task.sources(settings))
        if process.is_main_process:
            stack.enter_context(folder.locked())
        checkpoint, prepared, tokens = _by_first(process, lambda: _begin(task, settings, named, folder, process))
        settings = prepared.settings
        set_threads(settings)
        plan, data = task.plan(prepared, tokens, folder, folder.path / TOKENS)
        if process.is_main_process:
            say(task.about(prepared, tokens, plan, data))
        stop = Stop()
        trainer, callback = task.trained(prepared, plan, data, stop)
        with stopped_by_signals(stop):
            _train(trainer, callback, plan, checkpoint)
        done = _finish(task, trainer, prepared, plan, stop)
        del trainer, callback  # the converter needs the memory
        if done.model is None:
            return done
        return replace(done, ir=publish_irs(done.model, settings.run_name))


def start_libraries(settings: Settings) -> Any:
    """Silence what the libraries print, join other processes; return accelerate's PartialState."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import transformers  # noqa: PLC0415
    from accelerate import PartialState  # noqa: PLC0415

    talk: Any = transformers.logging
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    return PartialState(cpu=True)


def set_threads(settings: Settings) -> None:
    """Set PyTorch's threads to those of settings that are resolved."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(settings.threads or torch.get_num_threads())


def resolve(settings: Settings, base: Base, begun: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings with a value for each that was left to the machine, the model or another setting.

    begun: the settings of the run that is resumed, whose arithmetic goes on. Raises Problem where it cannot.
    """
    import torch  # noqa: PLC0415

    known = begun or {}
    return replace(
        settings,
        precision=_precision(settings, known.get("precision")),
        threads=settings.threads or known.get("threads") or torch.get_num_threads(),
        block_size=settings.block_size or min(MOST_BLOCK, base.config.n_positions),
        vocab_size=None if settings.from_scratch is None else base.config.vocab_size,
        validation_split=None if settings.validation_file is not None else settings.held_out_share,
        epochs=EPOCHS if settings.steps is None and settings.epochs is None else settings.epochs,
        learning_rate=settings.peak_learning_rate,
        weight_decay=settings.decay,
    )


def _precision(settings: Settings, begun: str | None) -> str:
    if settings.precision != "auto":
        return settings.precision
    if begun != "f32" and cpu_has_bf16():
        return "bf16"
    if begun == "bf16":
        raise Problem(
            f"--precision: {settings.run_dir} was begun in bf16, which this CPU has no instructions for; give "
            "--precision bf16 to go on many times slower, or another --run_name"
        )
    return "f32"


def prepare_vocabulary(settings: Settings, base: Base, source: Source, known: Path | None) -> tuple[Base, Vocabulary]:
    """Return the tokenizer, and the base with its size; known: the folder of one that this run has trained before."""
    if base.folder is not None:
        return base, of_checkpoint(base.folder)
    vocabulary = read(known) if known is not None else trained(texts_of(source), base.config.vocab_size)
    size = vocabulary.encoder().vocab_size
    if size < base.config.vocab_size and known is None:
        say(f"{settings.dataset}: has pairs for a vocabulary of {size} tokens, not {base.config.vocab_size}")
    return replace(base, config=replace(base.config, vocab_size=size)), vocabulary


def check_block(settings: Settings, base: Base) -> None:
    """Raise Problem if a block does not fit the model's positions."""
    positions = base.config.n_positions
    if settings.block_size is not None and settings.block_size > positions:
        raise Problem(f"--block_size: expected at most {positions}, the model's positions, got {settings.block_size}")


def _begin(
    task: Task, settings: Settings, named: tuple[Base, Source, Source | float], folder: RunFolder, process: Any
) -> tuple[Checkpoint | None, Prepared, Any]:
    """Decide where the run goes on, and write what every process reads; nothing is deleted before it is possible."""
    base, source, validation = named
    check_block(settings, base)
    checkpoint = folder.choose(settings)
    written, place = folder.path / TOKENIZER, folder.path / TOKENS
    known = written if checkpoint is not None and written.is_dir() else None
    begun = folder.facts() if checkpoint is not None else None
    settings = resolve(settings, base, None if begun is None else begun["settings"])
    base, vocabulary = prepare_vocabulary(settings, base, source, known)
    prepared = Prepared(settings, base, vocabulary, source, validation, process.num_processes)
    facts = prepared.facts()
    if checkpoint is not None:
        folder.check(facts)
        folder.require_whole(checkpoint)
    tokens = task.open(place) if checkpoint is not None else None
    with ExitStack() as stack:
        if tokens is None:
            place = stack.enter_context(PublishedFolder(place).replacing(0))
            tokens = task.write(place, prepared)
        vocabulary.encoder(base.config.vocab_size).encode_checked([settings.sample_prompt], "--sample_prompt")
        _refuse_fewer_steps(task.plan(prepared, tokens, folder, place)[0], checkpoint)
        folder.forget_after(0 if checkpoint is None else checkpoint.step)
    if known is None:
        with disk_problems(written):
            written.mkdir(exist_ok=True)
            vocabulary.write(written)
    folder.write_facts(facts)
    return checkpoint, prepared, tokens


def _by_first(process: Any, begin: Callable[[], Any]) -> Any:
    """Return what the first process begins with, in every process."""
    from accelerate.utils import broadcast_object_list  # noqa: PLC0415

    begun = [begin() if process.is_main_process else None]
    return broadcast_object_list(begun)[0] if process.num_processes > 1 else begun[0]


def cpu_has_bf16() -> bool:
    """Return whether the CPU has instructions for bf16; without them autocast is many times slower than f32."""
    import openvino  # noqa: PLC0415

    return has_bf16(openvino.Core())


def _train(trainer: Any, callback: Steps, plan: Plan, checkpoint: Checkpoint | None) -> None:
    """Train from a checkpoint, or from the beginning, unless the run is at its end."""
    settings, resumed = plan.settings, None if checkpoint is None else str(checkpoint.path)
    if checkpoint is not None:
        trainer.state = type(trainer.state).load_from_json(str(checkpoint.path / STATE))
        if trainer.forget_lost_best():
            say(f"{checkpoint.path}: its best evaluation's checkpoint is not there; the best is sought from here on")
        worse = worse_evaluations(trainer.state.log_history)
        is_over = settings.early_stopping is not None and worse >= settings.early_stopping
        if checkpoint.step == plan.steps or is_over:
            say(f"{checkpoint.path}: the run is at its end")
            trainer._load_from_checkpoint(resumed)
            return
        say(f"{checkpoint.path}: resumed at step {checkpoint.step} of {plan.steps}")
    elif trainer.eval_dataset is not None and settings.eval_every:
        trainer.args.eval_on_start = True
    try:
        trainer.train(resume_from_checkpoint=resumed)
    finally:
        callback.close()


def _refuse_fewer_steps(plan: Plan, checkpoint: Checkpoint | None) -> None:
    if checkpoint is not None and checkpoint.step > plan.steps:
        flag = "--epochs" if plan.settings.steps is None else "--steps"
        raise Problem(
            f"{flag}: {checkpoint.path} is at step {checkpoint.step}; expected that or more in total, got {plan.steps}"
        )


def _finish(task: Task, trainer: Any, prepared: Prepared, plan: Plan, stop: Stop) -> Finetuned:
    """Draw the losses, and publish the model unless a signal stopped the run."""
    settings, run_dir, state = plan.settings, plan.run.path, trainer.state
    best = state.best_global_step if settings.early_stopping else None
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    loss = losses.get(best) if best else next(reversed(losses.values()), None)
    done = Finetuned(run_dir, state.global_step, loss, signal=stop.signal)
    is_first = trainer.args.should_save
    if is_first:
        draw_losses(read_log(run_dir / LOG), run_dir.name, run_dir / "loss.png", task.unit)
    if stop.signal is not None and state.global_step < plan.steps:
        return done
    if best and best != state.global_step:
        kept = Checkpoint(run_dir / f"checkpoint-{best}", best)
        plan.run.require_whole(kept)
        trainer._load_from_checkpoint(str(kept.path))
    done = task.evaluated(trainer, prepared, replace(done, signal=None))
    if not is_first:
        return done
    model = publish_model(
        run_dir, lambda folder: task.write_model(trainer.model, prepared, folder), prepared.weight_bytes
    )
    return replace(done, model=model)
