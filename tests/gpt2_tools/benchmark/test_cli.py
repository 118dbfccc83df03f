"""cli: its table and its JSON line agree; what it cannot measure it says. No time is judged."""

import csv
import importlib.util
import json
import shutil

import pytest

from gpt2_text_prediction import TextGenerator
from support.command import run_process

QUICK = ["-p", "8", "-M", "4", "-n", "2", "-N", "0"]


@pytest.fixture(scope="module")
def report(run, mini_ir):
    """Run it once, whole; return (lines of the table, the JSON)."""
    done = run("gpt2_benchmark", "-m", mini_ir, *QUICK)
    assert done.returncode == 0, done.stderr.decode()
    *table, last = done.stdout.decode().splitlines()
    return table, json.loads(last)


def test_the_last_line_is_json_that_names_versions_threads_and_precisions(report, mini_ir):
    _, said = report
    assert said["model"] == str(mini_ir)
    with TextGenerator(mini_ir, precision_hint="f32") as generator:
        back_end = generator.engine.back_end.name
    assert (said["inference_precision"], said["kv_cache_precision"], said["back_end"]) == ("f32", "f16", back_end)
    assert int(said["threads"]) >= 1
    assert said["dynamic_quantization_group_size"].isdecimal()
    assert {"openvino", "numpy", "tokenizers", "python", "omz-gpt2"} <= said["versions"].keys()
    assert (said["prompt_tokens"], said["max_new_tokens"], said["num_iter"], said["num_warmup"]) == (8, 4, 2, 0)


def test_the_table_shows_the_figures_of_the_json(report):
    table, said = report
    figures = said["figures"]
    assert [line.partition("  ")[0] for line in table] == list(figures)
    for line, figure in zip(table, figures.values(), strict=True):
        shown, unit = line.partition("  ")[2].split()[:2]
        assert float(shown) == pytest.approx(figure["median"], rel=1e-2, abs=1e-4)
        assert unit == figure["unit"]
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]


def test_it_measures_what_the_documentation_quotes(report):
    _, said = report
    runs = {name: figure["runs"] for name, figure in said["figures"].items()}
    assert runs == {
        "load": 1,
        "first token after 8": 2,
        "time per token": 2,
        "throughput": 2,
        "memory read": 2,
        "decode as memory allows": 2,
        "decode / as memory allows": 2,
        "tokenization": 2,
        "detokenization": 2,
        "sampling, flat logits": 200,
        "sampling, peaked logits": 200,
        "sampling, share of a token": 1,
        "time per token at 100": 32,
        "time per token at 480": 32,
        "growth from 100 to 480": 1,
        "resident memory": 1,
        "private memory": 1,
        "peak memory": 1,
        "demo, 40 tokens, whole process": 2,
        "demo, 40 tokens, whole process, peak memory": 2,
        "omz_converter FP16, whole process": 2,
        "omz_converter FP16, whole process, peak memory": 2,
    }


def test_ratios_follow_from_their_figures(report):
    figures = {name: figure["median"] for name, figure in report[1]["figures"].items()}
    ratio = figures["time per token at 480"] / figures["time per token at 100"]
    assert figures["growth from 100 to 480"] == pytest.approx(ratio, rel=1e-2)
    slower = max(figures["sampling, flat logits"], figures["sampling, peaked logits"])
    assert figures["sampling, share of a token"] == pytest.approx(100 * slower / figures["time per token"], rel=1e-2)
    throughput, per_token = (report[1]["figures"][name] for name in ("throughput", "time per token"))
    for most, least in (("max", "min"), ("min", "max")):
        assert throughput[most] == pytest.approx(1000 / per_token[least], rel=1e-2)


def test_the_share_of_what_memory_allows_follows_from_the_size_of_the_weights(report, mini_ir):
    figures = {name: figure["median"] for name, figure in report[1]["figures"].items()}
    allowed = figures["memory read"] * 1e9 / mini_ir.with_suffix(".bin").stat().st_size
    assert figures["decode as memory allows"] == pytest.approx(allowed, rel=1e-2)
    assert 0 < figures["decode / as memory allows"] < 1


