"""genai: openvino-genai loads the folder, on both back ends, and says what our engine says.

openvino-genai and openvino-tokenizers change the openvino of the process they are imported in: they run in their own.
"""

import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import openvino as ov
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from gpt2_text_prediction.engine.engine import load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support import HANGS_AFTER
from support.command import run_process
from support.toy import EXACT, Toy

pytestmark = pytest.mark.extras("openvino_genai")

END = "<|endoftext|>"
PIECES = [
    *"aZ 9\n\t_'",
    "  ",
    "it'll",
    "I'LL",
    "caf\u00e9",
    "e\u0301",
    "\u65e5\u672c",
    "\U0001f44d\U0001f3fd",
    "\u00b2",
]
PIECES += ["\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b", "\ufeff", "\r\n", "\u0661", "\u2019s", END]
GENERATE = """
import json, sys
import openvino, openvino_genai
folder, tokens, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
answers = []
for back_end in ("PA", "SDPA"):
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    pipeline = openvino_genai.LLMPipeline(folder, "CPU", ATTENTION_BACKEND=back_end, **exact)
    ids = openvino_genai.TokenizedInputs(
        openvino.Tensor([tokens]), openvino.Tensor([[1] * len(tokens)]))
    answers.append(list(pipeline.generate(ids, max_new_tokens=count, do_sample=False, ignore_eos=True).tokens[0]))
print(json.dumps(answers))
"""
TOKENIZE = """
import json, sys
import openvino, openvino_tokenizers
core = openvino.Core()
tokenizer = core.compile_model(sys.argv[1] + "/openvino_tokenizer.xml", "CPU")
detokenizer = core.compile_model(sys.argv[1] + "/openvino_detokenizer.xml", "CPU")
for text in json.load(sys.stdin):
    ids = tokenizer(openvino.Tensor([text]))["input_ids"]
    print(json.dumps([ids[0].tolist(), str(detokenizer(openvino.Tensor(ids))["string_output"][0])]))
"""


BATCH = """
import json, sys
import openvino_genai
pipeline = openvino_genai.ContinuousBatchingPipeline(sys.argv[1], openvino_genai.SchedulerConfig(), "CPU")
config = openvino_genai.GenerationConfig(max_new_tokens=8, do_sample=False)
prompts = json.loads(sys.argv[2])
print(json.dumps([answer.m_generation_ids[0] for answer in pipeline.generate(prompts, [config] * len(prompts))]))
"""


def python(program, *arguments, stdin="") -> list:
    """What a process prints, line by line from JSON."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=HANGS_AFTER)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def export(ir, folder):
    done = run_process("gpt2_export", "-m", ir, "-o", folder)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    assert done.stdout.decode() == f"{folder}: {ir} for openvino-genai and OpenVINO Model Server\n"
    return folder


def greedy(ir, tokens, count):
    """Our engine's likeliest continuation, in exact mode."""
    engine = load_engine(ir, "CPU", {**EXACT, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"})
    cache, new, found = SequenceCache(), list(tokens), []
    for _ in range(count):
        (logits,) = engine.step([StepInput(cache, new)])
        new = [int(logits[0].argmax())]
        found += new
    return found


@pytest.fixture(scope="module")
def mini_export(mini_ir, tmp_path_factory):
    return export(mini_ir, tmp_path_factory.mktemp("genai") / "out")


def test_the_folder(mini_export, mini_ir):
    models = [
        f"openvino_{name}.{suffix}" for name in ("detokenizer", "model", "tokenizer") for suffix in ("bin", "xml")
    ]
    files = [*models, "config.json", "generation_config.json", "graph.pbtxt", "merges.txt", "special_tokens_map.json"]
    assert sorted(path.name for path in mini_export.iterdir()) == sorted(
        [*files, "tokenizer.json", "tokenizer_config.json", "vocab.json"]
    )
    model = ov.Core().read_model(mini_export / "openvino_model.xml")
    names = [port.get_names() for port in model.inputs]
    assert names == [{"input_ids"}, {"attention_mask"}, {"position_ids"}, {"beam_idx"}]
    assert [port.get_names() for port in model.outputs] == [{"logits"}]
    assert model.get_rt_info(["omz_gpt2", "recipe"]).value == "gpt2"
    config = json.loads((mini_export / "config.json").read_text())
    published = json.loads((mini_ir.parents[1] / "gpt2/config.json").read_text())
    for name in ("model_type", "n_embd", "n_layer", "n_head", "n_positions", "vocab_size", "eos_token_id"):
        assert config[name] == published[name], name
    assert json.loads((mini_export / "generation_config.json").read_text()) == {"bos_token_id": 0, "eos_token_id": 0}
    for name in ("vocab.json", "merges.txt"):
        assert (mini_export / name).read_bytes() == (mini_ir.parent / name).read_bytes()


def test_both_back_ends_say_what_our_engine_says(mini_export, mini_ir):
    tokens = GPT2Tokenizer(mini_ir.parent / "vocab.json", mini_ir.parent / "merges.txt").encode("The President of the")
    expected = greedy(mini_ir, tokens, 64)
    assert python(GENERATE, mini_export, json.dumps(tokens), 64) == [[expected, expected]]


def test_the_model_servers_pipeline_takes_texts(mini_export):
    answers = [" United States, and the United States,", " of the people of the United States."]
    assert python(BATCH, mini_export, json.dumps(["The President of the", "We the people"])) == [answers]


def test_the_model_server_is_told_how_to_run_the_folder(mini_export):
    """By the graph that its documentation (docs/llm/reference.md) asks for; the server itself is no Python package."""
    graph = re.sub(r"#.*|\s+", " ", (mini_export / "graph.pbtxt").read_text())
    assert graph.count("{") == graph.count("}")
    for line in (
        'input_stream: "HTTP_REQUEST_PAYLOAD:input"',
        'output_stream: "HTTP_RESPONSE_PAYLOAD:output"',
        'input_side_packet: "LLM_NODE_RESOURCES:llm"',
        '[type.googleapis.com/mediapipe.LLMCalculatorOptions] { models_path: "./" }',
    ):
        assert line in re.sub(r" +", " ", graph)


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": "F32"},
        {"dtype": "F16"},
        {"inverse_layer": True, "n_layer": 3},
        {"unscaled": True},
        *({"activation": name} for name in ("gelu_10", "quick_gelu", "relu2", "silu", "tanh", "mish")),
    ],
    ids=str,
)
def test_a_toy_says_what_the_oracle_says(tmp_path, changed):
    toy = Toy(n_positions=32, n_embd=32, **changed)
    folder = export(toy.ir(tmp_path / "ir"), tmp_path / "out")
    expected = toy.greedy([5, 6, 7], 20)
    assert python(GENERATE, folder, "[5, 6, 7]", 20) == [[expected, expected]]


