"""The device that a model runs on, and its properties: named by the user, or chosen for the CPU and the use."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import openvino as ov

PRECISION_HINTS = ("auto", "f32", "bf16", "f16", "device")
INFERENCE, CACHE, GROUP = "INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE"
ARITHMETIC = (INFERENCE, CACHE, GROUP)
"""The properties that the text depends on."""
OF_OTHERS = ("AUTO", "MULTI", "HETERO")
"""Devices that run the model on others, each with properties of its own."""
LONG_PROMPT = 8
"""A prompt with more tokens than this for each new one is long: bf16 saves 0.25 ms of each and costs up to 2 ms of each
new one, where float weights run a single row (docs/benchmark.md)."""
QUANTIZED = {"i8", "u8", "i4", "u4"}
"""Types of quantized weights."""


class Arithmetic(NamedTuple):
    """How a CPU computes. group: of dynamic quantization, which quantized weights alone have; None: OpenVINO's own."""

    inference: str
    cache: str = "f16"  # more exact than OpenVINO's default of u8, and faster after a long text
    group: int | None = None

    def properties(self) -> dict[str, Any]:
        """Return it as properties of the CPU."""
        return {INFERENCE: self.inference, CACHE: self.cache} | ({} if self.group is None else {GROUP: self.group})


class Weights(NamedTuple):
    """Whether weights are quantized, and how many share a scale; None: a whole channel."""

    is_quantized: bool
    group: int | None = None


class Choice(NamedTuple):
    """A row of AUTO: the case, the arithmetic that is chosen for it, and what that costs.

    single_row: one short text at a time, rather than several at once or a long prompt; None: either. kl: mean
    divergence in nats from f32 without dynamic quantization, on the same weights and gpt-2-mini's held-out text; what
    the cache adds is not in it.
    """

    has_bf16: bool
    is_quantized: bool
    single_row: bool | None
    arithmetic: Arithmetic
    kl: float


MOST_KL = 5e-4
"""A choice that costs more does not count, however fast it is."""
AUTO = (
    # Without instructions for bf16 (AVX2, AVX-512) a CPU emulates it, many times slower.
    Choice(has_bf16=False, is_quantized=False, single_row=None, arithmetic=Arithmetic("f32"), kl=0.0),
    # Against OpenVINO's groups of 32 a prompt is 1.2 to 1.3 times as fast, several rows 1.1 to 1.2 times, one row as
    # fast (AVX-512 with VNNI).
    Choice(has_bf16=False, is_quantized=True, single_row=None, arithmetic=Arithmetic("f32", "f16", 128), kl=3.1e-4),
    # One row in bf16 is 0.77 to 1.04 times as fast as in f32: weights of an FP16 IR are read in 16 bits either way.
    Choice(has_bf16=True, is_quantized=False, single_row=True, arithmetic=Arithmetic("f32"), kl=0.0),
    # Several rows 1.9 times as fast, a prompt 1.8 to 2.0 times.
    Choice(has_bf16=True, is_quantized=False, single_row=False, arithmetic=Arithmetic("bf16", "bf16"), kl=1.6e-4),
    # Several rows 1.1 to 1.2 times as fast, a prompt 1.3 to 1.4 times, one row as fast.
    Choice(has_bf16=True, is_quantized=True, single_row=None, arithmetic=Arithmetic("bf16", "bf16", 128), kl=4.6e-4),
)
"""What "auto" chooses on a CPU; a group is never larger than the weights' own, or the CPU quantizes nothing and is a
third slower. docs/benchmark.md has the measurements: machine, date, command."""


