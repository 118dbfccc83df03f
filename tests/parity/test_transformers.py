"""Our graph, cache and engine against transformers' GPT2LMHeadModel at full size, in exact mode (f32, f32 cache).

Needs PyTorch and transformers, which `make test` does not install and .ci/run does.
"""

from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

import gpt2_recipe
from gpt2_text_prediction.engine.engine import load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from gpt2_tools.benchmark.random_checkpoint import make_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("torch", "transformers")

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
LARGEST_DIFFERENCE = 1e-4


class Pair:
    """One checkpoint, in transformers and as our FP32 IR."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self.theirs = transformers.GPT2LMHeadModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.config = gpt2_recipe.read_config(checkpoint / "config.json")
        self.ir = folder / "model.xml"
        ov.save_model(gpt2_recipe.convert(checkpoint).model, self.ir, compress_to_fp16=False)

    def tokens(self, rows: int, length: int) -> np.ndarray:
        return np.random.default_rng(1).integers(0, self.config.vocab_size, (rows, length))

    def their_logits(self, ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.theirs(torch.from_numpy(ids)).logits.numpy()


@pytest.fixture(scope="module", params=["gpt-2", "distilgpt2", "gpt-2-mini"])
def pair(request, tmp_path_factory):
    """Return random weights of two sizes, and the real weights of the embedded model."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "gpt-2-mini":
        return Pair(Path(str(files("omz_models"))) / "public/gpt-2-mini", folder)
    make_checkpoint(folder / "checkpoint", request.param)
    return Pair(folder / "checkpoint", folder)


def test_logits_of_a_batch_and_of_all_positions(pair):
    compiled = ov.Core().compile_model(pair.ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for shape in ((2, 200), (1, pair.config.n_positions)):
        ids = pair.tokens(*shape)
        difference = np.abs(compiled({"input": ids})["output"] - pair.their_logits(ids)).max()
        print(f"{shape}: max |difference| {difference:.2e}")
        assert difference <= LARGEST_DIFFERENCE


def test_greedy_continuation_through_the_cache(pair):
    prompt = pair.tokens(1, 32)
    with torch.inference_mode():
        theirs = pair.theirs.generate(
            torch.from_numpy(prompt), max_new_tokens=64, min_new_tokens=64, do_sample=False, pad_token_id=0
        )[0, 32:].tolist()
    engine, cache = load_engine(pair.ir, config=EXACT), SequenceCache()
    ours, new = [], prompt[0].tolist()
    for _ in range(64):
        ((logits,),) = engine.step([StepInput(cache, new)])
        logits[list(pair.config.eos_token_ids)] = -np.inf  # what min_new_tokens does
        new = [int(logits.argmax())]
        ours += new
    assert engine.back_end.name == "stateful"
    assert ours == theirs


def test_every_block_has_one_fused_attention_with_its_cache(pair):
    engine = load_engine(pair.ir, config=EXACT)
    ops = engine.compiled.get_runtime_model().get_ops()
    kinds = Counter(op.get_rt_info()["layerType"].astype(str) for op in ops)
    assert kinds["ScaledDotProductAttention"] == pair.config.n_layer
    assert kinds["Softmax"] == 0
