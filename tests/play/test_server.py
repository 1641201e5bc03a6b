"""The server, asked as the page asks it: states, turns, what ends a run, files."""

import asyncio
import base64
import io
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
from fake_engine import FakeEngine
from PIL import Image
from playing import CONFIG, NAMES, png, read, save_networks, serving, weights

from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.interpolation import slerp
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.guidance import Classes
from jittor_ddim.play import app, session
from jittor_ddim.play.events import Events
from jittor_ddim.play.files import tiles
from jittor_ddim.sampling import initial_noise, reconstruct, sample, sample_images, trajectory

pytestmark = pytest.mark.slow
SHORT = {"timesteps": 4, "num_samples": 3}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("play")) as server:
        yield server


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("slow"), seconds=0.05) as server:
        server.events(SHORT)  # it has started
        yield server


@pytest.fixture(scope="module")
def unet():
    return FakeEngine().unet(CONFIG, weights())


def pixels(event, count, key="x_t"):
    return tiles(event[key], count, CONFIG)


def states(events):
    return [event for event in events if "position" in event]


def test_states_are_those_of_the_public_functions(server, unet):
    events = server.events({**SHORT, "class": "all", "guidance": 1.5, "sampler": "ddim", "eta": 1})
    assert list(events[0]) == ["start"] and events[-1] == {"done": True}
    shown = states(events)
    settings, classes = SamplerSettings(4, 1.0), Classes(tuple(range(10)), 1.5)
    for key, predicted in (("x_t", False), ("x0", True)):
        wanted = trajectory(unet, CONFIG, settings, 3, range(5), predicted, classes)
        found = [pixels(event, 3, key) for event in shown if key in event]
        np.testing.assert_array_equal(found, list(wanted))
    assert [event["t"] for event in shown] == [750, 500, 250, 0, -1]


def test_a_long_run_shows_sixty_states_the_first_and_the_last_among_them(server):
    shown = states(server.events({"timesteps": 200, "num_samples": 1}))
    with_picture = [event["position"] for event in shown if "x_t" in event]
    assert len(shown) == 201
    assert len(with_picture) == 60
    assert with_picture[0] == 0 and with_picture[-1] == 200


def test_an_arc_begins_and_ends_with_the_images_of_its_seeds(server, unet):
    *_, last, _ = server.events({"kind": "arc", "seed": 1, "other_seed": 2, **SHORT})
    ends = [initial_noise(CONFIG, seed, range(1))[0] for seed in (1, 2)]
    x_T = slerp(*ends, np.array([0, 0.5, 1]))
    wanted = sample(unet, CONFIG, x_T, 4)
    np.testing.assert_array_equal(pixels(last, 3), to_uint8(from_network(wanted, CONFIG.data)))
    np.testing.assert_array_equal(x_T[[0, 2]], ends)


def test_a_picture_goes_up_and_down_with_the_error_of_the_public_function(server, unet):
    picture = base64.b64encode(png(colour=200)).decode()
    events = server.events({"kind": "reconstruct", "timesteps": 5, "picture": picture})
    shown = states(events)
    x0 = np.full((1, 1, 8, 8), 2 * 200 / 255 - 1, np.float32)
    x_T, decoded = reconstruct(unet, CONFIG, x0, SamplerSettings(5))
    assert [event["phase"] for event in shown] == ["up"] * 6 + ["down"] * 5
    assert events[0]["start"]["calls"] == 10
    for event, wanted in ((shown[5], x_T), (shown[-1], decoded)):
        np.testing.assert_array_equal(
            pixels(event, 1), to_uint8(from_network(wanted, CONFIG.data))
        )
    error = from_network(decoded, CONFIG.data) - 200 / 255
    assert shown[-1]["remark"]["mse"] == pytest.approx(float(np.mean(error**2)), rel=1e-5)


def test_an_edit_of_little_strength_begins_near_the_picture(server):
    picture = base64.b64encode(png(colour=200)).decode()
    ask = {"kind": "edit", "timesteps": 100, "picture": picture, "num_samples": 2}
    far = {}
    for strength in (0.02, 0.4, 1):
        first = states(server.events({**ask, "strength": strength}))[0]
        far[strength] = np.abs(pixels(first, 2).astype(float) - 200).mean()
    assert far[0.02] < 8 < far[0.4] < far[1]