def test_a_row_for_each_of_several_lengths(run, mini_ir):
    done = run("gpt2_benchmark", "-m", mini_ir, "-p", "8,16", "-M", "2,4", "-n", "2", "-N", "0")
    assert done.returncode == 0, done.stderr.decode()
    heading, rule, *rows, gap, load, resident, private, peak, other_gap, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    tests = ["pp8+tg2", "pp8+tg4", "pp16+tg2", "pp16+tg4"]
    assert [row.split("|")[5].strip() for row in rows] == [row["test"] for row in said["rows"]] == tests
    assert heading.startswith("| model      | back end | threads | precision | test     | tokens       | ")
    assert (len(rule), gap, other_gap) == (len(heading), "", "")
    for line, name in zip((load, resident, private, peak), said["figures"], strict=True):
        assert line.partition("  ")[0] == name
    for row in said["rows"]:
        assert (row["figures"]["throughput"]["runs"], len(row["tokens_sha256"])) == (2, 1)
        first = row["prompt_tokens"] * 1000 / row["figures"]["first token"]["min"]
        assert row["figures"]["prompt"]["max"] == pytest.approx(first, rel=1e-2)


def test_comma_separated_with_the_tokens_of_another_run(run, report, mini_ir):
    done = run("gpt2_benchmark", "-m", mini_ir, *QUICK, "-o", "csv", "-d", "CPU", "-nthreads", "1")
    assert done.returncode == 0, done.stderr.decode()
    (row,) = csv.DictReader(done.stdout.decode().splitlines())
    assert {name: row[name] for name in ("model", "test", "prompt_tokens", "max_new_tokens", "threads")} == {
        "model": str(mini_ir),
        "test": "pp8+tg4",
        "prompt_tokens": "8",
        "max_new_tokens": "4",
        "threads": "1",
    }
    assert report[1]["tokens_sha256"] == [row["tokens_sha256"]]
    assert float(row["throughput_tokens_per_s_mean"]) > 0
    assert float(row["load_s_median"]) > 0


def test_a_model_without_its_vocabulary_beside_it(run, mini_ir, tmp_path):
    for path in mini_ir.parent.glob("gpt-2-mini.*"):
        shutil.copy(path, tmp_path)
    done = run("gpt2_benchmark", "-m", tmp_path / mini_ir.name, *QUICK, "-o", "json")
    assert "the tokenizer is not measured: " in done.stderr.decode()
    (row,) = json.loads(done.stdout)["rows"]
    assert "throughput" in row["figures"]
    assert "tokenization" not in row["figures"]


@pytest.mark.extras("matplotlib")
def test_a_picture_of_the_growth(run, mini_ir, tmp_path):
    done = run("gpt2_benchmark", "-m", mini_ir, "-p", "8", "-n", "2", "-N", "0", "--plot", tmp_path / "growth.png")
    assert done.returncode == 0, done.stderr.decode()
    *table, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    assert [line.partition("  ")[0] for line in table] == list(said["figures"])
    assert {"time per token at 60", "time per token at 480", "throughput, batch 16", "throughput, threads 1"} <= said[
        "figures"
    ].keys()
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert [path.name for path in tmp_path.iterdir()] == ["growth.png"]


@pytest.mark.extras("matplotlib")
def test_a_picture_that_cannot_be_written_costs_no_figure(run, mini_ir, tmp_path):
    (tmp_path / ".growth.svg.new").mkdir()
    done = run("gpt2_benchmark", "-m", mini_ir, "-p", "1", "-n", "1", "-N", "0", "--plot", tmp_path / "growth.svg")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith(f"{tmp_path}/growth.svg: ")
    assert "throughput, batch 16" in json.loads(done.stdout.splitlines()[-1])["figures"]


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is not None, reason="matplotlib is installed")
def test_without_matplotlib_one_line_names_the_install(run, mini_ir, tmp_path):
    done = run("gpt2_benchmark", "-m", mini_ir, "--plot", tmp_path / "growth.png")
    line = "--plot: matplotlib is not installed; run: pip install 'omz-gpt2[plot]'\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", line)


def test_an_ir_outside_of_open_model_zoos_folders_leaves_the_converter_out(run, mini_ir, tmp_path):
    folder = shutil.copytree(mini_ir.parent, tmp_path / "somewhere")
    done = run("gpt2_benchmark", "-m", folder / mini_ir.name, *QUICK)
    assert done.returncode == 0
    assert "omz_converter is not measured: " in done.stderr.decode()
    assert not any("omz_converter" in name for name in json.loads(done.stdout.splitlines()[-1])["figures"])


