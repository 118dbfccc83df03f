"""OpenAI's and gpt-2-simple's folders give the model that the same weights give in Hugging Face's form."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gpt2_recipe import Problem, convert
from support import DATA
from support.refusal import refused
from support.tf_bundle import write_bundle
from support.toy import Toy, assert_close, compiled

TINY = DATA / "openai-tiny"
TOY = Toy(n_head=3, masks=True)
PARAMETERS = {"ln_1": "g", "ln_2": "g", "ln_f": "g"}


def variables(toy: Toy) -> dict[str, np.ndarray]:
    """The toy's weights as openai/gpt-2's model.py names and shapes them."""
    found = {}
    for name, values in toy.state.items():
        *scopes, part, parameter = (
            ["h" + "".join(name.split(".")[1]), *name.split(".")[2:]] if name[0] == "h" else name.split(".")
        )
        path = "/".join(["model", *scopes, part])
        if part in ("wte", "wpe"):
            found[path] = values
        elif parameter == "bias":
            found[f"{path}/b"] = values
        else:
            found[f"{path}/{PARAMETERS.get(part, 'w')}"] = values if part in PARAMETERS else values[None]
    return found


def write_openai(folder: Path, toy: Toy = TOY, step: str = "model.ckpt", **added: np.ndarray) -> Path:
    """Write what OpenAI published of each model; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = toy.config
    names = {
        "n_vocab": "vocab_size",
        "n_ctx": "n_positions",
        "n_embd": "n_embd",
        "n_head": "n_head",
        "n_layer": "n_layer",
    }
    (folder / "hparams.json").write_text(json.dumps({ours: config[name] for ours, name in names.items()}))
    write_bundle(folder / step, variables(toy) | added)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{step}"\nall_model_checkpoint_paths: "{step}"\n')
    toy.write_vocabulary(folder)
    (folder / "vocab.json").rename(folder / "encoder.json")
    (folder / "merges.txt").rename(folder / "vocab.bpe")
    return folder


refusal = partial(refused, Problem, convert)


def check(folder: Path, toy: Toy = TOY) -> None:
    ids = [3, 1, 4, 1, 5]
    assert_close(compiled(convert(folder).model)([np.array([ids])])[0][0], toy.logits(ids))


def test_a_folder_as_openai_published_it(tmp_path):
    folder = write_openai(tmp_path)
    check(folder)
    conversion = convert(folder)
    assert [companion.name for companion in conversion.companions] == ["tokenizer.json", "vocab.json", "merges.txt"]
    assert [companion.content for companion in conversion.companions[1:]] == [
        (folder / name).read_bytes() for name in ("encoder.json", "vocab.bpe")
    ]
    assert conversion.notes == []
    assert conversion.facts["omz_gpt2"] == {"recipe": "gpt2", "n_positions": 16, "vocab_size": 300}


def test_a_folder_of_gpt_2_simple_with_an_absolute_path_of_another_machine(tmp_path):
    folder = write_openai(tmp_path, step="model-500")
    write_openai(tmp_path / "old", replace(TOY, seed=1), step="model-499")
    for path in (tmp_path / "old").glob("model-499*"):
        path.rename(folder / path.name)
    for written in ("/content/checkpoint/run1/model-500", "C:\\\\runs\\\\model-500", "model-500"):
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{written}"\n')
        check(folder)


def test_the_only_checkpoint_needs_no_file_that_names_it(tmp_path):
    folder = write_openai(tmp_path)
    (folder / "checkpoint").unlink()
    check(folder)
    (folder / "checkpoint").write_text('model_checkpoint_path: "model-7"\n')
    check(folder)


def test_several_checkpoints_and_none_named(tmp_path):
    folder = write_openai(tmp_path, step="model-2")
    write_openai(folder, step="model-1")
    (folder / "checkpoint").unlink()
    assert "expected one model*.index, or a file `checkpoint` that names one; got model-1, model-2" in refusal(folder)


def test_no_checkpoint_at_all(tmp_path):
    folder = write_openai(tmp_path)
    for path in [*folder.glob("model*")]:
        path.unlink()
    assert "model.ckpt.index: cannot be read: No such file" in refusal(folder)
    (folder / "checkpoint").unlink()
    assert refusal(folder).endswith("got none")


def test_what_training_leaves_beside_the_variables_is_passed_over(tmp_path):
    wte = np.zeros((300, 12), np.float32)
    added = {"model/wte/Adam": wte, "model/wte/Adam_1": wte, "global_step": np.int64(5), "beta1_power": np.float32(1)}
    check(write_openai(tmp_path, **added))


def test_a_variable_that_is_not_gpt2s_is_named(tmp_path):
    assert "extra: model/h0/moe/w" in refusal(
        write_openai(tmp_path, **{"model/h0/moe/w": np.zeros(3, np.float32)})
    ).replace("h.0.moe.weight", "model/h0/moe/w")
    assert "extra: model/x" in refusal(write_openai(tmp_path, **{"model/x": np.zeros(3, np.float32)}))


def test_f16_variables(tmp_path):
    toy = Toy(dtype="F16")
    folder = write_openai(tmp_path, toy)
    write_bundle(folder / "model.ckpt", {name: values.astype("<f2") for name, values in variables(toy).items()})
    check(folder, toy)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_layer": 3}, "missing: h.2."),
        ({"n_ctx": 17}, "misshapen: wpe.weight (expected [17, 12], got [16, 12])"),
        ({"n_ctx": None}, '"n_ctx": expected a positive integer, got None'),
        ({"n_vocab": 0}, '"n_vocab": expected a positive integer, got 0'),
        ({"n_head": 5}, '"n_head": expected a divisor of n_embd 12, got 5'),
        ({"n_layer": 10**9}, '"n_layer": expected at most 1000'),
    ],
)
def test_hparams_that_do_not_fit(tmp_path, fields, words):
    folder = write_openai(tmp_path)
    path = folder / "hparams.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))
    assert words in refusal(folder)


def test_hparams_without_a_field(tmp_path):
    folder = write_openai(tmp_path)
    (folder / "hparams.json").write_text("{}")
    assert '"n_vocab": expected a positive integer' in refusal(folder)


def test_what_tensorflow_itself_wrote(tmp_path):
    """The state is rebuilt from the formula of data/openai-tiny/make.py, by the names alone."""
    model = convert(TINY).model
    ids = [1, 2, 3, 10]
    toy = Toy(n_layer=2, n_head=2, n_embd=8, n_positions=5, vocab_size=11)
    state = {}
    for number, name in enumerate(sorted(variables(toy))):
        shape = variables(toy)[name].shape
        places = np.arange(np.prod(shape))
        state[name] = (((places * 37 + number * 11) % 101 - 50) / 64).astype(np.float32).reshape(shape)
    twin = Toy(n_layer=2, n_head=2, n_embd=8, n_positions=5, vocab_size=11, seed=99)
    names = dict(zip(variables(twin), twin.state, strict=True))
    for name, values in state.items():
        twin.state[names[name]] = values.reshape(twin.state[names[name]].shape)
    assert_close(compiled(model)([np.array([ids])])[0][0], twin.logits(ids))


def test_config_json_comes_first(tmp_path):
    folder = write_openai(tmp_path)
    other = replace(TOY, seed=5)
    other.write(folder)
    check(folder, other)
