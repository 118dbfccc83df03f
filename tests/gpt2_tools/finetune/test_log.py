"""log: cut back at a resume, whole lines only, and gpt-2-simple's line with its average."""

from gpt2_tools.finetune.log import Log, loss_line, read_log


def test_a_resumed_log_has_each_step_once(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    for step in range(1, 6):
        log.add({"step": step, "loss": float(step)})
    log.add({"step": 5, "eval_loss": 1.0})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # killed meanwhile
    log = Log(path, 3)
    assert [entry["step"] for entry in read_log(path)] == [1, 2, 3]
    log.add({"step": 4, "loss": 9.0})
    log.close()
    assert [entry["loss"] for entry in read_log(path)] == [1.0, 2.0, 3.0, 9.0]


def test_a_fresh_log_is_empty(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    Log(tmp_path / "log.jsonl").close()
    assert read_log(tmp_path / "log.jsonl") == []
    assert read_log(tmp_path / "none") == []


def test_the_average_is_gpt_2_simples(tmp_path):
    """That is, avg = (avg[0] * 0.99 + loss, avg[1] * 0.99 + 1.0), which is shown as avg[0] / avg[1]."""
    log, total, weight = Log(tmp_path / "log.jsonl"), 0.0, 0.0
    assert log.average == 0
    for step, loss in enumerate((4.0, 2.0, 1.0), 1):
        log.add({"step": step, "loss": loss})
        total, weight = total * 0.99 + loss, weight * 0.99 + 1.0
        assert log.average == total / weight
    log.close()
    resumed = Log(tmp_path / "log.jsonl", 3)
    assert resumed.average == total / weight
    resumed.close()


def test_the_line_is_gpt_2_simples():
    """The format is '[{counter} | {time:2.2f}] loss={loss:2.2f} avg={avg:2.2f}'."""
    assert loss_line(10, 12.345, 3.456, 4.5) == "[10 | 12.35] loss=3.46 avg=4.50"
