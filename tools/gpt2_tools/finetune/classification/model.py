"""The classifier that is trained: a language model with a new head for the labels, or a classifier to go on from."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt2_recipe import match_weights, open_checkpoint
from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.classification.examples import listed
from gpt2_tools.finetune.classification.labels import sort_labels
from gpt2_tools.finetune.data.vocabulary import CONFIG, TOKENIZER, Vocabulary
from gpt2_tools.finetune.model import Base, load_model
from omz_model_tools.common import one_line

CLASSIFIER = "GPT2ForSequenceClassification"
SPECIAL_TOKENS = "special_tokens_map.json"


def check_classifier(base: Base) -> None:
    """Raise Problem, before any work, for a classifier that cannot go on."""
    if base.config.classification is None or base.folder is None:
        return
    if base.config.classification.multi_label:
        raise Problem(f"--model: {base.folder} gives each label a probability of its own; expected one label a text")
    source = open_checkpoint(base.folder, any_task=True)
    match_weights(source.path, source.tensors, source.config)


def in_order(labels: Sequence[str], base: Base, dataset: Path) -> list[str]:
    """Return the labels of the data in the order of the model's outputs.

    Raises Problem if they are not those of the classifier to go on from; where that has transformers' default names,
    their number counts.
    """
    if base.config.classification is None:
        return sort_labels(labels)
    known = list(base.config.classification.labels)
    if known == [f"LABEL_{i}" for i in range(len(labels))]:
        return sort_labels(labels)
    if set(known) != set(labels):
        raise Problem(
            f"--model: {base.folder} has {len(known)} labels: {listed(known)}; {dataset} has {len(labels)}: "
            f"{listed(sort_labels(labels))}; expected the same; to begin with a new head give the language model"
        )
    return known


def pad_of(vocabulary: Vocabulary, base: Base) -> int:
    """Return the token that fills a batch: the classifier's own, else the tokenizer's, else the end of a text.

    Raises Problem for one that is named and not there.
    """
    own = None if base.config.classification is None else base.config.classification.pad_token_id
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


def load_classifier(base: Base, seed: int, labels: Sequence[str], pad: int) -> Any:
    """Return the model: the head is new, from the seed, or that of the classifier to go on from."""
    return load_model(
        base,
        seed,
        CLASSIFIER,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        pad_token_id=pad,
        problem_type="single_label_classification",
    )


def with_pad(vocabulary: Vocabulary, pad: int) -> Vocabulary:
    """Return the tokenizer with the pad token named, which transformers' pipelines need for batches."""
    config = json.loads(vocabulary.files.get(CONFIG, b"{}"))
    token = vocabulary.token_of(pad)
    if token is None:  # a row that only fills up the embedding
        return vocabulary
    config = {"tokenizer_class": "GPT2Tokenizer", **config, "pad_token": token}
    return replace(vocabulary, files=vocabulary.files | {CONFIG: json.dumps(config, indent=2).encode()})
