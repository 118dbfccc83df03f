"""transformers_process: it generates and scores as transformers does; what it cannot load is one line."""

import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.transformers_process import transformers_process
from support.toy import Toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.extras("torch", "transformers")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return Toy().write(tmp_path_factory.mktemp("toy"))


def test_scores_and_times(checkpoint):
    model = transformers.GPT2LMHeadModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    ids = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]])
    with torch.inference_mode():
        expected = model(input_ids=ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    with transformers_process(checkpoint, "1") as ask:
        scored = ask({"score": ids.tolist()})
        times = ask({"prompts": [[1, 2, 3]], "new_tokens": 4})["times"]
    assert torch.allclose(torch.tensor(scored["logprobs"]), expected, atol=1e-5)
    assert scored["seconds"] > 0
    assert times == sorted(times)
    assert len(times) == 4


@pytest.mark.parametrize("config", ["{}", "no JSON"])
def test_weights_that_cannot_be_read(tmp_path, capfd, config):
    (tmp_path / "config.json").write_text(config)
    with (
        pytest.raises(
            Problem, match=f"^--with-transformers: cannot load {tmp_path}: ended with exit code 1: "
        ) as caught,
        transformers_process(tmp_path, "1"),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_folder_without_a_checkpoint(tmp_path):
    with (
        pytest.raises(Problem, match=f"^{tmp_path}: expected the checkpoint of the IR"),
        transformers_process(tmp_path, "1"),
    ):
        pass
