"""The classifier that is trained: a language model with a new head for the labels, or a classifier to go on from."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.classification.examples import listed
from gpt2_tools.finetune.classification.labels import sort_labels
from gpt2_tools.finetune.data.vocabulary import CONFIG, TOKENIZER, Vocabulary
from gpt2_tools.finetune.model import Base, checkpoint_files, find_base, folder_of, load_model
from gpt2_tools.finetune.settings import Settings
from omz_model_tools.common import one_line

CLASSIFIER = "GPT2ForSequenceClassification"
WEIGHTS, SCORE = "model.safetensors", "score.weight"
SPECIAL_TOKENS = "special_tokens_map.json"
SMALL_FILES = (".json", ".txt")


@dataclass(frozen=True)
class Head:
    """What a classifier's folder has beside a language model's: the labels in the order of their ids, and the pad."""

    path: Path  # of the weights
    labels: list[str]
    pad: int | None

    @property
    def is_unnamed(self) -> bool:
        """Whether its labels have transformers' default names, which say nothing."""
        return self.labels == [f"LABEL_{i}" for i in range(len(self.labels))]


@dataclass(frozen=True)
class ClassifierBase(Base):
    """What is trained on; head: of a classifier to go on from."""

    head: Head | None = None


def find_classifier_base(settings: Settings, stack: ExitStack) -> ClassifierBase:
    """Return what --model names, a language model or a classifier."""
    folder = folder_of(str(settings.model), stack)
    head = _read_head(folder)
    if head is None:
        base = find_base(replace(settings, model=str(folder)), stack)
        return ClassifierBase(base.config, base.dropouts, base.folder, base.files)
    base = find_base(replace(settings, model=str(_without_head(folder, head.path, stack))), stack)
    return ClassifierBase(base.config, base.dropouts, base.folder, checkpoint_files(folder, head.path), head)


def _read_head(folder: Path) -> Head | None:
    """Return the head of a classifier; None for another model. Raises Problem for one that does not fit its labels."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError):  # which is told when the model is read
        return None
    if not isinstance(config, dict) or CLASSIFIER not in (config.get("architectures") or ()):
        return None
    names = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # transformers' default
    try:
        labels = [names[str(i)] for i in range(len(names))]
    except (KeyError, TypeError):
        labels = [None]
    if not all(isinstance(label, str) for label in labels):
        raise Problem(
            f'{path}: "id2label": expected a label for each id from 0, got {one_line(json.dumps(names))[:80]}'
        )
    rows = _score_rows(folder / WEIGHTS)
    if rows != len(labels):
        raise Problem(f"{folder / WEIGHTS}: its {SCORE} has {rows} rows; expected {len(labels)}, as {path} has labels")
    pad = config.get("pad_token_id")
    return Head(folder / WEIGHTS, labels, pad if type(pad) is int else None)


def _score_rows(path: Path) -> int:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(path, "np") as file:
            return int(file.get_slice(SCORE).get_shape()[0])
    except (OSError, SafetensorError) as error:
        raise Problem(f"{path}: expected the weights of a {CLASSIFIER}: {one_line(error)[:100]}") from None


def _without_head(folder: Path, weights: Path, stack: ExitStack) -> Path:
    """Return a folder with the classifier's language model, which exists until the stack ends."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    new = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpt2_finetune-")))
    for file in folder.iterdir():
        if file.suffix in SMALL_FILES and file.is_file() and not file.name.endswith(".index.json"):
            shutil.copyfile(file, new / file.name)
    config = json.loads((folder / "config.json").read_bytes()) | {"architectures": ["GPT2LMHeadModel"]}
    (new / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(weights)
    tensors.pop(SCORE)
    save_file(tensors, new / WEIGHTS, {"format": "pt"})
    return new


def in_order(labels: Sequence[str], head: Head | None, dataset: Path) -> list[str]:
    """Return the labels of the data in the order of the model's outputs.

    Raises Problem if they are not those of the classifier to go on from; where that has transformers' default names,
    their number counts.
    """
    if head is None or (head.is_unnamed and len(head.labels) == len(labels)):
        return sort_labels(labels)
    if set(head.labels) != set(labels):
        raise Problem(
            f"--model: {head.path} has {len(head.labels)} labels: {listed(head.labels)}; {dataset} has {len(labels)}: "
            f"{listed(sort_labels(labels))}; expected the same; to begin with a new head give the language model"
        )
    return head.labels


def pad_of(vocabulary: Vocabulary, base: ClassifierBase) -> int:
    """Return the token that fills a batch: the classifier's own, else the tokenizer's, else the end of a text.

    Raises Problem for one that is named and not there.
    """
    own = None if base.head is None else base.head.pad
    name, pad = _named_pad(vocabulary) if own is None else ("pad_token_id", own)
    if pad is None:
        raise Problem(
            "--model: has neither a pad token nor one that ends a text; name one as eos_token in its "
            f"{CONFIG} or as eos_token_id in its config.json"
        )
    if not 0 <= pad < base.config.vocab_size:
        raise Problem(f"--model: its pad token {name} has the id {pad}; the model has {base.config.vocab_size} tokens")
    return pad


def _named_pad(vocabulary: Vocabulary) -> tuple[str, int | None]:
    """Return the pad token of the tokenizer's files, and its id; without one the token that ends a text."""
    for name in (CONFIG, SPECIAL_TOKENS):
        named = json.loads(vocabulary.files.get(name, b"{}")).get("pad_token")
        token = named.get("content") if isinstance(named, dict) else named
        if token is not None:
            found = vocabulary.id_of(str(token))
            if found is None:
                raise Problem(
                    f"--model: its {name} names the pad token {one_line(token)[:40]!r}, which {TOKENIZER} has not; "
                    "add it there and a row for it to the embedding, or take the name out"
                )
            return one_line(token), found
    return "eos", vocabulary.end


def load_classifier(base: ClassifierBase, seed: int, labels: Sequence[str], pad: int) -> Any:
    """Return the model: the head is new, from the seed, or that of the classifier to go on from."""
    from safetensors.torch import load_file  # noqa: PLC0415

    model = load_model(
        base,
        seed,
        CLASSIFIER,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        pad_token_id=pad,
        problem_type="single_label_classification",
    )
    if base.head is not None:
        model.score.weight.data.copy_(load_file(base.head.path)[SCORE])
    return model


def with_pad(vocabulary: Vocabulary, pad: int) -> Vocabulary:
    """Return the tokenizer with the pad token named, which transformers' pipelines need for batches."""
    config = json.loads(vocabulary.files.get(CONFIG, b"{}"))
    token = vocabulary.token_of(pad)
    if token is None:  # a row that only fills up the embedding
        return vocabulary
    config = {"tokenizer_class": "GPT2Tokenizer", **config, "pad_token": token}
    return replace(vocabulary, files=vocabulary.files | {CONFIG: json.dumps(config, indent=2).encode()})
