"""The report: both languages say the same, every cause has its text, files are whole."""

import json
import re
from dataclasses import asdict

import pytest

from jittor_ddim.errors import UserError
from jittor_ddim.pages.words import LANGUAGES, texts
from jittor_ddim.parity.align import report
from jittor_ddim.parity.align.causes.table import NAMES
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import (
    CHECKS,
    Alignment,
    Cause,
    Check,
    Finding,
    SideResult,
)

TEXTS = {language: texts(Words.folder, language) for language in LANGUAGES}


def example(status="departs"):
    sides = [
        SideResult(
            name, f"{name}.py", {"framework": f"{name} 1.0"}, 1234, [3.0, 2.0, 1.0 + k * 1e-3],
            {"step_time_s": [0.5, 0.1, 0.1]}, {"step": "0.1", "slow": {"compile": 2} if k else {}},
        )
        for k, name in enumerate(("one", "two"))
    ]  # fmt: skip
    checks = [Check("eval", status, 3, 0.5, 1e-6, "norm"), Check("samples", "not measured")]
    cause = Cause("norm_epsilon", "two", "1e-5 and 1e-6", {"first": "1e-5", "second": "1e-6",
                                                          "side": "two"})  # fmt: skip
    finding = Finding(
        "eval", "norm", "norm<b>", "LayerNorm", [{"eps": 1e-5}, {"eps": 1e-6}], "", 0.5,
        ["float32 [4, 8]"], ["float32 [1, 8]"], cause,
    )  # fmt: skip
    found = [finding] if status == "departs" else []
    return Alignment(sides, "float32", checks, found, [1.2, 1.1, 1.3, 2], "ddim align a b")


def test_both_languages_have_the_same_texts():
    assert TEXTS["en"].keys() == TEXTS["zh"].keys()
    for key, text in TEXTS["en"].items():
        places = [set(re.findall(r"\{(\w+)\}", t)) for t in (text, TEXTS["zh"][key])]
        assert places[0] == places[1] or key.startswith("cause."), key
        assert places[1] <= {"side", "first", "second"} or not key.startswith("cause."), key


def test_chinese_is_chinese():
    for key, text in TEXTS["zh"].items():
        english = re.sub(r"\{\w+\}|NumPy|Python|title", "", text)
        assert re.search(r"[一-鿿]", text) or not re.search(r"[A-Za-z]", english), key


def test_what_is_said_is_said_again():
    spread = say("spread", first="0.1", second="0.2")
    said = say("kinds", spread=spread, first=say("uniform"), second="odd")
    assert said == "standard deviation 0.1 and 0.2; uniform and odd"
    assert Words("en").tell(said) == said and Words("zh").tell("free text") == "free text"
    assert Words("zh").tell(said) == "标准差 0.1 与 0.2；均匀分布 与 odd"
    assert json.loads(json.dumps(asdict(Check("eval", "agrees", notes=[said]))))["notes"] == [said]


def test_every_phrase_is_said_somewhere():
    code = "".join(path.read_text("utf-8") for path in Words.folder.parents[1].rglob("*.py"))
    code = re.sub(r"\(\s+", "(", code)
    built = {"in_evaluation", "in_training", "uniform", "normal", "heavy"}
    for key in TEXTS["en"]:
        group, _, name = key.partition(".")
        assert group != "phrases" or name in built or f'say("{name}"' in code


def test_every_check_and_cause_has_its_texts():
    for check in CHECKS:
        assert f"check.{check}" in TEXTS["en"]
    for name in NAMES:
        assert f"cause.{name}.what" in TEXTS["en"] and f"cause.{name}.mend" in TEXTS["en"]
    assert len(NAMES) >= 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report(language, tmp_path):
    page = report.write_report(example(), tmp_path, language)
    text, words = page.read_text("utf-8"), Words(language)
    assert words("cause.norm_epsilon.what") in text and "norm&lt;b&gt;" in text
    assert 'src="' not in text and "<script" not in text and "http-equiv" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    summary = (tmp_path / "summary.md").read_text("utf-8")
    assert words("status.departs") in summary and "eps=1e-5" in summary
    for name in ("loss", "loss_difference", "step_time"):
        assert (tmp_path / f"{name}.png").is_file() and (tmp_path / f"{name}.svg").is_file()


def test_an_aligned_pair(tmp_path):
    text = report.write_report(example("agrees"), tmp_path, "en").read_text()
    assert "Aligned: both are the same model" in text and "Likely cause" not in text


def test_a_language_that_there_is_not():
    with pytest.raises(UserError, match="choose one of en, zh"):
        Words("fr")