@pytest.mark.extras("nncf")
@pytest.mark.parametrize("precision", ["FP16-INT8", "FP16-INT4"])
def test_quantized_irs_are_exported_too(mini_quantized, tmp_path, precision):
    ir = mini_quantized / precision / "gpt-2-mini.xml"
    expected = greedy(ir, [100, 200, 300], 32)
    assert python(GENERATE, export(ir, tmp_path / "out"), "[100, 200, 300]", 32) == [[expected, expected]]


def test_the_tokenizer_is_the_demos_but_for_the_end_of_a_text(mini_export):
    ours = GPT2Tokenizer(mini_export / "vocab.json", mini_export / "merges.txt")
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(PIECES, rng.integers(1, 9))) for _ in range(500)]
    for text, (ids, back) in zip(texts, python(TOKENIZE, mini_export, stdin=json.dumps(texts)), strict=True):
        parts = [ours.encode(part) for part in text.split(END)]
        expected = parts[0] + [token for part in parts[1:] for token in [ours.end_of_text_id, *part]]
        assert ids == expected, text
        assert back == text.replace(END, ""), text


def test_added_tokens_are_those_of_the_tokenizers_library(tmp_path):
    """What a fine-tuning added: special or not, with white space around it or not, one the beginning of another."""
    toy = Toy(n_positions=32, n_embd=32, vocab_size=305)
    folder = toy.write(tmp_path / "ck")
    Toy(vocab_size=300).write_vocabulary(folder)
    bpe = Tokenizer(BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(["<|endoftext|>", "<pad>", AddedToken("<s>", lstrip=True, rstrip=True), "<pad>>"])
    bpe.add_tokens(["two words", "it"])
    bpe.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 299}))
    done = run_process("omz_converter", "--checkpoint", folder, "-o", tmp_path / "ir", "--precisions", "FP32")
    assert done.returncode == 0, done.stderr
    out = export(tmp_path / "ir/FP32/ck.xml", tmp_path / "out")
    texts = [
        "Hello <pad> x<|endoftext|> y",
        "<pad>><pad>",
        "a <s> b  <s><s>c",
        "it isn't two  words: two words.",
        "<pa",
    ]
    for text, (ids, back) in zip(texts, python(TOKENIZE, out, stdin=json.dumps(texts)), strict=True):
        assert ids == bpe.encode(text).ids, text
        assert back == bpe.decode(ids), text
    decoder = json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {i: token["content"] for i, token in decoder.items()} == {
        "299": "<|endoftext|>",
        "300": "<pad>",
        "301": "<s>",
        "302": "<pad>>",
        "303": "two words",
        "304": "it",
    }


def test_one_position_is_no_text(tmp_path):
    ir = Toy(n_positions=1).ir(tmp_path / "ir")
    done = run_process("gpt2_export", "-m", ir, "-o", tmp_path / "out")
    wanted = f"{ir}: cannot be given a cache: it has one position, so no token follows another\n"
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (1, "", wanted)


def test_another_token_may_end_a_text(tmp_path):
    toy = Toy(n_positions=32, n_embd=32, eos_token_id=3)
    folder = export(toy.ir(tmp_path / "ir"), tmp_path / "out")
    assert python(TOKENIZE, folder, stdin=json.dumps([END])) == [[[3], ""]]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 3


def test_an_export_replaces_an_earlier_one(tmp_path, mini_ir):
    folder = export(Toy(n_positions=32, n_embd=32).ir(tmp_path / "ir"), tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    (folder / "graph.pbtxt").write_text("tuned")
    assert json.loads((export(mini_ir, folder) / "config.json").read_text())["n_embd"] == 256
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "graph.pbtxt").read_text() == "tuned"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "out"]