def test_making_a_checkpoint_by_command(run, tmp_path):
    done = run("gpt2_benchmark", "--make_checkpoint", tmp_path / "gpt2", "--size", "gpt-2-mini")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == f"{tmp_path}/gpt2: a gpt-2-mini with random weights\n"
    assert (tmp_path / "gpt2/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-m", "nowhere.xml"], "nowhere.xml: there is no such model file; "),
        (["-m", "{ir}", "-p", "500", "-M", "100"], "-p and -M: expected at most 512 tokens together"),
        (["-m", "{ir}", "-M", "1"], "-M: expected at least 2 new tokens"),
        (["-m", "{ir}", "-p", "8,500", "-M", "100"], "-p and -M: expected at most 512 tokens together, got 600"),
        (["-m", "{ir}", "-M", "4,1"], "-M: expected at least 2 new tokens"),
        (["-m", "{ir}", "--streams", "1025"], "--streams: expected at most 1024 streams, got 1025"),
        (["-m", "{ir}", "--streams", "2", "-p", "500"], "-p and -M: expected at most 512 tokens together, got 628"),
        (["-m", "nowhere.xml", "--streams", "2"], "nowhere.xml: there is no such model file; "),
        (["-m", "{ir}", "-d", "TPU"], "device TPU: there is no such device; available: CPU"),
        (
            ["-m", "{ir}", "--peers", "none", "-p", "500", "-M", "100"],
            "-p and -M: expected at most 512 tokens together",
        ),
        (["-m", "{ir}", "--peers", "none", "-M", "1"], "-M: expected at least 2 new tokens"),
        (["-m", "{ir}", "--peers", "none", "--checkpoint", "nowhere"], "nowhere: expected the model.safetensors"),
        (["-m", "{ir}", "--peers", "none", "--int8_model", "nowhere.xml"], "nowhere.xml: there is no such model file"),
        (["-m", "{ir}.onnx", "--peers", "none"], "{ir}.onnx: expected an .xml of"),
        (["--make_checkpoint", "{ir}"], "{ir}: expected a new or an empty folder"),
    ],
)
def test_a_users_mistake_is_one_line(run, mini_ir, arguments, line):
    done = run("gpt2_benchmark", *(argument.format(ir=mini_ir) for argument in arguments))
    lines = [text for text in done.stderr.decode().splitlines() if not text.endswith(" ...")]
    assert done.returncode == 1
    assert done.stdout == b""
    assert len(lines) == 1
    assert lines[0].startswith(line.format(ir=mini_ir))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (None, "config.json: "),
        ("no JSON", "config.json: "),
        ('{"model_type": "llama"}', "config.json: "),
    ],
)
def test_a_checkpoint_whose_config_cannot_be_used_beside_peers(run, mini_ir, tmp_path, config, line):
    (tmp_path / "model.safetensors").touch()
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    done = run("gpt2_benchmark", "-m", mini_ir, "--peers", "ctranslate2", "--checkpoint", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith(f"{tmp_path}/{line}")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_one_line_names_the_install(run, mini_ir):
    done = run("gpt2_benchmark", "-m", mini_ir, *QUICK, "--with-transformers", "--engine_only")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].endswith("pip install 'omz-gpt2[evaluate]'")


@pytest.mark.extras("transformers")
def test_beside_transformers(run, mini_ir):
    done = run("gpt2_benchmark", "-m", mini_ir, *QUICK, "--with-transformers", "--engine_only")
    figures = {name: figure["median"] for name, figure in json.loads(done.stdout.splitlines()[-1])["figures"].items()}
    for name in ("first token after 8", "time per token"):
        faster = figures[f"transformers, {name}"] / figures[name]
        assert figures[f"{name}, times faster"] == pytest.approx(faster, rel=1e-2)


