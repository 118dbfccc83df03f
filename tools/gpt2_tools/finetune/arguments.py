"""gpt2_finetune's command line: its flags, with run_clm.py's and gpt-2-simple's names for them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt2_tools.finetune.settings import (
    CHOICES,
    CLASSIFICATION,
    DEFAULTS,
    EPOCHS,
    GENERATION,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULERS,
    VALIDATION_SPLIT,
    Settings,
)
from omz_model_tools.common import Parser, positive_int, whole_number

OTHER_NAMES = {
    "model_name_or_path": "model",  # run_clm.py
    "train_file": "dataset",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate_gradients",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_steps": "warmup",
    "save_steps": "save_every",
    "eval_steps": "eval_every",
    "label_column_name": "label_column",  # run_classification.py
    "max_seq_length": "block_size",
    "save_total_limit": "keep",
    "model_name": "model",  # gpt-2-simple
    "max_checkpoints": "keep",
}
"""Other programs' names of flags that mean the same."""


def parse(argv: Sequence[str] | None = None) -> tuple[Settings, bool]:
    """Return the settings, and whether only a dry run was asked for."""
    parser = build_argparser()
    args = parser.parse_args(argv)
    if args.dataset is None:  # which may come by another name
        parser.error("--dataset is required")
    return Settings(**{name: value for name, value in vars(args).items() if name in DEFAULTS}), args.dry_run


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="gpt2_finetune",
        description="Fine-tune a GPT-2 on a text, or train one from scratch; ends with a checkpoint for transformers "
        "and the IRs for the demo. The same command resumes a run that was stopped.",
    )
    _add_model(parser.add_argument_group("model"))
    _add_data(parser.add_argument_group("data"))
    _add_training(parser.add_argument_group("training"))
    _add_memory(parser.add_argument_group("time and memory"))
    _add_reports(parser.add_argument_group("reports while it trains"))
    _add_run(parser.add_argument_group("run folder"))
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    for other, name in OTHER_NAMES.items():
        action = flags[f"--{name}"]
        parser.add_argument(
            f"--{other}", dest=name, type=action.type or str, choices=action.choices, default=action.default,
            help=argparse.SUPPRESS,
        )  # fmt: skip
    return parser


Group = argparse._ArgumentGroup


def _add_model(group: Group) -> None:
    task = "generation: text is continued; classification: texts get labels (default: %(default)s)"
    group.add_argument("--task", choices=CHOICES["task"], default=DEFAULTS["task"], help=task)
    names = "a model of the zoo that omz_downloader has downloaded into this folder (gpt-2-mini needs none), such as "
    names += "gpt-2 or 124M, or the folder of a checkpoint of any kind that omz_converter --checkpoint reads"
    group.add_argument("--model", metavar="NAME|DIR", help=names)
    scratch = "train a new model: a size, such as gpt-2; layers x heads x width : vocabulary : positions; or its "
    scratch += "config.json"
    group.add_argument("--from_scratch", metavar="SIZE|LxHxD:V:P|FILE", help=scratch)
    size = "tokens of the byte-level BPE that --from_scratch trains (default: the size's)"
    group.add_argument("--vocab_size", type=positive_int, metavar="N", help=size)


def _add_data(group: Group) -> None:
    dataset = "required: a text file in UTF-8, a folder of .txt, a .csv, a .jsonl, or gpt-2-simple's .npz of tokens; "
    dataset += "to classify a .csv, .jsonl or .parquet"
    group.add_argument("--dataset", type=Path, metavar="PATH", help=dataset)
    column = "column of a .csv, field of a .jsonl, of the validation file too (default: the first; text); to classify "
    column += "also its number from 1 in a .csv without a header (default: text)"
    group.add_argument("--text_column", metavar="NAME|N", help=column)
    label = "column of the labels, likewise (default: label)"
    group.add_argument("--label_column", metavar="NAME|N", help=label)
    trained = "to classify, train on N texts at most: of each label its share, spread over the data (default: all)"
    group.add_argument("--max_train_samples", type=positive_int, metavar="N", help=trained)
    held = "validate on N texts at most, likewise (default: all that are held out)"
    group.add_argument("--max_eval_samples", type=positive_int, metavar="N", help=held)
    group.add_argument("--validation_file", type=Path, metavar="PATH", help="data set to validate on")
    split = "share of the documents to validate on, or of a single text its end; 0: none (default: "
    split += f"{VALIDATION_SPLIT[GENERATION]}; to classify {VALIDATION_SPLIT[CLASSIFICATION]} of each label's texts)"
    group.add_argument("--validation_split", type=float, metavar="SHARE", help=split)
    block = "tokens of a training sequence, to classify at most, from a text's beginning (default: the model's "
    block += "positions, at most 1024)"
    group.add_argument("--block_size", type=positive_int, metavar="N", help=block)


