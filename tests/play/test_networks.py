"""Which networks a page can choose, when they are read, and how many of their images it shows."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from playing import CONFIG, weights

from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.contents import Checkpoint
from jittor_ddim.checkpoints.native import save_checkpoint
from jittor_ddim.cli import options, play
from jittor_ddim.config import Config
from jittor_ddim.errors import UserError
from jittor_ddim.models import MODELS, model_to_show
from jittor_ddim.play.ask import most_images
from jittor_ddim.play.layout import MOST_PIXELS, animated, kept
from jittor_ddim.play.networks import Networks
from jittor_ddim.runs.folder import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*model.num_groups")
ENGINE = options.EngineOptions()


def save(exp, doc, step, value=0.0):
    """A run, or one more checkpoint of it."""
    run = Run.at(exp, doc)
    run.log_folder.mkdir(parents=True, exist_ok=True)
    run.config_path.write_text(CONFIG.to_yaml())
    found = weights()
    found["conv_in.weight"][...] = value
    checkpoint = Checkpoint(
        step=step, epoch=0, config=CONFIG, weights=found, ema_weights=None, optimizer={}
    )
    save_checkpoint(run.log_folder, checkpoint, keep_last=0)


@pytest.fixture
def exp(tmp_path):
    save(tmp_path / "exp", "old", 1)
    save(tmp_path / "exp", "group/new", 1)
    empty = Run.at(tmp_path / "exp", "empty")
    empty.log_folder.mkdir()
    empty.config_path.write_text(CONFIG.to_yaml())
    return tmp_path / "exp"


def names(**given):
    chosen = play._chosen(options.NetworkOptions(**given))
    found = [play._name(chosen)]
    return found + [offer.name for offer in play._others(chosen.exp, ENGINE)]


def test_without_a_choice_the_page_opens_with_a_model_that_ships(exp, monkeypatch):
    monkeypatch.chdir(exp.parent)
    first, *others = names()
    assert first == model_to_show()
    assert others == [*MODELS, "logs/group/new", "logs/old"]  # "empty" has no weights


def test_the_clearest_model_is_shown_first(monkeypatch):
    assert model_to_show() == "tiles"
    monkeypatch.setattr("jittor_ddim.models.MODELS", ("digits",))
    assert model_to_show() == "digits"


def test_what_was_chosen_comes_first_under_the_name_that_it_has_in_the_list(exp, tmp_path):
    assert names(exp=exp, doc="old")[0] == "logs/old"
    assert names(exp=exp)[0] == "logs/empty"  # the newest; that it has no weights is said
    assert names(exp=exp, model=MODELS[0])[0] == MODELS[0]
    assert names(exp=exp, pretrained=tmp_path / "a" / "b.pth")[0] == "a/b.pth"


def test_a_network_is_read_when_it_is_wanted_and_again_once_there_is_a_newer_one(exp, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    networks = Networks(folder, lambda: list(play._others(exp, ENGINE)))
    assert not list(folder.iterdir())
    first = networks.open("logs/old")
    assert first.title == "logs/old/ckpt_1"
    save(exp, "old", 2, value=0.5)
    assert networks.open("logs/old") is first  # a page that is open goes on with what it has
    second = networks.open("logs/old", newest=True)
    assert second.title == "logs/old/ckpt_2"
    assert networks.open("logs/old", newest=True) is second
    assert (folder / first.file).exists()  # a run may be waiting for an engine to read it
    del first
    assert [path.name for path in folder.iterdir()] == [second.file]
    assert np.all(load_weights(folder / second.file)["conv_in.weight"] == 0.5)
    assert networks.open().offer.name == MODELS[0]


def test_what_is_open_keeps_nobody_waiting_while_another_is_read(exp, tmp_path, monkeypatch):
    networks = Networks(tmp_path, lambda: list(play._others(exp, ENGINE)))
    first, read = networks.open("logs/old"), networks._read
    reading, go_on = threading.Event(), threading.Event()

    def slowly(offer):
        reading.set()
        assert go_on.wait(30)
        return read(offer)

    monkeypatch.setattr(networks, "_read", slowly)
    with ThreadPoolExecutor(2) as threads:
        threads.submit(networks.open, "logs/group/new")
        try:
            assert reading.wait(30)
            assert threads.submit(networks.open, "logs/old").result(10) is first
        finally:
            go_on.set()


def test_a_newer_checkpoint_that_is_damaged_leaves_the_older_one_in_use(exp, tmp_path):
    networks = Networks(tmp_path, lambda: list(play._others(exp, ENGINE)))
    first = networks.open("logs/old")
    save(exp, "old", 2)
    (exp / "logs" / "old" / "ckpt_2" / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="ckpt_2.*damaged"):
        networks.open("logs/old", newest=True)
    assert networks.open("logs/old") is first
    assert (tmp_path / first.file).exists()


def test_a_run_whose_name_nobody_can_type_is_not_offered(exp):
    (exp / "logs" / "old").rename(exp / "logs" / os.fsdecode(b"\xff"))
    assert [offer.name for offer in play._others(exp, ENGINE)] == [*MODELS, "logs/group/new"]


def test_a_network_that_is_gone_is_said_and_the_others_are_still_there(exp, tmp_path):
    networks = Networks(tmp_path, lambda: list(play._others(exp, ENGINE)))
    with pytest.raises(UserError, match="network must be one of .*logs/old, got 'logs/none'"):
        networks.open("logs/none")
    shutil.rmtree(exp / "logs" / "old")
    with pytest.raises(UserError, match="network must be one of"):
        networks.open("logs/old")
    assert networks.open("logs/group/new").config == CONFIG


def test_what_can_be_chosen_is_asked_for_in_a_command(exp):
    found = {offer.name: offer.words.arguments for offer in play._others(exp, ENGINE)}
    assert found["logs/old"] == f"exp=Path({str(exp)!r}), doc='old'"
    assert found[MODELS[0]] == f"exp=Path({str(exp)!r}), model={MODELS[0]!r}"


@pytest.mark.parametrize(("size", "most"), [(8, 64), (64, 64), (128, 32), (256, 8), (1024, 1)])
def test_of_large_images_fewer_are_shown(size, most):
    config = Config.model_validate({"data": {"dataset": "FOLDER", "image_size": size}})
    assert most_images(config) == most
    assert most_images(config, raw=True) == max(1, min(64, MOST_PIXELS // 4 // size**2))


def test_an_animation_has_fewer_frames_the_larger_they_are():
    assert animated(201, 64 * 32**2) == kept(201)
    large = animated(201, MOST_PIXELS)
    assert len(large) == 32 and set(large) <= set(kept(201))
    assert (large[0], large[-1]) == (0, 200)