@dataclass(frozen=True)
class DeviceConfig:
    """A device, and what its user asks of it.

    precision_hint: "auto" chooses inference precision, cache precision and group size on a CPU by AUTO, and leaves
    them to any other device; "device" leaves them to every device. Any other names the inference precision, and a CPU
    keeps its cache in f16. cache_precision: instead of that. num_threads: None leaves them to the device.
    properties: OpenVINO's, by name; they count before all others, and an INFERENCE_PRECISION_HINT among them as if it
    were precision_hint. single_row: see Choice.
    A CPU behind AUTO, MULTI or HETERO is given the same.
    """

    device: str = "CPU"
    precision_hint: str = "auto"
    num_threads: int | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    cache_precision: str | None = None
    single_row: bool = False

    def resolved(self, core: "ov.Core", weights: Weights) -> dict[str, Any]:
        """Return the properties of the device for a model of such weights."""
        name, hint = self.device.partition(":")[0], str(self.properties.get(INFERENCE, self.precision_hint))
        is_cpu = name.startswith("CPU")
        threads = {} if self.num_threads is None else {"INFERENCE_NUM_THREADS": self.num_threads}
        if hint == "device" or not (is_cpu or name in OF_OTHERS):
            named = {} if hint in ("auto", "device") else {INFERENCE: hint}
            return {**named, **threads, **self.properties}
        arithmetic = chosen(has_bf16(core), weights, self.single_row) if hint == "auto" else Arithmetic(hint)
        if self.cache_precision is not None:
            arithmetic = arithmetic._replace(cache=self.cache_precision)
        of_cpu = arithmetic.properties()
        if is_cpu:
            return {**of_cpu, **threads, **self.properties}
        # A property for one device counts before the same one for all, so that what is given must be given alone.
        of_cpu = {key: value for key, value in of_cpu.items() if key not in self.properties}
        of_all = {} if hint == "auto" else {INFERENCE: hint}
        return {**of_all, "DEVICE_PROPERTIES": {"CPU": of_cpu}, **threads, **self.properties}


def is_short(prompt_tokens: float, new_tokens: int) -> bool:
    """Return whether a prompt is short beside the tokens after it."""
    return prompt_tokens <= LONG_PROMPT * new_tokens


def chosen(has_bf16: bool, weights: Weights, single_row: bool) -> Arithmetic:
    """Return the arithmetic that AUTO has for a case."""
    rows = (row for row in AUTO if (row.has_bf16, row.is_quantized) == (has_bf16, weights.is_quantized))
    arithmetic = next(row.arithmetic for row in rows if row.single_row in (None, single_row))
    if arithmetic.group is None or weights.group is None:
        return arithmetic
    return arithmetic._replace(group=min(arithmetic.group, weights.group))


def has_bf16(core: "ov.Core") -> bool:
    """Return whether the CPU has instructions for bf16."""
    try:
        return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except RuntimeError:  # OpenVINO has no CPU here
        return False


def weights_of(model: "ov.Model") -> Weights:
    """Return what the weights of a model that was read from disk are."""
    constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    quantized = (op for op in constants if op.get_element_type().get_type_name() in QUANTIZED)
    shapes = [op.shape for op in quantized if _is_widened(op)]
    # In groups: [out, groups, group], with scales and zero points of [out, groups, 1].
    groups = [shape[-1] for shape in shapes if len(shape) == 3 and shape[-1] > 1]
    return Weights(bool(shapes), min(groups, default=None))


def _is_widened(constant: Any) -> bool:
    """Return whether a constant is widened, and shifted or scaled: no mask of an ONNX file, which is u8 too."""
    converts = [port.get_node() for port in constant.output(0).get_target_inputs()]
    after = [port.get_node() for node in converts for port in node.output(0).get_target_inputs()]
    return any(node.get_type_name() in ("Multiply", "Subtract") for node in after)


def with_own_cache_dir(device: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties with a CACHE_DIR for these alone, below the one that is given.

    OpenVINO names a compiled model by its graph and weights, not by most properties; one that was compiled for f32
    ends the process when it is loaded for bf16 (2026.4, of a static shape).
    """
    folder = config.get("CACHE_DIR")
    if not folder:
        return dict(config)
    properties = {name: str(value) for name, value in config.items() if name != "CACHE_DIR"}
    digest = hashlib.sha256(json.dumps([device, properties], sort_keys=True).encode()).hexdigest()
    return {**config, "CACHE_DIR": str(Path(folder) / digest[:16])}