def _add_training(group: Group) -> None:
    steps = "train to step N in total, also after a resume"
    group.add_argument("--steps", type=positive_int, metavar="N", help=steps)
    group.add_argument("--epochs", type=float, metavar="N", help=f"passes over the data (default: {EPOCHS:g})")
    _add_number(group, "batch_size", "sequences computed at a time")
    _add_number(group, "accumulate_gradients", "batches of one step")
    rate = "peak learning rate (default: 5e-5; 1e-4 with --lora, 1e-3 from scratch, 2e-3 with muon)"
    group.add_argument("--learning_rate", type=float, metavar="R", help=rate)
    scheduler = "how the learning rate falls (default: %(default)s)"
    group.add_argument("--lr_scheduler", choices=SCHEDULERS, default=DEFAULTS["lr_scheduler"], help=scheduler)
    warmup = "steps of warm-up, or below 1 their share (default: 0)"
    group.add_argument("--warmup", type=float, default=DEFAULTS["warmup"], metavar="N", help=warmup)
    decay = "weight decay (default: 0; from scratch 0.1)"
    group.add_argument("--weight_decay", type=float, metavar="W", help=decay)
    clip = "clip gradients to this norm; 0: never (default: %(default)s)"
    group.add_argument("--max_grad_norm", type=float, default=DEFAULTS["max_grad_norm"], metavar="N", help=clip)
    optimizer = "adamw, or muon for the matrices of the blocks and adamw for the rest (default: %(default)s)"
    group.add_argument("--optimizer", choices=OPTIMIZERS, default=DEFAULTS["optimizer"], help=optimizer)
    layers = "train the blocks only, not the embeddings and the last layer norm"
    group.add_argument("--only_train_transformer_layers", action="store_true", help=layers)
    lora = "train LoRA adapters of rank R only, which are merged into the model at the end"
    group.add_argument("--lora", type=positive_int, metavar="R", help=lora)
    seed = "fixes the order of the data, dropout, samples and new weights (default: %(default)s)"
    group.add_argument("--seed", type=whole_number, default=DEFAULTS["seed"], metavar="N", help=seed)


def _add_memory(group: Group) -> None:
    dry = "count tokens and steps, measure some, and print time, memory and disk; nothing is kept"
    group.add_argument("--dry_run", action="store_true", help=dry)
    group.add_argument("--dry-run", dest="dry_run", action="store_true", help=argparse.SUPPRESS)
    precision = "arithmetic; auto: bf16 where the CPU has instructions for it, else f32 (default: %(default)s)"
    group.add_argument("--precision", choices=PRECISIONS, default=DEFAULTS["precision"], help=precision)
    less = "compute activations twice rather than keep them: less memory, a third more time"
    group.add_argument("--gradient_checkpointing", action="store_true", help=less)
    threads = "threads (default: PyTorch's)"
    group.add_argument("--threads", type=positive_int, metavar="N", help=threads)


def _add_reports(group: Group) -> None:
    _add_number(group, "eval_every", "steps between evaluations; 0: none")
    early = "stop after N evaluations without a better one, and end with the best"
    group.add_argument("--early_stopping", type=positive_int, metavar="N", help=early)
    _add_number(group, "sample_every", "steps between samples; 0: none")
    prompt = "text that samples continue (default: none)"
    group.add_argument("--sample_prompt", default=DEFAULTS["sample_prompt"], metavar="TEXT", help=prompt)


def _add_run(group: Group) -> None:
    group.add_argument(
        "--checkpoint_dir", type=Path, default=DEFAULTS["checkpoint_dir"], metavar="DIR",
        help="folder of all runs (default: %(default)s)",
    )  # fmt: skip
    name = "folder of this run, and name of its IRs (default: %(default)s)"
    group.add_argument("--run_name", default=DEFAULTS["run_name"], metavar="NAME", help=name)
    _add_number(group, "save_every", "steps between checkpoints")
    _add_number(group, "keep", "latest checkpoints that are kept")
    restore = "latest: the run's last checkpoint, if it has one; fresh: the model itself; or a checkpoint of the run "
    restore += "(default: %(default)s)"
    group.add_argument("--restore_from", default=DEFAULTS["restore_from"], metavar="latest|fresh|DIR", help=restore)
    overwrite = "delete what is later than the step that is restored: checkpoints, samples, a finished model"
    group.add_argument("--overwrite", action="store_true", help=overwrite)


def _add_number(group: Group, name: str, words: str) -> None:
    kind = whole_number if name in ("eval_every", "sample_every") else positive_int
    group.add_argument(
        f"--{name}", type=kind, default=DEFAULTS[name], metavar="N", help=f"{words} (default: %(default)s)"
    )
