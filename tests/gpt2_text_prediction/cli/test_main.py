"""The demo as a process: what it writes where, and with which exit code it ends."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gpt2_text_prediction import Sampling, TextGenerator
from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.cli.main import is_single_row
from gpt2_text_prediction.cli.prompts import RawPrompt
from support import HANGS_AFTER
from support.command import COMMANDS
from support.toy import HAS_PAGED_ATTENTION, READS_ANY_PATH, Toy, save, without_attention_ops

DEMO = "gpt2_text_prediction_demo"
PROMPT = "The poem was written by"


@pytest.fixture(scope="module")
def expected(mini_ir):
    """Return a function that gives the continuation as the library makes it."""
    with TextGenerator(mini_ir, precision_hint="f32") as generator:

        def continuation(prompt: str, index: int = 0, max_new_tokens: int = 40, **sampling) -> str:
            stream = generator.stream(prompt, Sampling(**sampling), max_new_tokens=max_new_tokens, index=(index, 0))
            return "".join(stream)

        yield continuation


def errors(done: subprocess.CompletedProcess) -> list[str]:
    lines = done.stderr.decode().splitlines()
    assert not any("Traceback" in line for line in lines), done.stderr.decode()
    return [line for line in lines if line.startswith("[ ERROR ] ")]


def the_error(done: subprocess.CompletedProcess, code: int = 1) -> str:
    (line,) = errors(done)
    assert done.returncode == code
    assert done.stdout == b""
    return line.removeprefix("[ ERROR ] ")


def test_stdout_is_the_prompt_its_continuation_and_a_newline(demo, expected):
    done = demo("-i", PROMPT, "--seed", 7)
    assert done.stdout.decode() == f"{PROMPT}{expected(PROMPT, seed=7)}\n"
    assert done.returncode == 0


def test_prompts_are_separated_by_an_empty_line_and_each_draws_its_own_numbers(demo, expected):
    done = demo("-i", PROMPT, "-i", PROMPT, "--seed", 7, "--max_sample_token_num", 12)
    first, second = (expected(PROMPT, index, max_new_tokens=12, seed=7) for index in (0, 1))
    assert first != second
    assert done.stdout.decode() == f"{PROMPT}{first}\n\n{PROMPT}{second}\n"


def test_the_log_is_on_stderr_in_open_model_zoos_form(demo, mini_ir):
    log = demo("-i", PROMPT, "--seed", 7).stderr.decode()
    numbers = re.sub(r"\d+\.\d+( ms)?$", "<number>", re.sub(r"build: .*", "build: <build>", log), flags=re.M)
    lines = re.sub(r"(threads): \d+", r"\1: <count>", numbers).splitlines()
    if not HAS_PAGED_ATTENTION:
        assert lines.pop(6).startswith(f"[ INFO ] {mini_ir}: runs without a paged cache: ")
    assert lines == [
        "[ INFO ] Seed: 7; CPU: inference in f32, KV cache in f16",
        "[ INFO ] OpenVINO Runtime",
        "[ INFO ] \tbuild: <build>",
        f"[ INFO ] Reading model {mini_ir}",
        f"[ INFO ] The model {mini_ir} is loaded to CPU",
        "[ INFO ] \tNumber of threads: <count>",
        "[ INFO ] 40 tokens, finish reason: length",
        "[ INFO ] Metrics report:",
        "[ INFO ] \tLatency: <number>",
        "[ INFO ] \tFPS: <number>",
        "[ INFO ] \tTime to first token: <number>",
        "[ INFO ] \tTokens/s after the first: <number>",
    ]


def test_the_seed_that_was_chosen_is_printed_and_repeats_the_text(demo):
    first = demo("-i", PROMPT)
    seed = re.search(r"Seed: (\d+)", first.stderr.decode())[1]
    assert demo("-i", PROMPT, "--seed", seed).stdout == first.stdout


def test_each_sampling_flag_reaches_the_sampler(demo, expected):
    flags = {"temperature": 0.5, "top_k": 30, "top_p": 0.7, "seed": 3}
    arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
    done = demo("-i", PROMPT, *arguments)
    assert done.stdout.decode() == f"{PROMPT}{expected(PROMPT, **flags)}\n"
    assert demo("-i", PROMPT, "--temperature", 0).stdout.decode() == f"{PROMPT}{expected(PROMPT, temperature=0)}\n"


def test_open_model_zoos_own_command_line_works(demo, mini, expected):
    done = demo(
        "--vocab", mini / "gpt2/vocab.json", "--merges", mini / "gpt2/merges.txt", "--input", PROMPT,
        "--max_sample_token_num", "5", "--top_k", "0", "--top_p", "0.9", "-d", "CPU", "--dynamic_shape",
        "--max_seq_len", "512", "--seed", "1",
    )  # fmt: skip
    assert done.stdout.decode() == f"{PROMPT}{expected(PROMPT, max_new_tokens=5, seed=1)}\n"


def test_the_number_of_threads_is_read_back(demo):
    assert "\tNumber of threads: 1\n" in demo("-i", PROMPT, "-nthreads", 1).stderr.decode()


def test_it_stops_at_the_models_positions_and_says_so(demo):
    done = demo("-i", PROMPT, "--max_seq_len", 20, "--seed", 5, "--temperature", 0)
    lines = done.stderr.decode().splitlines()
    assert any(line.startswith("[ WARNING ] stopped at 21 tokens: there is no more room") for line in lines)
    assert any(line.endswith("finish reason: length") for line in lines)
    assert done.returncode == 0


def test_lines_of_a_pipe_are_prompts_and_blank_ones_are_passed_over(demo, expected):
    done = demo("--seed", 7, "--max_sample_token_num", 6, stdin=f"{PROMPT}\n \n\nThe whale\r\n".encode())
    first, second = (expected(p, i, max_new_tokens=6, seed=7) for i, p in enumerate([PROMPT, "The whale"]))
    assert done.stdout.decode() == f"{PROMPT}{first}\n\nThe whale{second}\n"
    assert done.returncode == 0


def test_an_empty_pipe_is_no_error(demo):
    done = demo()
    assert (done.returncode, done.stdout, errors(done)) == (0, b"", [])


def test_a_prompt_that_fails_does_not_keep_the_others_from_their_answers(demo, expected):
    long = "word " * 600
    done = demo("-i", "", "-i", PROMPT, "-i", long, "-i", "a\x07b", "-i", "end", "--seed", 1, "--top_k", 9)
    texts = [prompt + expected(prompt, n, seed=1, top_k=9) for n, prompt in [(0, ""), (1, PROMPT), (4, "end")]]
    assert done.stdout.decode() == "\n\n".join(texts) + "\n"
    assert done.returncode == 1
    too_long, control = errors(done)
    assert re.fullmatch(r"\[ ERROR \] prompt 3: the prompt has \d+ tokens; at most 512 fit: shorten it", too_long)
    assert control == "[ ERROR ] prompt 4: holds the control character U+0007 at character 2: remove it"


def test_a_space_at_the_end_gets_a_hint_and_quiet_leaves_it_and_all_else_out(demo):
    with_space, without = (
        demo("-i", prompt, "--temp", 0, "-n", 2).stderr.decode() for prompt in ("The sea ", "The sea")
    )
    assert "[ INFO ] hint: the prompt ends with a space; GPT-2 goes on better without" in with_space
    assert "hint" not in without
    done = demo("-i", "The sea ", "--temp", 0, "-n", 2, "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")
    explained = demo("-i", "The sea ", "--temp", 0, "-n", 2, "--quiet", "--explain").stderr.decode()
    assert {line.partition("\t")[0] for line in explained.splitlines()} == {"[ DEBUG ] "}


def test_texts_in_the_form_of_open_model_zoos_demo(demo, expected):
    """Its last lines; a text is written when it is finished, with its prompt, or without by --no_echo."""
    prompts = ("-i", PROMPT, "-i", "King", "--seed", 7)
    texts = [expected(PROMPT, 0, seed=7), expected("King", 1, seed=7)]
    lines = [
        f"[ INFO ] GENERATED SEQUENCE: {prompt}{text}\n" for prompt, text in zip((PROMPT, "King"), texts, strict=True)
    ]
    assert demo(*prompts, "--omz_output").stdout.decode() == "".join(lines)
    alone = "".join(f"[ INFO ] GENERATED SEQUENCE: {text}\n" for text in texts)
    assert demo(*prompts, "--omz_output", "--no_echo").stdout.decode() == alone
    beams = demo("-i", PROMPT, "--num_beams", 2, "-n", 3, "--omz_output").stdout.decode()
    plain = demo("-i", PROMPT, "--num_beams", 2, "-n", 3).stdout.decode()
    assert beams == f"[ INFO ] GENERATED SEQUENCE: {plain}"


@pytest.mark.parametrize("flags", [(), ("-o", "x.jsonl")])
def test_a_file_without_prompts_is_an_error(demo, tmp_path, flags):
    path = tmp_path / "prompts.txt"
    path.write_text("\n \n")
    assert (
        the_error(demo("--prompt_file", path, *flags)) == f"--prompt_file: {path}: has no prompts; expected one a line"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_escapes_in_stop_are_those_of_c(demo):
    """Each text has its own end: a line break, or a backslash and an n, which the model never writes."""
    ends = [demo("-i", PROMPT, "--temp", 0, "--stop", r"\n", *flags).stdout for flags in ((), ("--no_escape",))]
    assert ends[0].count(b"\n") == 1
    assert ends[1].startswith(ends[0].rstrip(b"\n"))
    assert ends[1].count(b"\n") > 1
    line = the_error(demo("-i", PROMPT, "--stop", r"C:\d"))
    assert line == r"--stop: \d is no escape of C's: write \\ for a backslash, or give --no_escape"


def test_invalid_utf8_is_an_error_of_its_line_or_argument(demo, expected):
    done = demo("--seed", 1, "--top_k", 5, stdin=b"bad \xff\n" + PROMPT.encode() + b"\nnul \0\n")
    assert done.returncode == 1
    assert done.stdout.decode() == f"{PROMPT}{expected(PROMPT, 1, seed=1, top_k=5)}\n"
    assert errors(done) == [
        "[ ERROR ] line 1: expected UTF-8, got the byte 0xff at byte 5",
        "[ ERROR ] line 3: holds the control character U+0000 at character 5: remove it",
    ]
    (line,) = errors(demo("-i", os.fsdecode(b"bad \xe9")))
    assert line == "[ ERROR ] prompt 1: expected UTF-8, got the byte 0xe9 at byte 5"


def test_without_a_model_one_line_names_the_two_commands(run):
    line = the_error(run(DEMO), 2)
    assert "omz_downloader --name gpt-2-mini && omz_converter --name gpt-2-mini" in line


@pytest.mark.parametrize(
    ("flag", "value", "expectation"),
    [
        ("--temperature", "-1", "temperature: expected a number from 0 (greedy), got -1.0"),
        ("--temperature", "nan", "temperature: expected a number from 0 (greedy), got nan"),
        ("--temperature", "inf", "temperature: expected a number from 0 (greedy), got inf"),
        ("--top_k", "-1", "top_k: expected a whole number from 0 (all tokens), got -1"),
        ("--top_p", "1.5", "top_p: expected a number from 0 to 1 (all tokens), got 1.5"),
        ("--top_p", "nan", "top_p: expected a number from 0 to 1 (all tokens), got nan"),
        ("--seed", "-1", "seed: expected a whole number from 0 to 18446744073709551615, got -1"),
        ("--max_sample_token_num", "0", "--max_sample_token_num: expected a whole number from 1 to 2147483647, got 0"),
        ("-n", "99999999999", "--max_sample_token_num: expected a whole number from 1 to 2147483647, got 99999999999"),
        ("-nthreads", "0", "--num_threads: expected a whole number from 1 to 2147483647, got 0"),
        ("--max_seq_len", "513", "max_seq_len: expected 2 .. 512, the positions of {ir}, got 513"),
        ("-d", "TPU", "device TPU: there is no such device; available: CPU"),
    ],
)
def test_a_value_out_of_range_is_one_line(demo, mini_ir, flag, value, expectation):
    assert the_error(demo("-i", PROMPT, flag, value)) == expectation.format(ir=mini_ir)


@pytest.mark.parametrize("arguments", [["--top_k", "many"], ["--no_such_flag"], ["--precision_hint", "f64"], ["-i"]])
def test_unusable_arguments_are_argparses_business(demo, arguments):
    done = demo(*arguments)
    assert done.returncode == 2
    assert b"error: " in done.stderr


@pytest.fixture
def copy_of_ir(mini_ir, tmp_path):
    folder = shutil.copytree(mini_ir.parent, tmp_path / "FP16")
    return folder / mini_ir.name


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_vocabulary_says_where_it_was_looked_for(run, copy_of_ir, name):
    (copy_of_ir.parent / "tokenizer.json").unlink()  # an older converter's IR has none
    (copy_of_ir.parent / name).unlink()
    line = the_error(run(DEMO, "-m", copy_of_ir, "-i", PROMPT))
    parameter = name.partition(".")[0]
    assert line == (
        f"{copy_of_ir.parent / name}: there is no such file; expected the model's {name}; "
        f"looked beside gpt-2-mini.xml: give it as {parameter}"
    )


def test_a_vocabulary_of_another_model_is_noticed(demo):
    line = the_error(demo("-i", PROMPT, "-v", "tests/data/gpt2-tokenizer/vocab.json",
                          "--merges", "tests/data/gpt2-tokenizer/merges.txt"))  # fmt: skip
    assert "has 8192 tokens, its tokenizer 50257" in line


def test_missing_or_damaged_files_are_one_line(run, copy_of_ir, tmp_path):
    def line() -> str:
        return the_error(run(DEMO, "-m", copy_of_ir, "-i", PROMPT))

    weights = copy_of_ir.with_suffix(".bin")
    size = weights.stat().st_size
    with weights.open("ab") as file:
        file.write(b"x")
    assert line() == f"{weights}: expected {size} bytes as gpt-2-mini.xml says, got {size + 1}: convert again"
    weights.unlink()
    assert line() == f"{weights}: there is no such file; the weights must lie beside gpt-2-mini.xml: convert again"
    copy_of_ir.write_text("no model")
    weights.touch()
    assert line().startswith(f"{copy_of_ir}: is no OpenVINO IR: ")
    copy_of_ir.write_text('<?xml version="1.0"?><net name="x" version="11">')
    assert line() == f"{copy_of_ir}: is cut: it does not end with </net>; convert the model again"
    copy_of_ir.write_text('<?xml version="1.0"?><net name="x" version="11"><layers></net>')
    assert line().startswith(f"{copy_of_ir}: OpenVINO cannot read it as a model: ")
    copy_of_ir.unlink()
    assert line().startswith(f"{copy_of_ir}: there is no such model file; ")


def test_a_closed_reader_ends_it_quietly(mini_ir):
    command = [COMMANDS / DEMO, "-m", mini_ir, "-i", PROMPT, "--max_sample_token_num", "400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(3) == b"The"
        process.stdout.close()
        talk = process.stderr.read().decode()
    assert process.returncode == 141
    assert "Error" not in talk
    assert "Traceback" not in talk


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stdout_is_one_line(mini_ir):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [COMMANDS / DEMO, "-m", mini_ir, "-i", PROMPT], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"[ ERROR ] prompt 1: stdout: cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stderr_costs_the_log_alone(mini_ir, demo):
    arguments = ["-i", PROMPT, "--temperature", "0", "-n", "5"]
    with open("/dev/full", "wb") as full:
        command = [COMMANDS / DEMO, "-m", mini_ir, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (0, demo(*arguments).stdout)


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_model_in_a_folder_whose_name_is_no_text_writes_the_same(mini, demo, tmp_path, locale):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(mini / "FP16", folder)
    arguments = ["-i", PROMPT, "--temperature", "0", "-n", "5"]
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [COMMANDS / DEMO, "-m", folder / "gpt-2-mini.xml", *arguments]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if READS_ANY_PATH:
        assert (done.returncode, done.stdout) == (0, demo(*arguments).stdout)
    else:
        assert done.returncode == 1
        assert done.stderr.endswith(b" reads no path that is not UTF-8; rename it\n")
        assert b"Traceback" not in done.stderr


def test_ctrl_c_leaves_the_text_that_was_made(mini_ir):
    command = [COMMANDS / DEMO, "-m", mini_ir, "-i", PROMPT, "--max_sample_token_num", "480", "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        text = process.stdout.read(len(PROMPT) + 20)
        process.send_signal(signal.SIGINT)
        text += process.stdout.read()
        talk = process.stderr.read().decode()
    assert process.returncode == 130
    assert text.decode().startswith(PROMPT)
    assert text.endswith(b"\n")
    assert "Traceback" not in talk
    assert "Metrics report:" in talk


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3, 0.5])
def test_ctrl_c_while_it_starts_is_quiet(mini_ir, delay):
    command = [COMMANDS / DEMO, "-m", mini_ir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while b"Seed" not in (line := process.stderr.readline()):  # our own code runs from here on
            assert line
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        talk = process.stderr.read().decode()
        assert process.stdout.read() == b""
    assert process.returncode == 130
    assert "Traceback" not in talk


def test_help_names_every_flag_and_needs_no_openvino(run):
    program = (
        "import sys; sys.modules['openvino'] = sys.modules['numpy'] = sys.modules['tokenizers'] = None\n"
        "from gpt2_text_prediction.cli.main import main; main(['-h'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for action in build_argparser()._actions:
        assert action.option_strings[-1] in done.stdout
        assert action.help.startswith(("Required. ", "Optional. ", "Show this help", "Show the version"))


def on_a_terminal(command, typed: list[bytes]) -> tuple[str, str, int]:
    """Run a command with stdin on a terminal; type each line when it asks; return stdout, stderr, exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(slave)
    talk = b""
    for line in typed:
        while not talk.endswith(b"(empty string to exit):"):
            piece = os.read(process.stderr.fileno(), 1 << 16)
            assert piece, talk.decode()
            talk += piece
        os.write(master, line)
        talk += b"\n"
    out, rest = process.communicate(timeout=HANGS_AFTER)
    with suppress(OSError):
        os.close(master)
    return out.decode(), (talk + rest).decode(), process.returncode


