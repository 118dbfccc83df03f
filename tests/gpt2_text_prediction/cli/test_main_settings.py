"""The demo's other flags as a user types them: what each does to the text, and what is refused."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import openvino as ov
import pytest

from gpt2_text_prediction import Beams, Sampling, TextGenerator, TextRules
from gpt2_text_prediction.engine import has_bf16
from support import HANGS_AFTER, until
from support.command import COMMANDS
from support.terminal import screen_of
from support.toy import Toy

DEMO = "gpt2_text_prediction_demo"
PROMPT = "The poem was written by"


@pytest.fixture(scope="module")
def generator(mini_ir):
    with TextGenerator(mini_ir, precision_hint="f32") as loaded:
        yield loaded


def drawn(generator, count=8, rules=None, index=(0, 0), **sampling) -> str:
    return "".join(generator.stream(PROMPT, Sampling(**sampling), max_new_tokens=count, rules=rules, index=index))


def the_error(done: subprocess.CompletedProcess) -> str:
    (line,) = [line for line in done.stderr.decode().splitlines() if line.startswith("[ ERROR ] ")]
    assert (done.returncode, done.stdout) == (1, b"")
    return line.removeprefix("[ ERROR ] ")


PENALIZED = {
    "repetition_penalty": 1.4, "presence_penalty": 0.5, "frequency_penalty": 0.25, "no_repeat_ngram_size": 2,
    "min_p": 0.02, "typical_p": 0.9, "top_p": 0.8, "top_k": 50, "temperature": 1.3, "seed": 5,
}  # fmt: skip


@pytest.mark.parametrize("spell", [str, lambda name: name.replace("_", "-")], ids=["_", "-"])
def test_every_number_reaches_the_sampler_in_both_spellings(demo, generator, spell):
    arguments = [part for name, value in PENALIZED.items() for part in ("--" + spell(name), value)]
    done = demo("-i", PROMPT, "--" + spell("max_new_tokens"), 8, *arguments)
    assert done.stdout.decode() == f"{PROMPT}{drawn(generator, **PENALIZED)}\n"


def test_other_names_of_the_same_flags(demo):
    first = demo("-i", PROMPT, "-n", 5, "--temp", 0.5, "-s", 3, "--repeat-penalty", 1.2)
    second = demo("-i", PROMPT, "--length=5", "--temperature=0.5", "--seed=3", "--repetition_penalty=1.2")
    assert first.stdout == second.stdout != b""


def test_bans_and_bias(demo, generator):
    (argmax,) = generator.next_tokens(PROMPT, 1)
    bias = demo("-i", PROMPT, "--temp", 0, "-n", 3, "--logit_bias", f"{argmax.token}=-inf").stdout.decode()
    assert bias == f"{PROMPT}{drawn(generator, 3, temperature=0, logit_bias={argmax.token: -float('inf')})}\n"
    word = argmax.text.strip()
    banned = demo("-i", PROMPT, "--temp", 0, "-n", 20, "--bad_words", word, "--no-echo").stdout.decode()
    assert not re.search(rf"\b{word}\b", banned)


def test_samples_are_separated_as_prompts_are(demo, generator):
    done = demo("-i", PROMPT, "--num_return_sequences", 2, "-n", 6, "--seed", 3, "--no-echo")
    first, second = (drawn(generator, 6, seed=3, index=(0, n)) for n in range(2))
    assert done.stdout.decode() == f"{first}\n\n{second}\n"


def test_beams_with_their_scores(demo, generator):
    done = demo(
        "-i", PROMPT, "--num_beams", 3, "--num_return_sequences", 2, "--length_penalty", 0.5, "--early_stopping",
        "-n", 6,
    )  # fmt: skip
    beams = Beams(num_beams=3, num_return_sequences=2, length_penalty=0.5, early_stopping=True)
    found = generator.beam_search(PROMPT, beams, max_new_tokens=6)
    assert done.stdout.decode() == "\n".join(f"{PROMPT}{one.text}\n" for one in found)
    assert f"score: {found[0].score:.4f}" in done.stderr.decode()
    assert found[0].score > found[1].score


def test_ids_of_beams_are_logged_too(demo, generator):
    found = generator.beam_search(PROMPT, Beams(num_beams=2, num_return_sequences=2), max_new_tokens=3)
    log = demo("-i", PROMPT, "--num_beams", 2, "--num_return_sequences", 2, "-n", 3, "-r").stderr.decode()
    assert log.count(f"[ DEBUG ] prompt tokens: {generator.tokenizer.encode(PROMPT)}\n") == 2
    assert re.findall(r"new tokens: (.+)", log) == [str(one.tokens) for one in found]


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_texts_of_the_command_line_need_no_locale(demo):
    utf8 = ("-i", f"é {PROMPT}", "--stop", "é", "--bad_words", "é", "--temp", 0, "-n", 5)
    done = demo(*utf8, env=ASCII)
    assert (done.returncode, done.stdout) == (0, demo(*utf8).stdout)
    broken = os.fsdecode(b"\xff")
    assert "stop: expected valid Unicode" in the_error(demo("-i", "a", "--stop", broken, env=ASCII))


def test_a_stop_string_and_a_sentences_end(demo, generator):
    whole = drawn(generator, 30, temperature=0)
    stop = whole[10:13]
    done = demo("-i", PROMPT, "--temp", 0, "-n", 30, "--stop", stop, "--stop", "\x07")
    assert done.stdout.decode() == f"{PROMPT}{whole[: whole.find(stop)]}\n"
    assert "finish reason: stop" in done.stderr.decode()
    done = demo("-i", PROMPT, "--temp", 0, "-n", 30, "--stop_at", "sentence")
    assert done.stdout.decode() == f"{PROMPT}{drawn(generator, 30, TextRules(stop_at='sentence'), temperature=0)}\n"


def test_past_the_positions_it_says_what_it_costs_or_what_was_cut(demo):
    done = demo("-i", PROMPT, "--max_seq_len", 16, "-n", 20, "--context_overflow", "slide", "--temp", 0)
    assert "the last 8 tokens were computed again" in done.stderr.decode()
    assert "20 tokens, finish reason: length" in done.stderr.decode()
    done = demo("-i", PROMPT * 9, "--max_seq_len", 16, "-n", 4, "--context_overflow", "truncate", "--temp", 0)
    assert re.search(r"WARNING \] the first \d+ of the prompt's 207 characters were cut", done.stderr.decode())
    assert done.stdout.decode().startswith(PROMPT * 9)


def test_a_static_shape_writes_the_same(demo):
    arguments = ("-i", PROMPT, "--temp", 0, "-n", 5, "--max_seq_len", 32)
    assert demo(*arguments, "--static_shape").stdout == demo(*arguments).stdout


def test_the_compiled_model_is_kept_and_a_property_reaches_the_plugin(demo, tmp_path):
    arguments = ("-i", PROMPT, "--temp", 0, "-n", 2, "--cache_dir", tmp_path / "cache")
    first = demo(*arguments, "--config", "INFERENCE_NUM_THREADS=1")
    assert list((tmp_path / "cache").rglob("*.blob"))
    assert "Number of threads: 1\n" in first.stderr.decode()
    assert "runs without a paged cache: " in first.stderr.decode()
    assert demo(*arguments, "--config", "INFERENCE_NUM_THREADS=1").stdout == first.stdout


def test_ids_and_candidates_are_logged(demo, generator):
    done = demo("-i", PROMPT, "--temp", 0, "-n", 3, "-r", "--explain", 2)
    log = done.stderr.decode()
    assert f"[ DEBUG ] prompt tokens: {generator.tokenizer.encode(PROMPT)}\n" in log
    heading, *lines = re.findall(r"^\[ DEBUG \] \t(?: *step| +\d).*$", log, flags=re.M)
    assert heading.split()[3:5] == ["step", "token"]
    assert len(lines) == 3


def test_a_text_that_has_no_table_says_so(demo):
    done = demo("-i", PROMPT, "--max_seq_len", 8, "-n", 9, "--temp", 0, "--context_overflow", "slide", "--explain")
    assert "WARNING ] --explain: this text went on past the model's positions" in done.stderr.decode()


def test_special_tokens_of_a_prompt(demo, generator):
    text = "King<|endoftext|>Queen"
    for flags, rules in (((), TextRules()), (("--parse_special",), TextRules(parse_special=True))):
        log = demo("-i", text, "-r", "-n", 1, *flags).stderr.decode()
        assert f"prompt tokens: {generator.stream(text, rules=rules).prompt_tokens}\n" in log


def test_it_begins_again_until_ctrl_c(mini_ir):
    command = [COMMANDS / DEMO, "-m", mini_ir, "-i", PROMPT, "-i", "The whale", "--loop", "-n", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        text = b""
        while text.count(PROMPT.encode()) < 3:
            text += os.read(process.stdout.fileno(), 1 << 12)
        process.send_signal(signal.SIGINT)
        talk = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in talk


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["-i", "a", "--num_beams", "2", "--top_k", "5"],
            "num_beams, top_k: beam search does not sample: leave one out",
        ),
        (["-i", "a", "--stop", ""], "stop: expected strings of at least one character, got ''"),
        (["-i", "a", "--min_new_tokens", "50"], "min_new_tokens: expected at most max_new_tokens, 40, got 50"),
        (["-i", "a", "--logit_bias", "5"], "logit_bias: expected ID=BIAS with a token's id and a number or -inf"),
        (["-i", "a", "--logit_bias", "5=nan"], "logit_bias: expected a number or -inf for each token id, got 5: nan"),
        (["-i", "a", "--repetition_penalty", "nan"], "repetition_penalty: expected a number above 0"),
        (["-i", "a", "--config", "NOPE"], "--config: expected KEY=VALUE, got 'NOPE'"),
        (["-i", "a", "--config", "NOPE=1"], "config: CPU has no property NOPE; known: CACHE_DIR, "),
        (["-i", "a", "--prompt_file", "b"], "-i, --prompt_file: expected one of them"),
        (["--prompt_file", "/nowhere/b"], "--prompt_file: /nowhere/b: there is no such file"),
        (["-o", "out.jsonl"], "-o: expected prompts: give -i or --prompt_file"),
        (["--loop"], "--loop: expected prompts: give -i or --prompt_file"),
        (["-i", "a", "--loop", "-o", "x"], "-o, --loop: expected one of them"),
        (["-i", "a", "--explain", "-o", "x"], "-o, --explain: expected one of them"),
        (["-i", "a", "--no_echo", "-o", "x"], "-o, --no_echo: expected one of them"),
        (["-i", "a", "-r", "-o", "x"], "-o, -r: expected one of them"),
        (["-i", "a", "-o", "x", "-nireq", "1025"], "--num_infer_requests: expected a whole number from 1 to 1024"),
        (["-i", "a", "-nireq", "2"], "-nireq: is for -o, which was not given"),
        (
            ["-i", "a", "--precision_hint", "f32", "--config", "INFERENCE_PRECISION_HINT=bf16"],
            "--config INFERENCE_PRECISION_HINT, --precision_hint: expected one of them",
        ),
        (
            ["-i", "a", "-nthreads", "1", "--config", "INFERENCE_NUM_THREADS=2"],
            "--config INFERENCE_NUM_THREADS, -nthreads: expected one of them",
        ),
        (
            ["-i", "a", "--config", "PERFORMANCE_HINT=LATENCY", "--config", "PERFORMANCE_HINT=THROUGHPUT"],
            "--config PERFORMANCE_HINT: expected one value, got 'LATENCY' and 'THROUGHPUT'",
        ),
        (["-i", "a", "--interactive"], "--interactive: expected no -i"),
        (["-i", "a", "--explain", "0"], "--explain: expected a whole number from 1 to 2147483647, got 0"),
        (["-i", "a", "--static_shape", "--dynamic_shape"], "--dynamic_shape, --static_shape: expected one of them"),
        (
            ["-i", "a", "--explain", "--num_beams", "2"],
            "num_beams, explain: beam search does not sample, so there is nothing to explain",
        ),
        (["-i", "a", "--logit_bias", "8192=1"], "logit_bias: expected token ids of 0 .. 8191, got 8192"),
        (["-i", "a", "--logit_bias", "8192=1", "--num_beams", "2"], "expected token ids of 0 .. 8191, got 8192"),
        (["-i", "a", "--cache_dir", "/dev/null"], "--cache_dir: /dev/null: cannot be made: File exists"),
        (["--prompt_file", "/"], "--prompt_file: /: is a folder; expected a file with one prompt per line"),
        (["-i", "a", "-o", "/dev/null"], "-o /dev/null: is no regular file; expected one that"),
    ],
)
def test_what_contradicts_or_is_out_of_range_is_one_line(demo, arguments, expected):
    assert expected in the_error(demo(*arguments))


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_of_prompts_becomes_a_file_of_records(demo, generator, tmp_path):
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    prompts.write_text(
        f'{{"prompt": "{PROMPT}", "seed": 4}}\n'
        '{"prompt": "broken\n{"prompt": "a", "top_q": 1}\n\n'
        '{"prompt": "King", "num_beams": 2, "num_return_sequences": 2}\n'
    )
    done = demo("--prompt_file", prompts, "-o", out, "-n", 8, "--seed", 3)
    assert (done.returncode, done.stdout) == (1, b"")
    errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
    assert errors[0].startswith(f"[ ERROR ] {prompts}: line 2: is not JSON: ")
    assert errors[1].startswith(f"[ ERROR ] {prompts}: line 3: top_q: there is no such setting")
    first, second, third = lines_of(out)
    assert (first["prompt"], first["text"]) == (PROMPT, drawn(generator, seed=4))
    assert (first["finish_reason"], first["seed"], len(first["tokens"])) == ("length", 4, 8)
    assert 0 < first["seconds_to_first_token"] <= first["seconds"]
    assert [(one["prompt_number"], one["sample"]) for one in (second, third)] == [(4, 1), (4, 2)]
    assert second["score"] >= third["score"]


def test_a_batch_in_openais_names_keeps_its_ids_and_has_log_probabilities(demo, generator, tmp_path):
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    prompts.write_text(
        f'{{"custom_id": "q1", "metadata": {{"of": [1]}}, "prompt": "{PROMPT}", "max_tokens": 3, "logprobs": 2}}\n'
        '{"id": 7, "prompt": "King", "n": 2, "stop": "the", "top_p": 0.9}\n'
        '{"prompt": "a", "max_token": 3}\n'
    )
    done = demo("--prompt_file", prompts, "-o", out, "-n", 4, "--seed", 3, "--top_k", 5)
    (error,) = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
    assert "line 3: max_token: there is no such setting; did you mean max_" in error
    first, *others = lines_of(out)
    (expected,) = generator.generate(PROMPT, Sampling(seed=3, top_k=5), max_new_tokens=3, logprobs=2)
    told = json.loads(json.dumps(expected.to_dict()))
    assert (first["custom_id"], first["metadata"]) == ("q1", {"of": [1]})
    assert first["settings"] == {"max_new_tokens": 3, "logprobs": 2}
    assert first["logprobs"] == pytest.approx(told["logprobs"], abs=1e-4)  # computed beside other texts
    for own, its in zip(first["top_logprobs"], told["top_logprobs"], strict=True):
        assert own == pytest.approx(its, abs=1e-4)
    assert [(one["id"], one["sample"], "logprobs" in one) for one in others] == [(7, 1, False), (7, 2, False)]
    again = demo("--prompt_file", prompts, "-o", out, "-n", 4, "--seed", 3, "--top_k", 5)
    assert f"3 texts are in {out} already" in again.stderr.decode()
    assert lines_of(out) == [first, *others]
    prompts.write_text(prompts.read_text().replace('"logprobs": 2', '"logprobs": 1'))
    changed = demo("--prompt_file", prompts, "-o", out, "-n", 4, "--seed", 3, "--top_k", 5)
    assert "line 1: logprobs: is another than in the output file" in changed.stderr.decode()
    fields = {"custom_id": "q2", "metadata": {"of": [1]}, "prompt": PROMPT, "max_tokens": 3, "logprobs": 2}
    prompts.write_text(json.dumps(fields))
    renamed = demo("--prompt_file", prompts, "-o", out, "-n", 4, "--seed", 3, "--top_k", 5)
    assert "line 1: custom_id: is another than in the output file" in renamed.stderr.decode()


def test_on_a_terminal_the_bar_of_a_file_leaves_no_trace(mini_ir, tmp_path):
    prompts = [word for one in ("The whale", "a\x07", "King") for word in ("-i", one)]
    flags = ("-o", "out.jsonl", "-n", 3, "--seed", 1, "--precision_hint", "f32")
    code, screen = screen_of(DEMO, "-m", mini_ir, *prompts, *flags, cwd=tmp_path)
    assert code == 1
    problem = "[ ERROR ] prompt 2: holds the control character U+0007 at character 2: remove it"
    assert screen[-2:] == [problem, "[ INFO ] 2 texts are in out.jsonl"]
    assert not any("/3 prompts" in line for line in screen)


def test_logprobs_of_all_records_are_a_part_of_the_run(demo, tmp_path):
    out = tmp_path / "out.jsonl"
    assert demo("-i", PROMPT, "-o", out, "-n", 2, "--logprobs", 0).returncode == 0
    (record,) = lines_of(out)
    assert (len(record["logprobs"]), record["top_logprobs"], record["settings"]) == (2, None, {})
    assert "is of another run; different: the settings" in the_error(demo("-i", PROMPT, "-o", out, "-n", 2))
    assert the_error(demo("-i", "a", "--logprobs", 1)) == "--logprobs: is for the records of -o, which was not given"
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a", "logprobs": 1}\n')
    line = the_error(demo("--prompt_file", prompts))
    assert line == f"{prompts}: line 1: logprobs: are for the records of -o, which was not given"


def written(out: Path, records: int, process: subprocess.Popen) -> None:
    """Wait until so many records are in the file."""

    def there() -> bool:
        reached = out.exists() and out.read_bytes().count(b"\n") >= records
        assert reached or process.poll() is None
        return reached

    until(there)


def test_a_killed_run_goes_on_and_no_record_is_lost_or_doubled(demo, mini_ir, tmp_path):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out.jsonl"
    prompts.write_text("".join(f"The whale number {n}\n" for n in range(30)))
    command = [COMMANDS / DEMO, "-m", mini_ir, "--prompt_file", prompts, "-o", out, "-n", "12", "-nireq", "2"]
    command += ["--precision_hint", "f32"]  # as `demo`
    for wanted in (1, 9):  # kill -9 twice, in the middle of the work
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            written(out, wanted, process)
            process.kill()
    done = demo("--prompt_file", prompts, "-o", out, "-n", 12, "-nireq", 2)
    assert done.returncode == 0
    records = lines_of(out)
    assert [one["prompt_number"] for one in records] == list(range(1, 31))
    assert len({one["seed"] for one in records}) == 1
    again = demo("--prompt_file", prompts, "-o", out, "-n", 12)
    assert lines_of(out) == records
    assert f"30 texts are in {out} already" in again.stderr.decode()
    other = demo("--prompt_file", prompts, "-o", out, "-n", 13)
    assert "line 1 is of another run; different: the settings: give another" in the_error(other)
    assert lines_of(out) == records


def test_a_killed_run_keeps_the_texts_of_a_prompt_that_has_more(mini_ir, tmp_path):
    out = tmp_path / "out.jsonl"
    many = ["-i", PROMPT, "--num_return_sequences", "1000000", "-n", "2"]
    with subprocess.Popen([COMMANDS / DEMO, "-m", mini_ir, *many, "-o", out], stderr=subprocess.DEVNULL) as process:
        written(out, 3, process)
        process.kill()
    assert [record["sample"] for record in lines_of_whole(out)][:3] == [1, 2, 3]


def lines_of_whole(path: Path) -> list[dict]:
    """The records but for one that was being written."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def toys(tmp_path: Path) -> tuple[Path, Path]:
    """Two IRs that differ in their weights alone."""
    first, second = (Toy(seed=seed).ir(tmp_path / str(seed)) for seed in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    return first, second


def test_a_run_is_resumed_with_the_same_weights_tokenizer_settings_and_device_only(run, tmp_path):
    first, second = toys(tmp_path)
    out, vocab, merges = tmp_path / "out.jsonl", first.parent / "vocab.json", first.parent / "merges.txt"
    prefix = (first.parent / "copy.json", first.parent / "copy.txt")
    for source, copy in zip((vocab, merges), prefix, strict=True):
        copy.write_bytes(source.read_bytes())

    def resumed(*arguments, model=first):
        return run(DEMO, "-m", model, "-i", "a", "-i", "b", "-o", out, "-n", 3, *arguments)

    assert resumed("--seed", 1).returncode == 0
    written = out.read_bytes()
    cache = lines_of(out)[0]["properties"]["KV_CACHE_PRECISION"]
    same = [(), ("--seed", 1), ("-nireq", 2), ("-nthreads", 1), ("--temperature", 1), ("-d", "CPU")]
    same += [("--vocab", prefix[0], "--merges", prefix[1]), ("--config", f"KV_CACHE_PRECISION={cache}")]
    for arguments in same:
        assert resumed(*arguments).returncode == 0, arguments
    flags = {
        "the settings": [("--top_k", 5), ("--max_seq_len", 8)],
        "the device or its properties": [("--static_shape",), ("--config", "ENABLE_CPU_PINNING=NO")],
    }
    for part, others in flags.items():
        for arguments in others:
            assert f"is of another run; different: {part}: give another" in the_error(resumed(*arguments))
    other_cache = the_error(resumed("--config", "KV_CACHE_PRECISION=u8"))
    assert f"is of a run with KV_CACHE_PRECISION {cache}, not u8: name no other precision" in other_cache
    assert "different: the weights: give another" in the_error(resumed(model=second))
    assert "is of a run with the seed 1, not 2" in the_error(resumed("--seed", 2))
    merges.write_text(merges.read_text(encoding="utf-8") + "a b\n", encoding="utf-8")
    assert "different: the tokenizer: give another" in the_error(resumed())
    assert out.read_bytes() == written


def test_a_resumed_run_keeps_the_arithmetic_of_the_first(run, tmp_path):
    """As on a CPU that would choose another one."""
    ir, out = Toy().ir(tmp_path), tmp_path / "out.jsonl"
    command = (DEMO, "-m", ir, "-o", out, "-n", 3)
    first = run(*command, "-i", "a", "--precision_hint", "bf16", "--config", "KV_CACHE_PRECISION=u8")
    assert first.returncode == 0, first.stderr.decode()
    again = run(*command, "-i", "a", "-i", "b")
    one, other = (record["properties"] for record in lines_of(out))
    assert one == other == {"INFERENCE_PRECISION_HINT": one["INFERENCE_PRECISION_HINT"], "KV_CACHE_PRECISION": "u8"}
    named = f"CPU: inference in {one['INFERENCE_PRECISION_HINT']}, KV cache in u8"
    assert named in again.stderr.decode().splitlines()[0]
    refused = run(*command, "-i", "a", "--precision_hint", "f32")
    assert "is of a run with " in the_error(refused)


def test_properties_of_other_devices_are_passed_on(run, tmp_path):
    """As a text that OpenVINO reads."""
    ir = Toy().ir(tmp_path)
    done = run(DEMO, "-m", ir, "-i", "a", "-n", 1, "-d", "AUTO", "--config", "DEVICE_PROPERTIES={CPU:{NUM_STREAMS:1}}")
    assert (done.returncode, done.stdout[:1]) == (0, b"a"), done.stderr.decode()


def test_what_a_cpu_emulates_is_said(run, tmp_path):
    done = run(DEMO, "-m", Toy().ir(tmp_path), "-i", "a", "-n", 1, "--precision_hint", "bf16")
    log = done.stderr.decode()
    emulated = "nference in bf16" in log and not has_bf16(ov.Core())
    has_changed = "Inference in f32" in log  # where the device does not even emulate it
    warning = "[ WARNING ] this CPU has no instructions for bf16 and emulates them, many times slower"
    assert (warning in log) is (emulated and not has_changed)


def test_a_line_with_other_settings_is_not_taken_for_the_one_in_the_file(demo, tmp_path):
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    command = ("--prompt_file", prompts, "-o", out, "-n", 2)
    prompts.write_text('{"prompt": "a", "temperature": 0.5}\n{"prompt": "b"}\n')
    assert demo(*command).returncode == 0
    records = lines_of(out)
    assert [record["settings"] for record in records] == [{"temperature": 0.5}, {}]
    prompts.write_text('{"prompt": "a", "temperature": 0.5, "num_return_sequences": 2}\n{"prompt": "b"}\n')
    message = "num_return_sequences: is another than in the output file: give another file with -o"
    assert the_error(demo(*command)) == f"{prompts}: line 1: {message}"
    assert lines_of(out) == records


def test_a_model_that_is_missing_is_said_before_the_file_is_made(run, tmp_path):
    done = run(DEMO, "-m", tmp_path / "none.xml", "-i", "a", "-o", tmp_path / "out.jsonl")
    assert the_error(done).startswith(f"{tmp_path / 'none.xml'}: there is no such model file")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_pipe_is_a_file_of_prompts(demo, tmp_path):
    os.mkfifo(tmp_path / "prompts")
    with subprocess.Popen(["sh", "-c", f'printf "The whale\\nKing\\n" > {tmp_path / "prompts"}']):
        done = demo("--prompt_file", tmp_path / "prompts", "-n", 1, "--temp", 0)
    assert [text[:4] for text in done.stdout.decode().split("\n\n")] == ["The ", "King"]


def test_ctrl_c_does_not_wait_for_beams(mini_ir, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"The whale number {n}\n" for n in range(8)))
    command = [COMMANDS / DEMO, "-m", mini_ir, "--prompt_file", prompts, "-o", tmp_path / "out.jsonl"]
    beams = ["--num_beams", "100", "-n", "500", "--ignore_eos", "--early_stopping", "never"]  # many minutes of work
    with subprocess.Popen([*command, *beams], stderr=subprocess.PIPE) as process:
        while b"Number of threads" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        talk = process.communicate(timeout=HANGS_AFTER)[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in talk


def test_ctrl_c_leaves_whole_records(mini_ir, tmp_path):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out.jsonl"
    prompts.write_text("".join(f"The whale number {n}\n" for n in range(200)))
    command = [COMMANDS / DEMO, "-m", mini_ir, "--prompt_file", prompts, "-o", out]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        written(out, 2, process)
        process.send_signal(signal.SIGINT)
        talk = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in talk
    assert 2 <= len(lines_of(out)) < 200
