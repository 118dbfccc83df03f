"""attention: output and gradients are those of PyTorch's own, which keeps more, with the same dropout."""

import pytest

from gpt2_tools.finetune.attention import causal_attention, use_attention

pytestmark = pytest.mark.extras("torch", "transformers", "accelerate", "peft", "matplotlib")

DROPOUT, SCALING = 0.25, 0.3


def attended(attention, is_bf16):
    """Return the output and the gradients of a weighted sum of it."""
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 3, 17, 8, generator=generator) for _ in range(4)]
    weights = given.pop()
    given = [tensor.to(torch.bfloat16 if is_bf16 else torch.float32).requires_grad_() for tensor in given]
    torch.manual_seed(5)
    found = attention(*given)
    (found.float() * weights).sum().backward()
    return found.detach(), *(tensor.grad for tensor in given)


def plain(query, key, value):
    """The formula, differentiated by PyTorch."""
    import torch  # noqa: PLC0415

    scores = (query @ key.transpose(-2, -1)).float() * SCALING
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    shares = torch.softmax(scores.masked_fill(later, -torch.inf), -1).to(value.dtype)
    kept = torch.empty(shares.shape, dtype=torch.bool).bernoulli_(1 - DROPOUT)
    return shares * kept @ value / (1 - DROPOUT)


@pytest.mark.parametrize("is_bf16", [False, True], ids=["f32", "bf16"])
def test_output_and_gradients_are_those_of_the_formula(is_bf16):
    import torch  # noqa: PLC0415

    found = attended(lambda *given: causal_attention(*given, DROPOUT, SCALING), is_bf16)
    bounds = {"rtol": 5e-2, "atol": 5e-2} if is_bf16 else {"rtol": 1e-5, "atol": 1e-5}
    for ours, theirs in zip(found, attended(plain, is_bf16), strict=True):
        torch.testing.assert_close(ours, theirs, **bounds)


def test_a_model_has_the_gradients_that_it_has_with_pytorchs():
    """PyTorch draws the same numbers in the same order."""
    import torch  # noqa: PLC0415
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    tokens = torch.arange(24).reshape(2, 12) * 7 % 50
    gradients = []
    for changed in (False, True):
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, attn_pdrop=DROPOUT)
        model = GPT2LMHeadModel(config).train()
        if changed:
            use_attention(model)
        torch.manual_seed(1)
        model(tokens, labels=tokens).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_without_dropout_it_is_pytorchs_own():
    import torch  # noqa: PLC0415
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2)).eval()
    tokens = torch.arange(12)[None]
    before = model(tokens).logits
    use_attention(model)
    torch.testing.assert_close(model(tokens).logits, before, rtol=0, atol=0)
    ours = model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert ours.shape == (1, 16)
