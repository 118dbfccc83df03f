"""Open Model Zoo's accuracy-check.yml, as far as language models need it: data sets, metrics and their references.

Open Model Zoo divides perplexity by 100, in references too. Anything unknown is refused, not ignored.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omz_model_tools.common import read_file
from omz_model_tools.descriptor import schema, strict_yaml

LAUNCHERS = ("dlsdk", "openvino")
"""Open Model Zoo's two names for OpenVINO."""
ADAPTERS = ("common_language_modeling",)
CONVERTERS = ("wikitext2raw",)
READERS = ("annotation_features_extractor",)
METRICS = ("perplexity",)

SCALE = 100
DEFAULT_ABS_THRESHOLD = 0.0001
"""Of a config without thresholds: the last digit that Open Model Zoo prints, 0.01 of a perplexity."""


@dataclass(frozen=True)
class DatasetSource:
    """The text of a data set and its tokenizer, as paths relative to -s, and the tokens of a window."""

    testing_file: str
    vocab_file: str
    merges_file: str
    max_seq_length: int


DEFINITIONS = {
    "WikiText_2_raw_gpt2": DatasetSource(
        "wikitext-2-raw/wiki.test.raw", "gpt2/gpt2-vocab.json", "gpt2/gpt2-merges.txt", 1024
    )
}
"""From Open Model Zoo's data/dataset_definitions.yml, for a config that gives only the name of a data set."""


@dataclass(frozen=True)
class Metric:
    """A metric with its reference and thresholds; None: not in the config."""

    name: str
    kind: str
    reference: float | None = None
    abs_threshold: float | None = None
    rel_threshold: float | None = None

    def difference(self, value: float) -> float | None:
        """Return the value minus the reference."""
        return None if self.reference is None else value - self.reference

    def passes(self, value: float) -> bool | None:
        """Return whether a value is within all thresholds of the reference; None without a reference."""
        if self.reference is None:
            return None
        error, limits = abs(value - self.reference), []
        if self.abs_threshold is not None:
            limits.append(self.abs_threshold)
        if self.rel_threshold is not None:
            limits.append(self.rel_threshold * abs(self.reference))
        return all(error <= limit for limit in limits or [DEFAULT_ABS_THRESHOLD])


@dataclass(frozen=True)
class Check:
    """One model on one data set."""

    model: str
    framework: str
    dataset: str
    source: DatasetSource
    metrics: tuple[Metric, ...]


def read_config(
    path: Path, frameworks: Collection[str] = (), definitions: Mapping[str, DatasetSource] = DEFINITIONS
) -> list[Check]:
    """Read a config; frameworks: only launchers of these, if any.

    definitions: of data sets of which the config gives only the name.
    Raises Problem, naming the place in the file, for anything invalid or unknown.
    """
    place, value = _read(path)
    schema.fields(place, value, ("models",))
    found = [
        check
        for at, model in schema.items(place, "models", value["models"])
        for check in _model(at, model, frameworks, definitions)
    ]
    if not found:
        missing = f"launcher of the framework {' or '.join(frameworks)}" if frameworks else "model"
        raise place.problem(f"expected at least one {missing}, got none")
    return found


def read_definitions(path: Path) -> dict[str, DatasetSource]:
    """Return the data sets that can be read of a file such as Open Model Zoo's data/dataset_definitions.yml, by name.

    Raises Problem, naming the place in the file, for a broken file, and for one of the data sets that is broken.
    """
    place, value = _read(path)
    if not isinstance(value, strict_yaml.Mapping):
        raise place.expected("a mapping", value)
    found = {}
    for at, dataset in schema.items(place, "datasets", value.get("datasets")):
        conversion = dataset.get("annotation_conversion") if isinstance(dataset, strict_yaml.Mapping) else None
        if isinstance(conversion, strict_yaml.Mapping) and conversion.get("converter") in CONVERTERS:
            name = schema.text(at.key("name"), dataset.get("name"))
            found[name] = _source(at.key("annotation_conversion"), conversion)
    return found


def _read(path: Path) -> tuple[schema.Location, Any]:
    raw = read_file(path, strict_yaml.MOST_BYTES + 1)
    return schema.Location((str(path),)), strict_yaml.parse(raw, str(path))


def _model(
    place: schema.Location, value: Any, only: Collection[str], definitions: Mapping[str, DatasetSource]
) -> Iterator[Check]:
    schema.fields(place, value, ("name", "launchers", "datasets"))
    name = schema.text(place.key("name"), value["name"])
    frameworks = [
        _launcher(at, launcher, only) for at, launcher in schema.items(place, "launchers", value["launchers"])
    ]
    datasets = [
        _dataset(at, dataset, definitions) for at, dataset in schema.items(place, "datasets", value["datasets"])
    ]
    for known in filter(None, frameworks):
        for dataset, source, metrics in datasets:
            yield Check(name, known, dataset, source, metrics)


def _launcher(place: schema.Location, value: Any, only: Collection[str]) -> str | None:
    """Return the framework, or None if only others are requested."""
    got = value.get("framework") if isinstance(value, strict_yaml.Mapping) else None
    if only and isinstance(got, str) and got not in only:
        return None
    known = schema.one_of(place.key("framework"), got, LAUNCHERS)
    schema.fields(place, value, ("framework",), ("adapter", "inputs", "allow_reshape_input"))
    if "adapter" in value:
        at, adapter = place.key("adapter"), value["adapter"]
        if isinstance(adapter, strict_yaml.Mapping):
            schema.fields(at, adapter, ("type",), ("logits_output",))
            at, adapter = at.key("type"), adapter["type"]
        schema.one_of(at, adapter, ADAPTERS)
    return known


def _dataset(
    place: schema.Location, value: Any, definitions: Mapping[str, DatasetSource]
) -> tuple[str, DatasetSource, tuple[Metric, ...]]:
    schema.fields(place, value, ("name", "metrics"), ("data_source", "annotation_conversion", "reader"))
    name = schema.text(place.key("name"), value["name"])
    if "reader" in value:
        at = place.key("reader")
        reader = schema.fields(at, value["reader"], ("type",), ("features",))
        schema.one_of(at.key("type"), reader["type"], READERS)
    if "annotation_conversion" in value:
        source = _source(place.key("annotation_conversion"), value["annotation_conversion"])
    else:
        source = definitions[schema.one_of(place.key("name"), name, definitions)]
    metrics = tuple(_metric(at, metric) for at, metric in schema.items(place, "metrics", value["metrics"]))
    if not metrics:
        raise place.key("metrics").expected("at least one metric", value["metrics"])
    return name, source, metrics


def _source(place: schema.Location, value: Any) -> DatasetSource:
    files = ("testing_file", "vocab_file", "merges_file")
    schema.fields(place, value, ("converter", *files, "max_seq_length"))
    schema.one_of(place.key("converter"), value["converter"], CONVERTERS)
    testing, vocab, merges = (schema.text(place.key(name), value[name]) for name in files)
    return DatasetSource(testing, vocab, merges, schema.integer(place.key("max_seq_length"), value["max_seq_length"]))


def _metric(place: schema.Location, value: Any) -> Metric:
    kind = schema.one_of(
        place.key("type"), value.get("type") if isinstance(value, strict_yaml.Mapping) else value, METRICS
    )
    numbers = ("reference", "abs_threshold", "rel_threshold")
    schema.fields(place, value, ("type",), ("name", *numbers))
    name = schema.text(place.key("name"), value.get("name", kind))
    given = {number: schema.number(place.key(number), value[number]) for number in numbers if number in value}
    return Metric(name, kind, **given)
