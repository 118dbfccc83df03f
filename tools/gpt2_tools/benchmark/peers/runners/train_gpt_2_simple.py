"""Steps of gpt-2-simple's training, in an environment of its own: the graph, loss and optimizer of its finetune().

    python train_gpt_2_simple.py '{"hparams": {...}, "threads": N, "batch": B, "block": L, "steps": N}'

prints one line of JSON, {"seconds": the processor's for each step but the first}. finetune() itself is not called: it
knows no blocks but those of 1024 tokens. The weights are new ones: time does not depend on them.
"""

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(request: str) -> None:
    """Measure what is asked for."""
    import numpy as np  # noqa: PLC0415

    asked: dict[str, Any] = json.loads(request)
    tf: Any = import_module("tensorflow").compat.v1
    model: Any = import_module("gpt_2_simple.src.model")
    tf.disable_eager_execution()
    hparams = model.default_hparams()
    hparams.override_from_dict(asked["hparams"])
    threads = tf.ConfigProto(intra_op_parallelism_threads=asked["threads"] or 0, inter_op_parallelism_threads=1)
    with tf.Session(config=threads) as session:
        context = tf.placeholder(tf.int32, [asked["batch"], None])
        logits = model.model(hparams=hparams, X=context)["logits"][:, :-1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=context[:, 1:], logits=logits)
        loss = tf.reduce_mean(losses)
        weights = tf.trainable_variables()
        gradients = tf.gradients(ys=loss, xs=weights)
        update = tf.train.AdamOptimizer(1e-4).apply_gradients(list(zip(gradients, weights, strict=True)))
        session.run(tf.global_variables_initializer())
        rng, seconds = np.random.default_rng(0), []
        for _ in range(asked["steps"]):
            batch = rng.integers(0, 256, (asked["batch"], asked["block"]))
            start = time.process_time()
            session.run((update, loss), {context: batch})
            seconds.append(time.process_time() - start)
    print(json.dumps({"seconds": seconds[1:]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
