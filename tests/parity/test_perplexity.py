"""Our perplexities against transformers', by an implementation of both protocols that shares no code with ours.

Needs PyTorch and transformers, which `make test` does not install and .ci/run does.
"""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

import gpt2_recipe
from support import DATA
from support.toy import Toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("torch", "transformers")

HELDOUT = DATA / "gpt-2-mini/heldout.txt"
TEXT = "the rats ate the hay; so did another one.\nIn the end nothing is said of it, or so. \n\n" * 3


class Theirs:
    """A checkpoint and its tokenizer as transformers loads them."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = transformers.GPT2Tokenizer(
            vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), add_prefix_space=False
        )

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def loss(self, ids: list[int], labels: list[int]) -> float:
        """The mean over the labels that are not -100, the first being shifted away."""
        with torch.inference_mode():
            return float(self.model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss)

    def omz(self, ids: list[int], context: int, limit: int) -> float:
        """Return exp of the mean of the means of disjoint windows."""
        starts = range(0, len(ids) - context + 1, context)[:limit]
        means = [self.loss(ids[start : start + context], ids[start : start + context]) for start in starts]
        return float(np.exp(np.mean(means)))

    def strided(self, ids: list[int], context: int, stride: int, limit: int) -> float:
        """Return what the loop of Hugging Face's documentation gives, as the mean over all labels that count."""
        total, count, previous = 0.0, 0, 0
        for begin in list(range(0, len(ids), stride))[:limit]:
            end = min(begin + context, len(ids))
            window = ids[begin:end]
            labels = [-100] * (len(window) - (end - previous)) + window[len(window) - (end - previous) :]
            counted = sum(label != -100 for label in labels[1:])
            if counted:
                total += self.loss(window, labels) * counted
                count += counted
            previous = end
            if end == len(ids):
                break
        return float(np.exp(total / count))


@pytest.fixture(scope="module", params=["toy", "gpt-2-mini"])
def pair(request, tmp_path_factory):
    """Return transformers' model, our FP32 IR of it, a text, a context and how many windows are compared."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "toy":
        checkpoint = Toy(n_positions=16).write(folder)
        text, context, limit = folder / "x.txt", 16, 1000
        text.write_text(TEXT, encoding="utf-8", newline="")
    else:
        checkpoint = Path(str(files("omz_models"))) / "public/gpt-2-mini"
        text, context, limit = HELDOUT, 512, 4
    ir = folder / "ir/model.xml"
    ir.parent.mkdir()
    ov.save_model(gpt2_recipe.convert(checkpoint).model, ir, compress_to_fp16=False)
    for name in ("vocab.json", "merges.txt"):
        (ir.parent / name).write_bytes((checkpoint / name).read_bytes())
    return Theirs(checkpoint), ir, text, context, limit


def ours(run, ir: Path, text: Path, *arguments) -> dict:
    done = run("gpt2_evaluate", "perplexity", "-m", ir, "--text", text, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def test_open_model_zoos_protocol(run, pair):
    theirs, ir, text, context, limit = pair
    ids = theirs.encode(text.read_bytes().decode())
    said = ours(run, ir, text, "--limit", limit)
    assert said["tokens"] == len(ids)
    assert said["perplexity"] == pytest.approx(theirs.omz(ids, context, limit), rel=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("part", [1, 2, 5])
def test_hugging_faces_protocol(run, pair, part, batch):
    theirs, ir, text, context, limit = pair
    stride = context // part
    ids = theirs.encode(text.read_bytes().decode())
    said = ours(run, ir, text, "--method", "strided", "--stride", stride, "--limit", limit, "--batch", batch)
    assert said["stride"] == stride
    assert said["perplexity"] == pytest.approx(theirs.strided(ids, context, stride, limit), rel=1e-4)


def test_the_first_token_after_the_start_token(run, pair):
    """The whole text as one row, of which transformers scores all but the start token."""
    theirs, ir, text, context, _ = pair
    short = ir.parent / "short.txt"
    short.write_bytes(text.read_bytes()[:12])
    ids = [theirs.model.config.eos_token_id, *theirs.encode(short.read_text())]  # both models' texts start so
    assert len(ids) <= context
    said = ours(run, ir, short, "--method", "strided", "--add_start_token")
    assert (said["start_token"], said["tokens_scored"]) == (ids[0], len(ids) - 1)
    assert said["perplexity"] == pytest.approx(np.exp(theirs.loss(ids, ids)), rel=1e-4)