def test_raw_states_are_the_numbers_themselves(server, unet):
    *_, last, _ = server.events({**SHORT, "raw": True})
    found = np.frombuffer(base64.b64decode(last["raw"]), "<f4").reshape(3, 1, 8, 8)
    x_T = initial_noise(CONFIG, 1234, range(3))
    wanted = from_network(sample(unet, CONFIG, x_T, 4), CONFIG.data)
    np.testing.assert_array_equal(found, wanted)


def test_a_page_chooses_its_network(server):
    about = server.about("colours")
    assert about["networks"] == list(NAMES)
    assert about["network"] == "colours" and about["classes"] == ["red", "not red"]
    assert server.about()["network"] == "digits"
    *_, last, _ = server.events({**SHORT, "network": "colours", "class": 1})
    with Image.open(io.BytesIO(base64.b64decode(last["x_t"]))) as picture:
        assert picture.mode == "RGB"
    start = server.events({**SHORT, "network": "colours", "class": 1})[0]["start"]
    assert "--class 'not red'" in start["command"]
    *_, last, _ = server.events(SHORT)
    with Image.open(io.BytesIO(base64.b64decode(last["x_t"]))) as picture:
        assert picture.mode == "L"


def test_an_engine_holds_few_networks_and_opens_a_forgotten_one_again(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_MOST_NETWORKS", 1)
    monkeypatch.setattr(engine_choice, "load_engine", lambda *_: FakeEngine())
    save_networks(tmp_path)
    one = session.Session(tmp_path, EngineChoice("jittor", "cpu"))
    for name, opens in (("digits", 1), ("digits", 0), ("colours", 1), ("digits", 1)):
        one.begin("walk", f"{name}.safetensors", {"engine": "jittor", "timesteps": 1})
        events = list(iter(lambda: one.advance("walk"), None))
        assert sum("opening" in event for event in events) == opens
        assert len(one._networks) == 1


def test_precisions_have_processes_of_their_own(server):
    found = {}
    for precision in server.about()["precisions"]:
        *_, last, _ = server.events({**SHORT, "precision": precision, "raw": True})
        found[precision] = np.frombuffer(base64.b64decode(last["raw"]), "<f4")
    assert list(found) == ["float32", "bfloat16"]
    difference = np.abs(found["float32"] - found["bfloat16"]).max()
    assert 1e-3 < difference < 0.5  # the offset of play_worker_with_fake_engine.py


def test_files_hold_the_images(server, unet):
    wanted = np.stack(list(sample_images(unet, CONFIG, SamplerSettings(4), range(3), 3)))
    made = {}
    for suffix in ("png", "gif", "webp", "npz"):
        ask = {"engine": "jittor", **SHORT}
        answer = server.post(f"api/file/{suffix}", json={"client": "one", "ask": ask})
        assert answer.status_code == 200
        made[suffix] = io.BytesIO(answer.content)
    np.testing.assert_array_equal(np.load(made["npz"])["arr_0"], wanted)
    with Image.open(made["png"]) as picture:
        assert picture.size == (134, 134)
        np.testing.assert_array_equal(np.asarray(picture)[2:66:8, 2:66:8], wanted[0][:, :, 0])
    for suffix in ("gif", "webp"):
        with Image.open(made[suffix]) as picture:
            assert picture.n_frames in (4, 5)  # states that look alike become one


def test_a_new_setting_ends_the_run_of_the_same_page(slow):
    first = slow.run({"timesteps": 200}, "page")
    events = read(first)
    for event in events:
        if event.get("position") == 2:
            break
    before = slow.calls()
    assert slow.events(SHORT, "page")[-1] == {"done": True}
    *_, last = events
    assert last == {"cancelled": True}
    # Of the first run at most the call that was under way, and the one after it was asked for.
    assert slow.calls() - before <= 4 + 2 + 2


def test_a_closed_page_frees_the_engine(slow):
    response = slow.run({"timesteps": 500}, "page")
    next(event for event in read(response) if event.get("position") == 2)
    response.close()
    time.sleep(1.5)
    count = slow.calls()
    time.sleep(0.5)
    assert slow.calls() == count < 500


def test_a_long_run_keeps_nobody_waiting(slow):
    long = slow.run({"timesteps": 400}, "patient")
    events = read(long)
    next(event for event in events if "position" in event)
    start = time.monotonic()
    assert slow.events(SHORT, "quick")[-1] == {"done": True}
    assert time.monotonic() - start < 5  # the long one takes 20 s
    assert "position" in next(events)
    long.close()


def test_fifty_at_once_are_all_served_in_bounded_memory(slow):
    done = []

    def ask(number):
        done.append(slow.events({"timesteps": 2, "num_samples": 64}, f"page {number}")[-1])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    memory = psutil.Process().memory_info().rss
    for thread in threads:
        thread.start()
    most = memory
    while any(thread.is_alive() for thread in threads):
        most = max(most, psutil.Process().memory_info().rss)
        time.sleep(0.05)
    assert done == [{"done": True}] * 50
    assert most - memory < 100e6


def test_four_people_get_turns(slow):
    order = []

    def ask(name):
        for event in read(slow.run({"timesteps": 30}, name)):
            order.append(name) if "position" in event else None

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(order) == sorted("abcd" * 31)
    first, last = ([where.index(name) for name in "abcd"] for where in (order, order[::-1]))
    assert max(first) < 31 * 4 - 1 - max(last)  # nobody had ended when the last one began


def test_a_page_that_reads_nothing_leaves_little_in_the_server():
    async def fill():
        events = Events()
        for position in range(100):
            events._put({"position": position, "x_t": "x" * 1_000_000})
        waiting = list(events._events)
        events._put({"position": 100, "x_t": "x" * 9_000_000})
        events._put({"done": True})
        return waiting, [event async for event in events]

    waiting, rest = asyncio.run(fill())
    assert [event["position"] for event in waiting] == [96, 97, 98, 99]
    assert [event.get("position") for event in rest] == [100, None]  # the images are not lost


def test_an_animation_of_large_images_has_fewer_frames_than_the_page(server):
    ask = {"engine": "jittor", "network": "large", "num_samples": 8, "timesteps": 40}
    answer = server.post("api/file/gif", json={"client": "one", "ask": ask})
    with Image.open(io.BytesIO(answer.content)) as found:
        assert found.n_frames == 32  # of 41 states


def test_more_than_can_be_served_are_refused(slow, monkeypatch):
    monkeypatch.setattr(app, "_MOST_UNDER_WAY", 1)
    first = slow.run({"timesteps": 200}, "first")
    events = read(first)  # it lives as long as somebody reads
    next(event for event in events if "position" in event)
    *_, last = slow.events(SHORT, "second")
    assert "try again" in last["error"]
    wanted = {"client": "third", "ask": {"engine": "jittor", **SHORT}}
    answer = slow.post("api/file/png", json=wanted)
    assert answer.status_code == 400 and "try again" in answer.json()["error"]
    first.close()
    until = time.monotonic() + 10
    while "error" in slow.events(SHORT, "second")[-1]:  # until the server has noticed
        assert time.monotonic() < until


def test_an_engine_that_dies_is_started_again(tmp_path):
    with serving(tmp_path, seconds=0.05) as server:
        response = server.run({"timesteps": 300})
        events = read(response)
        next(event for event in events if event.get("position") == 1)
        (worker,) = processes(tmp_path)
        os.kill(worker.pid, signal.SIGKILL)
        *_, last = events
        assert "SIGKILL" in last["error"]
        assert server.events(SHORT)[-1] == {"done": True}
    assert not processes(tmp_path)


def processes(folder):
    """The engines' processes of a server."""
    return [p for p in psutil.Process().children() if str(folder) in p.cmdline()]


def test_numbers_that_are_not_finite_are_said_and_the_engine_lives_on(tmp_path, monkeypatch):
    monkeypatch.setattr("playing.weights", lambda: broken())
    with serving(tmp_path) as server:
        for _ in range(2):
            *_, last = server.events(SHORT)
            assert "not finite" in last["error"]
        assert len(processes(tmp_path)) == 1


def broken():
    found = weights()
    found["norm_out.weight"][...] = 1e38
    return found


def test_engines_have_processes_of_their_own(server):
    found = {}
    for engine in ("jittor", "pytorch"):
        *_, last, _ = server.events({**SHORT, "engine": engine, "raw": True})
        found[engine] = np.frombuffer(base64.b64decode(last["raw"]), "<f4")
    difference = np.abs(found["jittor"] - found["pytorch"]).max()
    assert 1e-4 < difference < 0.1  # the offset of play_worker_with_fake_engine.py
