"""tokens: what lies in the files is what the tokenizer says, document by document."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.data.tokens import Blocks, Encoder, Source, TokenFiles, open_tokens, texts_of, write_tokens

LETTERS = Encoder(lambda texts: [[ord(letter) for letter in text] for text in texts], 0, 256)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return Source([path])


def tokens_of(path, dtype="<u2"):
    return np.fromfile(path, dtype).tolist()


def encoded(*documents):
    return [token for document in documents for token in (*map(ord, document), 0)]


def test_every_document_ends_with_the_end_of_text(tmp_path):
    written = write_tokens(tmp_path / "out", write(tmp_path / "t.txt", "one<|endoftext|>two"), LETTERS, 0.0)
    assert written == TokenFiles(2, 8, 0, "<u2", None)
    assert tokens_of(tmp_path / "out/train.bin") == encoded("one", "two")
    assert open_tokens(tmp_path / "out") == written


def test_a_share_of_the_documents_is_held_out(tmp_path):
    names = [f"document {i}" for i in range(10)]
    written = write_tokens(tmp_path, write(tmp_path / "t.txt", "<|endoftext|>".join(names)), LETTERS, 0.25)
    assert tokens_of(tmp_path / "validation.bin") == encoded(names[3], names[7])
    assert tokens_of(tmp_path / "train.bin") == encoded(*(names[i] for i in (0, 1, 2, 4, 5, 6, 8, 9)))
    assert written.held_out == "25% of the 10 documents"


@pytest.mark.parametrize(("share", "held"), [(0.4, [2, 4, 7, 9]), (0.3, [3, 6, 9]), (0.1, [9]), (0.5, [1, 3, 5, 7, 9])])
def test_the_share_is_as_asked_for(tmp_path, share, held):
    source = write(tmp_path / "t.txt", "<|endoftext|>".join("abcdefghij"))
    written = write_tokens(tmp_path, source, LETTERS, share)
    assert tokens_of(tmp_path / "validation.bin") == encoded(*("abcdefghij"[i] for i in held))
    assert written.held_out == f"{share:.0%} of the 10 documents"


def test_a_token_that_the_model_has_no_row_for_is_refused(tmp_path):
    few = Encoder(LETTERS.encode, 0, 200)
    with pytest.raises(Problem, match=r"t.txt: has the token id 65536, by the tokenizer; the model has 200 tokens"):
        write_tokens(tmp_path, write(tmp_path / "t.txt", "a\U00010000"), few, 0.0)
    with pytest.raises(Problem, match=r"t.txt: has the token id 7, by the tokenizer; the model has 5 tokens"):
        write_tokens(tmp_path, write(tmp_path / "t.txt", "a"), Encoder(lambda texts: [[1] for _ in texts], 7, 5), 0.0)


def test_data_without_a_document_are_refused(tmp_path):
    for name, content in (("t.csv", "text\n"), ("t.txt", "<|endoftext|>"), ("t.jsonl", '{"text": ""}')):
        with pytest.raises(Problem, match=f"{name}: has no documents; expected a text in it"):
            write_tokens(tmp_path, write(tmp_path / name, content), LETTERS, 0.0)
        with pytest.raises(Problem, match=f"{name}: has no documents"):  # before a vocabulary is trained on it
            list(texts_of(Source([tmp_path / name])))


def test_of_a_single_text_its_end_is_held_out(tmp_path):
    written = write_tokens(tmp_path, write(tmp_path / "t.txt", "abcdefghijklmnopqrs"), LETTERS, 0.25)
    assert tokens_of(tmp_path / "validation.bin") == encoded("pqrs")
    assert tokens_of(tmp_path / "train.bin") == encoded("abcdefghijklmno")[:-1]
    assert written.held_out == "the last 25% of the text"


def test_another_file_is_held_out(tmp_path):
    other = write(tmp_path / "v.txt", "v")
    written = write_tokens(tmp_path, write(tmp_path / "t.txt", "t"), LETTERS, other)
    assert (tokens_of(tmp_path / "train.bin"), tokens_of(tmp_path / "validation.bin")) == (encoded("t"), encoded("v"))
    assert written.held_out == str(tmp_path / "v.txt")


def test_ids_above_65535_are_kept(tmp_path):
    large = Encoder(lambda texts: [[70000] for _ in texts], None, 70001)
    assert write_tokens(tmp_path, write(tmp_path / "t.txt", "x"), large, 0.0).dtype == "<u4"
    assert set(tokens_of(tmp_path / "train.bin", "<u4")) == {70000}


def test_gpt_2_simples_tokens_are_taken_as_they_are(tmp_path):
    np.savez(tmp_path / "t.npz", np.array([7, 0]), np.array([8]))
    write_tokens(tmp_path, Source([tmp_path / "t.npz"]), LETTERS, 0.0)
    assert tokens_of(tmp_path / "train.bin") == [7, 0, 8]


def test_files_that_are_not_whole_are_none(tmp_path):
    assert open_tokens(tmp_path) is None
    write_tokens(tmp_path, write(tmp_path / "t.txt", "some text"), LETTERS, 0.0)
    with (tmp_path / "train.bin").open("ab") as file:
        file.write(b"ab")
    assert open_tokens(tmp_path) is None
    (tmp_path / "tokens.json").write_text("{}")
    assert open_tokens(tmp_path) is None


def test_blocks_are_whole_and_spread(tmp_path):
    np.arange(23, dtype="<u2").tofile(tmp_path / "t.bin")
    blocks = Blocks(tmp_path / "t.bin", "<u2", 4)
    assert [blocks[i].tolist() for i in range(len(blocks))] == [list(range(i, i + 4)) for i in range(0, 20, 4)]
    few = Blocks(tmp_path / "t.bin", "<u2", 4, most=3)
    assert [few[i][0] for i in range(len(few))] == [0, 8, 16]
    assert len(Blocks(tmp_path / "t.bin", "<u2", 24)) == 0


def test_facts_identify_the_files(tmp_path):
    (facts,) = write(tmp_path / "t.txt", "abc").facts()
    assert facts["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert facts["bytes"] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM")
def test_memory_does_not_grow_with_the_text(tmp_path):
    """32 MB of text in less than 24 MB more than 1 MB of it."""
    script = (
        "import sys; from pathlib import Path; from gpt2_tools.finetune.data.tokens import *\n"
        "letters = Encoder(lambda texts: [list(text.encode()) for text in texts], 0, 256)\n"
        "write_tokens(Path(sys.argv[2]), Source([Path(sys.argv[1])]), letters, 0.05)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for megabytes in (1, 32):
        (tmp_path / "t.txt").write_bytes(b"the hen runs home; a fox sees\n" * (megabytes * 34953))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", script, tmp_path / "t.txt", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, check=True, env=environment, text=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 24 << 10


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_is_told_in_a_line(tmp_path):
    source = write(tmp_path / "t.txt", "x" * 10_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(Exception, match="File too large"):
            write_tokens(tmp_path / "out", source, LETTERS, 0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert open_tokens(tmp_path / "out") is None
