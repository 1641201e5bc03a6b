"""Losses of logs of every kind."""

import json

import pytest

from jittor_ddim.errors import UserError
from jittor_ddim.jobs.align import _claimed
from jittor_ddim.parity.align.logs import in_common, largest_gap, read_losses

WANTED = {1: 0.9, 2: 0.34, 3: 1e-3}


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "line",
    [
        "INFO - training.py - Step: {step}, Loss: {loss}, lr: 0.1",
        "[Epoch 3] iter {step}: loss={loss} grad_norm=7.0",
        "step={step} train_loss = {loss}",
        "iteration [{step}/500] Training loss {loss}",
        "  1%|#     | {step}/500 [00:03<00:09, 1.0it/s, loss={loss}]",
    ],
)
def test_lines_that_people_print(line, tmp_path):
    text = "starting\n" + "\n".join(line.format(step=k, loss=v) for k, v in WANTED.items())
    assert read_losses(written(tmp_path / "log.txt", text)) == WANTED


def test_a_progress_bar_overwrites_its_line(tmp_path):
    bars = ["0/3 [?, loss=9]", "1/3 [x, loss=0.9]", "2/3 [x, loss=0.34]", "3/3 [x, loss=5]"]
    text = "\r".join([*bars, "3/3 [x, loss=1e-3]"])
    found = read_losses(written(tmp_path / "log.txt", text))
    assert {k: found[k] for k in WANTED} == WANTED


def test_lines_without_steps_are_counted(tmp_path):
    assert read_losses(written(tmp_path / "a.log", "loss: 3\nx\nloss: 2.5")) == {0: 3.0, 1: 2.5}


def test_json_lines_of_a_run(tmp_path):
    rows = "".join(json.dumps({"step": k, "loss": v}) + "\n" for k, v in WANTED.items())
    written(tmp_path / "metrics.jsonl", rows + '{"note": 1}\n')
    assert read_losses(tmp_path) == WANTED
    assert read_losses(tmp_path / "metrics.jsonl") == WANTED


def test_csv(tmp_path):
    rows = "Step,Loss\n" + "".join(f"{k},{v}\n" for k, v in WANTED.items())
    assert read_losses(written(tmp_path / "log.csv", rows)) == WANTED


def test_tensorboard_events(tmp_path):
    from jittor_ddim.runs.tensorboard import EventWriter

    writer = EventWriter(tmp_path)
    for step, value in WANTED.items():
        writer.scalars({"loss": value}, step)
    writer.close()
    assert read_losses(tmp_path) == pytest.approx(WANTED)


def test_a_pattern_of_ones_own(tmp_path):
    text = "it 1 L0.9\nit 2 L0.34\nit 3 L1e-3"
    pattern = r"it (?P<step>\d+) L(?P<loss>\S+)"
    assert read_losses(written(tmp_path / "a.txt", text), pattern) == WANTED


@pytest.mark.parametrize(
    ("name", "text", "pattern", "message"),
    [
        ("a.txt", "nothing here", None, "no losses found"),
        ("a.txt", "loss: 3", "x(?P<loss>y)", "the pattern matches nothing"),
        ("a.txt", "loss: 3", "loss", "has no group"),
        ("a.txt", "loss: 3", "(", "`pattern`"),
        ("a.txt", "loss: ab", "loss: (?P<loss>.*)", "is no number"),
        ("a.jsonl", "{", None, "line 1 is no JSON"),
        ("a.csv", "step,loss\n1,x\n", None, "are no step and loss"),
        ("a.csv", "step,loss\ninf,2\n", None, "are no step and loss"),
        ("a.csv", "step,loss\n" + "1" * 200_000 + ",2\n", None, "no CSV: field larger"),
        ("a.txt", "at x: 2", r"at (?P<step>\w): (?P<loss>\d)", "the pattern's step 'x' is no"),
    ],
)
def test_what_cannot_be_read_is_named(name, text, pattern, message, tmp_path):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        read_losses(written(tmp_path / name, text), pattern)


def test_a_folder_or_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_losses(tmp_path / "missing")
    with pytest.raises(UserError, match="neither"):
        read_losses(tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl"])
def test_text_of_another_encoding(name, tmp_path):
    text = {
        "a.csv": "step,loss,\u5907\u6ce8\n1,0.9,\u597d\n",
        "a.txt": "\u6b65 step: 1 loss: 0.9\n",
        "a.jsonl": '{"step": 1, "loss": 0.9, "note": "\u597d"}\n',
    }[name]
    (tmp_path / name).write_bytes(text.encode("gbk"))
    assert read_losses(tmp_path / name) == {1: 0.9}
    (tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    assert read_losses(tmp_path / name) == {1: 0.9}


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c"])
def test_only_line_feeds_end_a_row(mark, tmp_path):
    rows = [{"note": f"a{mark}b", "step": 1, "loss": 0.9}, {"step": 2, "loss": 0.34}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read_losses(written(tmp_path / "a.jsonl", text)) == {1: 0.9, 2: 0.34}
    text = f'step,note,loss\n1,a{mark}b,0.9\n2,"c\nd",0.34\n'
    assert read_losses(written(tmp_path / "a.csv", text)) == {1: 0.9, 2: 0.34}


def test_nothing_is_left_of_an_earlier_alignment(tmp_path):
    out = tmp_path / "out"
    (out / "reproduce").mkdir(parents=True)
    for name in (
        "align.json",
        "report.html",
        "loss.png",
        "loss_of_mine.csv",
        "reproduce/first.py",
    ):
        written(out / name, "")
    with pytest.raises(ZeroDivisionError), _claimed(out):
        busy = "another process is working on this alignment"
        with pytest.raises(UserError, match=busy), _claimed(out):
            pass
        1 / 0  # noqa: B018
    assert sorted(path.name for path in out.iterdir()) == ["align.json", "loss_of_mine.csv"]
    with pytest.raises(UserError, match="is not empty"), _claimed(tmp_path):
        pass


def test_steps_in_common():
    assert in_common({1: 1.0, 2: 2.0}, {2: 3.0, 3: 4.0}) == ([2], [2.0], [3.0])
    with pytest.raises(UserError, match=r"no step in common: 1 … 2 and 5 … 6"):
        in_common({1: 0.0, 2: 0.0}, {5: 0.0, 6: 0.0})


def test_the_largest_gap():
    assert largest_gap([1.0, 2.0, 4.0], [1.0, 2.2, 4.0]) == (pytest.approx(0.1), 1)
    nan = float("nan")
    assert largest_gap([1.0, nan], [1.0, 2.0]) == largest_gap([1.0, nan], [1.0, nan])
    assert largest_gap([1.0, nan], [1.0, nan]) == (float("inf"), 1)
