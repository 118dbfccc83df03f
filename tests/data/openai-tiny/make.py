"""How this folder was made, with TensorFlow 2.21 on Linux: `python make.py`. No test needs TensorFlow.

A GPT-2 of two layers with the variables of openai/gpt-2's model.py, and what training leaves beside them.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow

HPARAMS = {"n_vocab": 11, "n_ctx": 5, "n_embd": 8, "n_head": 2, "n_layer": 2}


def shapes():
    width = HPARAMS["n_embd"]
    found = {"wpe": (HPARAMS["n_ctx"], width), "wte": (HPARAMS["n_vocab"], width)}
    for scope in ("h0/", "h1/", ""):
        for norm in ("ln_1", "ln_2") if scope else ("ln_f",):
            found |= {f"{scope}{norm}/g": (width,), f"{scope}{norm}/b": (width,)}
        for linear, inner, outer in (
            ("attn/c_attn", 1, 3),
            ("attn/c_proj", 1, 1),
            ("mlp/c_fc", 1, 4),
            ("mlp/c_proj", 4, 1),
        ):
            if scope:
                found |= {
                    f"{scope}{linear}/w": (1, inner * width, outer * width),
                    f"{scope}{linear}/b": (outer * width,),
                }
    return {f"model/{name}": shape for name, shape in found.items()}


def values(number, shape):
    """Numbers that f32 holds exactly, other ones in each variable."""
    places = np.arange(np.prod(shape))
    return (((places * 37 + number * 11) % 101 - 50) / 64).astype(np.float32).reshape(shape)


def main(folder):
    tf = tensorflow.compat.v1
    tf.disable_eager_execution()
    wanted = shapes()
    for number, name in enumerate(sorted(wanted)):
        tf.Variable(values(number, wanted[name]), name=name)
    tf.Variable(np.zeros(wanted["model/wte"], np.float32), name="model/wte/Adam")
    tf.Variable(np.int64(7), name="global_step")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    tokens = ["!", '"', "#", "a", "b", "c", "Ġ", "ab", "Ġa", "abc", "<|endoftext|>"]
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
    )
    (folder / "hparams.json").write_text(json.dumps(HPARAMS) + "\n")
    (folder / "encoder.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}) + "\n")
    (folder / "vocab.bpe").write_text("#version: 0.2\na b\nĠ a\nab c\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).parent)