@pytest.mark.parametrize("end", [b"\n", b"\x04"])  # an empty line, and the end of input (Ctrl-D)
def test_on_a_terminal_it_asks_until_it_is_given_nothing(mini_ir, expected, end):
    command = [COMMANDS / DEMO, "-m", mini_ir, "--precision_hint", "f32", "--seed", "7", "--max_sample_token_num", "6"]
    text, talk, code = on_a_terminal(command, [f"{PROMPT}\n".encode(), b"The whale\n", end])
    first, second = (expected(p, i, max_new_tokens=6, seed=7) for i, p in enumerate([PROMPT, "The whale"]))
    assert text == f"{PROMPT}{first}\n\nThe whale{second}\n"
    assert talk.count("Type input prompt (empty string to exit):") == 3
    assert code == 0


def test_it_stops_at_the_end_of_a_text_which_is_not_printed(run, tmp_path):
    prompt = "the rest"
    ir = Toy().ir(tmp_path / "other")
    with TextGenerator(ir) as generator:
        tokens = generator.tokenizer.encode(prompt)
        *shown, last = Toy().greedy(tokens, 3)
        text = generator.tokenizer.decode(shown)
    assert last not in [*tokens, *shown]
    ir = Toy(eos_token_id=last).ir(tmp_path / "toy")  # the same weights: the third token now ends the text
    done = run(DEMO, "-m", ir, "-i", prompt, "--temperature", 0)
    assert done.stdout.decode() == f"{prompt}{text}\n"
    assert "[ INFO ] 3 tokens, finish reason: stop\n" in done.stderr.decode()