def test_beside_peers_that_cannot_be_installed(run, mini_ir, tmp_path):
    """The engine's own rows are there all the same; INT8 is not, and why is said."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_EXTRA_INDEX_URL": ""}
    arguments = ["--peers", "ctranslate2", "--peer_cache", tmp_path / "cache", *QUICK, "-n", "1"]
    arguments += ["--precision_hint", "f32"]
    done = run("gpt2_benchmark", "-m", mini_ir, *arguments, env=offline)
    assert done.returncode == 0, done.stderr.decode()
    *table, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    figures = said["figures"]
    assert [line.partition("  ")[0] for line in table[:-1]] == list(figures)
    reason = "cannot create its environment: ERROR: No matching distribution found for ctranslate2==4.8.5; "
    assert table[-1].startswith(f"not run: ctranslate2: {reason}")
    assert said["not_run"]["ctranslate2"].startswith(reason)
    assert (said["threads"], said["prompt_tokens"], said["max_new_tokens"]) == (2, 8, 4)
    ours = "ours FP16 [f32, cache f16]"
    assert {f"decode, {ours}", "memory read", f"prefill of 511, {ours}"} <= figures.keys()
    assert figures[f"decode, {ours}"]["runs"] == 1
    missing = mini_ir.parent.parent / "FP16-INT8" / mini_ir.name
    assert f"INT8 is not measured: {missing} does not exist: omz_quantizer makes it" in done.stderr.decode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], {"max_num_seqs": 3}), (["--max_num_seqs", "2", "-nthreads", "1"], {"max_num_seqs": 2, "threads": "1"})],
)
def test_streams_beside_the_same_with_16_at_once(run, mini_ir, given, expected):
    done = run("gpt2_benchmark", "-m", mini_ir, *QUICK, "--streams", "3", *given)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.decode().splitlines() == ["loading ...", "loading ...", "generating ..."]
    *table, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    assert [line.partition("  ")[0] for line in table] == list(said["figures"])
    expected = {"streams": 3, "prompt_tokens": 8, "max_new_tokens": 4, "num_iter": 2, **expected}
    assert {name: said[name] for name in expected} == expected
    assert all(figure["runs"] == 2 and figure["min"] > 0 for figure in said["figures"].values())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_downloader_beside_curl(tmp_path):
    done = run_process("gpt2_benchmark", "--download", "2", "-n", "3", "-N", "0", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr.decode()
    *table, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    figures = {name: figure["median"] for name, figure in said["figures"].items()}
    assert [line.partition("  ")[0] for line in table] == list(figures)
    assert (said["download_mb"], said["num_iter"], said["num_warmup"]) == (2, 3, 0)
    for name in ("curl && sha256sum", "omz_downloader"):
        assert said["figures"][f"{name}, whole process"]["runs"] == 3
        assert figures[f"{name}, rate"] == pytest.approx(2 / figures[f"{name}, whole process"], rel=1e-2)
    ratio = figures["omz_downloader, rate"] / figures["curl && sha256sum, rate"]
    assert figures["omz_downloader, share of curl's rate"] == pytest.approx(ratio, rel=1e-2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_downloader_that_fails_is_no_measurement(tmp_path):
    environment = {"TMPDIR": str(tmp_path), "OMZ_MODELS_DIR": "gone"}
    done = run_process("gpt2_benchmark", "--download", "1", "-n", "1", env=environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "omz_downloader" in done.stderr.decode().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_without_curl_one_line_says_so(run, tmp_path):
    done = run("gpt2_benchmark", "--download", "1", env={"PATH": str(tmp_path)})
    said = done.stderr.decode().splitlines()[1:]
    assert (done.returncode, done.stdout) == (1, b"")
    assert said == ["--download: curl is not installed; install it: omz_downloader is measured beside it"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_download_that_does_not_fit_is_one_line(run, tmp_path):
    done = run("gpt2_benchmark", "--download", "999999999", env={"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, b"", [])
    assert "expected 1999999998 MB free, got " in done.stderr.decode().splitlines()[-1]


def test_unusable_arguments(run):
    for arguments in (
        [],
        ["-m", "x.xml", "--peers", "numpy"],
        ["-m", "x.xml", "-n", "0"],
        ["-m", "x.xml", "--make_checkpoint", "y"],
        ["-m", "x.xml", "-p", "1,,2"],
        ["-m", "x.xml", "-o", "sql"],
    ):
        done = run("gpt2_benchmark", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(b"gpt2_benchmark: error: ")
        assert done.stderr.count(b"\n") == 1
