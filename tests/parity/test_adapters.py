"""Adapters as peft saves them: the same logits as peft's own merged model.

Needs PyTorch, transformers and peft, which `make test` does not install and .ci/run does.
"""

import numpy as np
import openvino as ov
import pytest

import gpt2_recipe

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = [
    pytest.mark.extras("torch", "transformers", "peft"),
    pytest.mark.filterwarnings("ignore"),  # peft and transformers warn of each other
]

LARGEST_DIFFERENCE = 1e-4
LINEAR = ["c_attn", "c_proj", "c_fc"]
KINDS = {
    "LoRA": {"target_modules": LINEAR},
    "DoRA": {"target_modules": LINEAR, "use_dora": True},
    "LoRA of attention, rslora": {"target_modules": ["c_attn"], "use_rslora": True, "lora_alpha": 5},
    "a head": {"target_modules": ["lm_head"]},
    "a head, DoRA": {"target_modules": ["lm_head", "c_fc"], "use_dora": True},
    "an embedding": {"target_modules": ["wte", "c_fc"]},
    "patterns": {
        "target_modules": LINEAR,
        "rank_pattern": {"c_fc": 2, "h.1.attn.c_attn": 3},
        "alpha_pattern": {r"h\.\d+\.mlp.c_fc": 3, "c_attn": 6},
        "use_rslora": True,
    },
    "biases": {"target_modules": ["c_fc"], "bias": "all"},
    "biases of its layers": {"target_modules": ["c_fc"], "bias": "lora_only"},
    "biases of its own": {"target_modules": ["c_fc", "c_attn"], "lora_bias": True},
    "a head of its own": {"target_modules": ["c_fc"], "modules_to_save": ["lm_head"]},
    "an embedding of its own": {"target_modules": ["c_fc"], "modules_to_save": ["wte"]},
    "both of its own": {"target_modules": ["c_fc"], "modules_to_save": ["wte", "lm_head"]},
    "both of one update": {"target_modules": ["wte", "lm_head"], "ensure_weight_tying": True},
    "an embedding of its own, tied": {
        "modules_to_save": ["wte"],
        "ensure_weight_tying": True,
        "target_modules": ["c_fc"],
    },
    "layers of its own": {"target_modules": ["c_attn"], "modules_to_save": ["ln_f", "wpe", "c_fc"]},
    "another start": {"target_modules": LINEAR, "init_lora_weights": "gaussian"},
    "fan_in_fan_out": {"target_modules": LINEAR, "fan_in_fan_out": True},
}


@pytest.fixture
def base(tmp_path):
    """Return a function that saves a model and returns its folder."""

    def save(**changed):
        torch.manual_seed(0)
        config = {"n_layer": 2, "n_head": 3, "n_embd": 48, "n_positions": 64, "vocab_size": 997, "bos_token_id": 0}
        config |= {"eos_token_id": 0, "initializer_range": 0.3, **changed}
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)).save_pretrained(tmp_path / "base")
        return tmp_path / "base"

    return save


def train(base, out, resized=None, **settings):
    """Save an adapter with random weights; return its merged model."""
    model = transformers.GPT2LMHeadModel.from_pretrained(base, dtype=torch.float32)
    if resized:
        model.resize_token_embeddings(resized)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, **settings))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
            if "magnitude" in name:
                parameter.data.abs_()
    model.save_pretrained(out)
    return model.merge_and_unload().eval()


def check(theirs, conversion) -> None:
    ids = np.random.default_rng(1).integers(0, theirs.get_input_embeddings().num_embeddings, (2, 40))
    with torch.inference_mode():
        expected = theirs.float()(torch.from_numpy(ids)).logits.numpy()
    ours = ov.Core().compile_model(conversion.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([ids])[0]
    assert np.abs(ours - expected).max() <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.replace(" ", "_"))
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_kind(base, tmp_path, kind, tied):
    theirs = train(base(tie_word_embeddings=tied), tmp_path / "adapter", **KINDS[kind])
    check(theirs, gpt2_recipe.convert(tmp_path / "adapter"))
    check(theirs, gpt2_recipe.convert(tmp_path / "base", adapter=tmp_path / "adapter"))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_an_embedding_that_was_resized(base, tmp_path, tied):
    """As trl adds tokens: peft then saves the embedding and the head whole."""
    theirs = train(base(tie_word_embeddings=tied), tmp_path / "adapter", resized=1003, target_modules=["c_attn"])
    conversion = gpt2_recipe.convert(tmp_path / "adapter")
    check(theirs, conversion)
    assert conversion.facts["omz_gpt2"]["vocab_size"] == 1003


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_base_in_16_bits(base, tmp_path, dtype):
    folder = base()
    transformers.GPT2LMHeadModel.from_pretrained(folder).to(getattr(torch, dtype)).save_pretrained(folder)
    theirs = train(folder, tmp_path / "adapter", target_modules=LINEAR)
    check(theirs, gpt2_recipe.convert(tmp_path / "adapter"))


def test_an_adapter_before_safetensors(base, tmp_path):
    theirs = train(base(), tmp_path / "adapter", target_modules=LINEAR)
    path = tmp_path / "adapter/adapter_model.safetensors"
    tensors = peft.utils.load_peft_weights(path.parent, device="cpu")
    path.unlink()
    torch.save(tensors, path.with_suffix(".bin"))
    check(theirs, gpt2_recipe.convert(path.parent))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            lambda: peft.IA3Config(target_modules=["c_attn"], feedforward_modules=[]),
            '"peft_type": expected "LORA", got "IA3"',
        ),
        (lambda: peft.LoHaConfig(target_modules=["lm_head"]), 'got "LOHA"'),
        (lambda: peft.VeraConfig(target_modules=["c_fc"]), 'got "VERA"'),
        (lambda: peft.LNTuningConfig(target_modules=["ln_1"]), 'got "LN_TUNING"'),
        (lambda: peft.PromptTuningConfig(num_virtual_tokens=2), 'got "PROMPT_TUNING", which adds to prompts'),
        (lambda: peft.PrefixTuningConfig(num_virtual_tokens=2), 'got "PREFIX_TUNING", which adds to prompts'),
        (lambda: peft.LoraConfig(target_modules=["c_fc"], init_lora_weights="pissa"), '"init_lora_weights": "pissa"'),
        (lambda: peft.LoraConfig(target_modules=["c_fc"], trainable_token_indices=[1]), '"trainable_token_indices"'),
        (lambda: peft.LoraConfig(target_modules=["wte"], use_dora=True), "DoRA of an embedding is not merged here"),
    ],
)
def test_another_kind_is_refused_by_name(base, tmp_path, settings, line):
    chosen = settings()
    chosen.task_type = "CAUSAL_LM"
    model = peft.get_peft_model(transformers.GPT2LMHeadModel.from_pretrained(base()), chosen)
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(gpt2_recipe.Problem, match=line):
        gpt2_recipe.convert(tmp_path / "adapter")