def test_a_model_that_can_have_no_cache_says_so_once_and_names_no_precision_of_one(run, tmp_path):
    ir = save(without_attention_ops(Toy().model(tmp_path)), tmp_path / "toy.xml")
    done = run(DEMO, "-m", ir, "-i", "the rain", "-n", 3, "--temperature", 0)
    assert (done.returncode, len(done.stdout) > len("the rain\n")) == (0, True)
    talk = [line for line in done.stderr.decode().splitlines() if "cache" in line.lower()]
    reason = "cannot be given a key/value cache (found 0 ScaledDotProductAttention and 3 Range ops)"
    assert talk == [f"[ WARNING ] {ir}: {reason}: each token computes the whole text again"]
    static = run(DEMO, "-m", ir, "-i", "the rain", "-n", 3, "--temperature", 0, "--static_shape")
    assert (static.returncode, static.stdout) == (0, done.stdout)
    assert "cache" not in static.stderr.decode().lower()


WITHOUT_PAGED_ATTENTION = """
from gpt2_text_prediction.engine.backends import paged_attention
from gpt2_text_prediction.cli.main import main

paged_attention.paged_attention_transformation = None
raise SystemExit(main())
"""


def test_without_paged_attention_it_says_so_in_one_line_and_writes_the_same(mini_ir, demo):
    arguments = ["-m", mini_ir, "-i", PROMPT, "--temperature", "0"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PAGED_ATTENTION, *arguments],
        capture_output=True,
        timeout=HANGS_AFTER,
        check=True,
    )
    assert done.stdout == demo("-i", PROMPT, "--temperature", 0).stdout
    line = f"[ INFO ] {mini_ir}: runs without a paged cache: this openvino has no paged attention"
    assert done.stderr.decode().splitlines().count(line) == 1


@pytest.mark.parametrize(
    ("prompts", "settings", "expected"),
    [
        ([b"a"], {}, True),
        ([b"a" * 32], {"max_new_tokens": 1}, True),  # 8 tokens of 4 bytes for the new one
        ([b"a" * 33], {"max_new_tokens": 1}, False),
        ([b"a"], {"num_return_sequences": 2}, False),
        ([b"a"], {"num_beams": 2}, False),
        ([b"a", b"b"], {}, False),
        (None, {}, False),  # typed, or from a pipe
    ],
)
def test_one_short_text_is_a_single_row(prompts, settings, expected):
    raw = prompts and [RawPrompt(n, "", text) for n, text in enumerate(prompts, 1)]
    assert is_single_row(raw, settings) is expected


def test_a_line_of_json_may_have_settings_of_its_own():
    assert not is_single_row([RawPrompt(1, "", b'{"prompt": "a"}', is_json=True)], {})
