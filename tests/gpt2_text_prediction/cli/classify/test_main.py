"""gpt2_classify: its transcript, its file of records, and that a run that was stopped resumes to the same bytes."""

import json
import signal
import subprocess
import time

import pytest

from gpt2_text_prediction import Classifier
from gpt2_text_prediction.classification.batches import WINDOW
from gpt2_text_prediction.cli.classify.arguments import build_argparser
from support import HANGS_AFTER
from support.command import COMMANDS
from support.labels import ir, write_classifier
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=24, n_embd=16)
LABELS = ("one", "two", "three")
WORDS = ["the rat", "is it so, or not?", "ten hats", "rest in heat and rain, all of us there", "no"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return ir(write_classifier(TOY, folder / "in", LABELS, TOY.end_of_text_id), folder / "FP32/toy.xml")


@pytest.fixture
def classify(run, model, tmp_path):
    def run_classify(*arguments, **options):
        done = run("gpt2_classify", "-m", model, "--precision_hint", "f32", *arguments, cwd=tmp_path, **options)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run_classify


def labels(model, texts):
    with Classifier(model, precision_hint="f32", config=ONE_THREAD) as classifier:
        return classifier(texts)


def texts(count: int) -> list[str]:
    return [f"{WORDS[i % len(WORDS)]} {'x' * (i % 7)}" for i in range(count)]


def write_jsonl(path, found):
    path.write_text("".join(json.dumps({"text": text, "label": "not used"}) + "\n" for text in found))
    return path


def test_a_line_a_text_with_its_label_and_probability(classify, model):
    code, out, err = classify("-i", WORDS[0], "-i", WORDS[1])
    assert code == 0
    assert out == "".join(f"{one.label}\t{one.score:.4f}\n" for one in labels(model, WORDS[:2]))
    lines = err.splitlines()
    assert lines[0] == f"[ INFO ] Reading model {model}"
    assert lines[1] == f"[ INFO ] The model {model} is loaded to CPU: inference in f32"
    assert lines[2:] == ["[ INFO ] Labels: one, two, three"]


def test_several_labels_a_text(classify, model):
    (result,) = labels(model, WORDS[0])
    fields = [f"{score.label}\t{score.score:.4f}" for score in result.scores]
    for k in (1, 2, 3, 4):
        assert classify("-i", WORDS[0], "--top_k", k)[1] == "\t".join(fields[:k]) + "\n"


def test_labels_cannot_paint_the_terminal(run, tmp_path):
    named = ir(write_classifier(TOY, tmp_path / "in", ("a\x1b[31m\tb", "c\n"), 0), tmp_path / "FP32/toy.xml")
    done = run("gpt2_classify", "-m", named, "-i", WORDS[0], "--top_k", 2, cwd=tmp_path)
    assert sorted(done.stdout.decode().split("\t")[::2]) == ["a\\x1b[31m b", "c"]
    assert "".join(done.stderr.decode().splitlines()).isprintable()


def test_a_pipe_has_a_text_a_line_and_a_bad_line_costs_itself_alone(classify, model):
    stdin = b"\xef\xbb\xbfthe rat\r\n\n  \nten \xff hats\nno"
    code, out, err = classify(stdin=stdin)
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == [one.label for one in labels(model, ["the rat", "no"])]
    assert "[ ERROR ] line 4: expected UTF-8, got the byte 0xff at byte 5\n" in err


def test_a_pipe_is_answered_as_it_comes(model):
    command = [COMMANDS / "gpt2_classify", "-m", model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for text in WORDS:
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().split(b"\t")[0].decode() in LABELS
        process.stdin.close()
        assert process.wait(HANGS_AFTER) == 0


def test_a_file_of_lines_or_of_objects(classify, model, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(WORDS[:2]) + "\n\n")
    write_jsonl(tmp_path / "texts.jsonl", WORDS[:2])
    expected = "".join(f"{one.label}\t{one.score:.4f}\n" for one in labels(model, WORDS[:2]))
    for name in ("texts.txt", "texts.jsonl"):
        assert classify("--file", name)[:2] == (0, expected)


def test_a_record_has_the_text_and_all_its_labels(classify, model, tmp_path):
    found = [*WORDS, "a long text " * 10, "control \x00\x0c characters"]
    write_jsonl(tmp_path / "in.jsonl", found)
    code, out, err = classify("--file", "in.jsonl", "-o", "out.jsonl")
    assert (code, out) == (0, "")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    for number, (record, one) in enumerate(zip(records, labels(model, found), strict=True), 1):
        assert record.pop("run").keys() >= {"weights", "tokenizer"}
        assert record.pop("properties") == {"INFERENCE_PRECISION_HINT": "f32"}
        assert record.pop("number") == number
        assert record.pop("text") == found[number - 1]
        scores = [{"label": label, "score": round(score, 6)} for label, score in one.scores]
        assert record == {"label": one.label, "score": scores[0]["score"], "scores": scores, "cut": one.cut}
    cut = sum(1 for record in records if record["cut"])
    assert f"[ INFO ] 7 texts are in out.jsonl\n[ WARNING ] {cut} of 7 texts were cut at their end: at most 24" in err
    assert cut > 0


def test_a_run_that_was_cut_anywhere_resumes_to_the_same_bytes(classify, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [*texts(WINDOW + 30), "", *texts(5)])
    arguments = "--file", "in.jsonl", "-o", "out.jsonl", "--top_k", "2"
    code, _, err = classify(*arguments)
    assert (code, err.count("ERROR")) == (1, 1)
    assert f"line {WINDOW + 31}: is blank: a label needs some text" in err
    whole = (tmp_path / "out.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == WINDOW + 35
    for end in (0, 5, ends[0] - 1, ends[0], ends[100] + 40, ends[WINDOW - 1], ends[WINDOW + 3], ends[-1]):
        (tmp_path / "out.jsonl").write_bytes(whole[:end])
        assert classify(*arguments)[0] == 1
        assert (tmp_path / "out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_resumes_to_the_same_bytes(classify, model, tmp_path, end):
    write_jsonl(tmp_path / "in.jsonl", texts(8 * WINDOW))
    assert classify("--file", "in.jsonl", "-o", "whole.jsonl")[0] == 0
    out = tmp_path / "out.jsonl"
    command = ["gpt2_classify", "-m", model, "--precision_hint", "f32", "--file", "in.jsonl", "-o", out]
    with subprocess.Popen([COMMANDS / command[0], *command[1:]], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (out.exists() and out.stat().st_size):
            time.sleep(0.001)
        process.send_signal(end)
        assert process.wait(HANGS_AFTER) in (0, -signal.SIGKILL, 130)
    assert classify("--file", "in.jsonl", "-o", out)[0] == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_file_of_another_run_is_left_as_it_is(classify, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", WORDS)
    out = tmp_path / "out.jsonl"
    assert classify("--file", "in.jsonl", "-o", out)[0] == 0
    lines = out.read_bytes().splitlines(keepends=True)
    other = json.dumps({**json.loads(lines[1]), "text": "another"}).encode() + b"\n"
    cases = {
        "line 1 is of another run; different: the settings": (lines, ["--top_k", "1"]),
        "line 1 is of another run; different: the tokenizer": (lines, ["-v", "vocab.json", "--merges", "merges.txt"]),
        "line 2 is of another text 2 than the input has": ([lines[0], other], []),
        "line 2 is not in the order of the texts": ([lines[0], lines[0]], []),
        "line 2 is not of the next text": ([lines[0], lines[2]], []),
        "line 6 is no record": ([*lines, b"{}\n"], []),
        "line 1 is no record": ([b"my only letter\n"], []),
        "line 1 is no record: give another file, or remove this one": ([b"my letter"], []),
    }
    TOY.write_vocabulary(tmp_path)
    for line, (content, more) in cases.items():
        out.write_bytes(b"".join(content))
        code, _, err = classify("--file", "in.jsonl", "-o", out, *more)
        assert code == 1
        assert f"[ ERROR ] -o {out}: {line}" in err
        assert out.read_bytes() == b"".join(content)
    out.write_bytes(b"".join(lines))
    write_jsonl(tmp_path / "in.jsonl", WORDS[:3])
    code, _, err = classify("--file", "in.jsonl", "-o", out)
    assert (code, "line 4 is of a text that the input does not have" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-i", ""], "text 1: is blank: a label needs some text"),
        (["-i", "a", "--file", "b"], "-i, --file: expected one of them"),
        (["-o", "out"], "-o: expected texts: give -i or --file"),
        (["--file", "none.txt"], "--file: none.txt: there is no such file"),
        (["--file", "."], "--file: .: is a folder; expected a file with one text per line"),
        (["--file", "a.csv"], "--file: a.csv: expected one text per line, or a .jsonl of objects with a 'text'"),
        (["-i", "a", "--top_k", "0"], "--top_k: expected a whole number from 1 to 2147483647, got 0"),
        (["-i", "a", "-nthreads", "0"], "--num_threads: expected a whole number from 1 to 2147483647, got 0"),
        (["-i", "a", "--max_seq_len", "25"], "max_seq_len: expected 1 .. 24"),
        (["-i", "a", "-d", "XPU"], "device XPU: there is no such device; available: "),
        (["-i", "a", "--config", "X"], "--config: expected KEY=VALUE, got 'X'"),
    ],
)
def test_what_cannot_be_done_is_one_line(classify, arguments, line):
    code, out, err = classify(*arguments)
    assert (code, out) == (1, "")
    assert next(each for each in err.splitlines() if "INFO" not in each).startswith(f"[ ERROR ] {line}")
    assert err.count("ERROR") == 1


def test_a_line_that_is_no_object_with_a_text_costs_itself_alone(classify, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "the rat"}\n{"prompt": "a"}\n{\n["text"]\n{"text": "no"}\n')
    code, out, err = classify("--file", "in.jsonl")
    assert (code, len(out.splitlines()), err.count("ERROR")) == (1, 2, 3)
    assert 'in.jsonl: line 2: expected a JSON object with a "text" that is a text' in err


def test_without_a_model_it_says_how_to_make_one(run):
    done = run("gpt2_classify")
    assert done.returncode == 2
    assert b"-m/--model is missing: a model of labels, which omz_converter --checkpoint DIR makes" in done.stderr


def test_the_demo_and_gpt2_classify_name_each_other(run, classify, model, tmp_path):
    language_model = TOY.ir(tmp_path)
    done = run("gpt2_classify", "-m", language_model, "-i", "a")
    assert done.returncode == 1
    assert f"gpt2_text_prediction_demo -m {language_model}" in done.stderr.decode()
    done = run("gpt2_text_prediction_demo", "-m", model, "-i", "a")
    assert done.returncode == 1
    assert f"[ ERROR ] {model}: is a model of labels (classification)" in done.stderr.decode()
    assert f"run: gpt2_classify -m {model}\n" in done.stderr.decode()


def test_a_reader_that_has_gone_ends_it(model, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", texts(3 * WINDOW))
    command = [COMMANDS / "gpt2_classify", "-m", model, "--file", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(HANGS_AFTER) in (0, 141)


def test_every_flag_says_whether_it_is_required_and_what_its_default_is():
    for action in build_argparser()._actions[1:]:
        assert action.help.startswith("Required. ") or "Default: " in action.help or action.nargs == 0, action.help


def test_a_model_is_found_by_its_name(run, model, tmp_path):
    folder = tmp_path / "public/toy"
    folder.mkdir(parents=True)
    (folder / "FP16").symlink_to(model.parent)
    done = run("gpt2_classify", "-m", "toy", "-i", "the rat", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
