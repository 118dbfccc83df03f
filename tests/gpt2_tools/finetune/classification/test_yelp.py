"""The data set yelp-review-full, from a server of this machine with a small archive in its place, to tokens."""

import csv
import io
import tarfile

import numpy as np
import pytest
import yaml

from gpt2_tools.finetune.classification.examples import Examples, Form, HoldOut, write_examples
from gpt2_tools.finetune.classification.rows import Columns
from gpt2_tools.finetune.data.tokens import Encoder, Source
from omz_model_tools.cli.data_downloader import data_downloader
from omz_model_tools.descriptor import packaged_dataset
from support import ROOT
from support.hub import Answer, Hub
from support.model_tree import file_entry, write_dataset

NAME = "yelp-review-full"
BYTES = Encoder(lambda texts: [list(text.encode()) for text in texts], 0, 300)


def reviews(count):
    """Return rows like Yelp's: stars, and a text with quotes and line breaks written as two characters."""
    return [(str(i * 7 % 5 + 1), f'review {i}: "so" good,\\n\\nor not{"!" * (i % 9)}') for i in range(count)]


def archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, count in (("train.csv", 3000), ("test.csv", 1500)):
            text = io.StringIO()
            csv.writer(text, quoting=csv.QUOTE_ALL).writerows(reviews(count))
            raw = text.getvalue().encode()
            about = tarfile.TarInfo(f"yelp_review_full_csv/{name}")
            about.size = len(raw)
            tar.addfile(about, io.BytesIO(raw))
    return content.getvalue()


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    """Return the folder that omz_data_downloader has unpacked, by the packaged descriptor with another archive."""
    folder = tmp_path_factory.mktemp("yelp")
    value = yaml.safe_load((ROOT / "models/datasets" / NAME / "dataset.yml").read_bytes())
    with Hub() as hub:
        name = value["files"][0]["name"]
        value["files"] = [file_entry(name, archive(), hub.serve(name, Answer(archive())))]
        write_dataset(folder / "zoo", NAME, value)
        assert data_downloader(["--name", NAME, "-o", str(folder)], [folder / "zoo"]) == 0
    return folder / "datasets" / NAME / "yelp_review_full_csv"


def sample(folder, tables, columns, tokens):
    """Write the tokens of 1000 + 1000 reviews; return what is trained on and what is held out."""
    train, test = (Source([folder / table], columns.text) for table in tables)
    files = write_examples(tokens, train, HoldOut(test, 1000, 1000), Form(columns, BYTES, 64))
    assert files.labels == ["1", "2", "3", "4", "5"]
    assert files.texts == [200] * 5
    return [Examples(tokens, files, is_held_out) for is_held_out in (False, True)]


def rows_of(examples):
    found = [examples[i] for i in range(len(examples))]
    return [(examples.labels[label], bytes(ids.tolist()).decode()) for ids, label in found]


def test_a_thousand_reviews_of_each_file_are_taken_the_same_each_time(downloaded, tmp_path):
    tables = ("train.csv", "test.csv")
    first = sample(downloaded, tables, Columns("2", "1"), tmp_path / "a")
    again = sample(downloaded, tables, Columns("2", "1"), tmp_path / "b")
    for examples, repeated, count in zip(first, again, (3000, 1500), strict=True):
        found, known = rows_of(examples), {text: stars for stars, text in reviews(count)}
        assert len(set(found)) == 1000
        assert all(known[text] == stars for stars, text in found)
        assert rows_of(repeated) == found
        numbers = np.array([int(text.split(":")[0].split()[1]) for _, text in found])
        assert np.histogram(numbers, 10, (0, count))[0].tolist() == [100] * 10  # from all parts of the file


@pytest.mark.extras("pyarrow")
def test_a_parquet_file_of_the_same_gives_the_same_tokens(downloaded, tmp_path):
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    for name, count in (("train", 3000), ("test", 1500)):
        stars, texts = zip(*reviews(count), strict=True)
        table = pa.table({"label": [int(star) for star in stars], "text": texts})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=700)
    sample(downloaded, ("train.csv", "test.csv"), Columns("2", "1"), tmp_path / "a")
    sample(tmp_path, ("train.parquet", "test.parquet"), Columns(), tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        if path.name != "tokens.json":  # which names the files
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_packaged_descriptor_names_the_archive():
    (file,) = packaged_dataset(NAME).files
    assert (str(file.name), file.size) == ("yelp_review_full_csv.tgz", 196146755)
    assert file.checksum.digest == "56006b0a17a370f1e366504b1f2c3e3754e4a3dda17d3e718a885c552869a559"
    assert [str(source) for source in file.sources] == ["https://s3.amazonaws.com/fast-ai-nlp/yelp_review_full_csv.tgz"]
