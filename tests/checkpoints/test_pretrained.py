"""Which published weights belong to a config, and the ways to a copy of them."""

import hashlib
from dataclasses import replace

import pytest
from file_server import serving

from jittor_ddim.checkpoints.pretrained import MODELS, obtain, published_weights
from jittor_ddim.config import load_config
from jittor_ddim.errors import CheckpointError, DownloadError, UserError

CONTENT = b"weights, let us say"
FILE = "ema_diffusion_cifar10_model/model-790000.ckpt"


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def model(server):
    """CIFAR-10's weights, as if they were published on this machine."""
    server.files["f/1/?dl=1"] = CONTENT
    original = MODELS["CIFAR10", None]
    md5 = hashlib.md5(CONTENT).hexdigest()
    return replace(original, md5=md5, url=f"{server.url}/f/1/?dl=1")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("PRETRAINED", "MIRROR", "CACHE"):
        monkeypatch.delenv(f"JITTOR_DDIM_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "jittor_ddim" / "pretrained"


@pytest.mark.parametrize(
    "config, name, md5",
    [
        ("cifar10.yml", "ema_cifar10", "1fa350b952534ae442b1d5235cce5cd3"),
        ("bedroom.yml", "ema_lsun_bedroom", "1921fa46b66a3665e450e42f36c2720f"),
        ("church.yml", "ema_lsun_church", "fdc68a23938c2397caba4a260bc2445f"),
        ("cat.yml", "ema_lsun_cat", "646f23f4821f2459b8bafc57fd824558"),
    ],
)
def test_a_config_has_its_published_weights(config, name, md5):
    model = published_weights(load_config(config).data)
    assert (model.name, model.md5) == (name, md5)
    assert model.url.startswith("https://heibox.uni-heidelberg.de/f/")
    assert model.url.endswith("/?dl=1")


def test_every_set_of_weights_has_its_own_place():
    for field in ("name", "file", "md5", "url"):
        assert len({getattr(model, field) for model in MODELS.values()}) == len(MODELS) == 4


@pytest.mark.parametrize("config", ["celeba.yml", "digits.yml", "ffhq.yml"])
def test_others_are_told_which_there_are(config):
    with pytest.raises(UserError) as caught:
        published_weights(load_config(config).data)
    for part in (*(model.name for model in MODELS.values()), config[:-4].upper()):
        assert part in str(caught.value)


def test_so_are_other_categories_of_lsun():
    data = load_config("bedroom.yml", {"data.category": "kitchen"}).data
    with pytest.raises(UserError, match="published for LSUN kitchen, only .*LSUN church_outdoor"):
        published_weights(data)


def test_they_are_downloaded_into_the_users_cache_once(model, server, cache):
    assert obtain(model) == cache / FILE
    assert obtain(model).read_bytes() == CONTENT
    assert [path for path, _, _ in server.requests] == ["f/1/?dl=1"]


def test_the_cache_can_be_elsewhere(model, tmp_path, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "big"))
    assert obtain(model) == tmp_path / "big" / "pretrained" / FILE


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_takes_the_place_of_the_published_address(model, server, monkeypatch, slash):
    server.files = {f"mirror/{FILE}": CONTENT}
    monkeypatch.setenv("JITTOR_DDIM_MIRROR", f"{server.url}/mirror{slash}")
    assert obtain(model).read_bytes() == CONTENT
    assert [path for path, _, _ in server.requests] == [f"mirror/{FILE}"]


@pytest.mark.parametrize("status", [404, None])
def test_without_them_one_line_names_address_file_and_remedies(model, server, status, monkeypatch):
    server.files.clear()
    if status is None:
        monkeypatch.setenv("JITTOR_DDIM_MIRROR", "http://127.0.0.1:1")
    with pytest.raises(DownloadError) as caught:
        obtain(model)
    text = str(caught.value)
    address = f"http://127.0.0.1:1/{FILE}: no connection" if status is None else model.url
    for part in (address, FILE, model.md5, "JITTOR_DDIM_MIRROR", "JITTOR_DDIM_PRETRAINED"):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize("place, value", [
    ("mine.ckpt", "mine.ckpt"),
    (f"copies/{FILE}", "copies"),
    ("copies/model-790000.ckpt", "copies"),
])  # fmt: skip
def test_a_copy_is_used_as_it_is(model, server, tmp_path, monkeypatch, place, value, cache):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    monkeypatch.setenv("JITTOR_DDIM_PRETRAINED", str(tmp_path / value))
    assert obtain(model) == path
    assert server.requests == [] and not cache.exists()


def test_a_copy_that_is_not_one_is_refused_and_kept(model, server, tmp_path, monkeypatch):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(b"others")
    monkeypatch.setenv("JITTOR_DDIM_PRETRAINED", str(path))
    found = hashlib.md5(b"others").hexdigest()
    message = f"{path} is not ema_cifar10: expected md5 {model.md5}, found {found}; .*`pretrained`"
    with pytest.raises(CheckpointError, match=message):
        obtain(model)
    assert path.read_bytes() == b"others" and server.requests == []


def test_a_copy_that_is_missing_is_no_reason_to_download(model, server, tmp_path, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_PRETRAINED", str(tmp_path))
    with pytest.raises(CheckpointError, match=f"no file {tmp_path / FILE}; .* unset"):
        obtain(model)
    monkeypatch.setenv("JITTOR_DDIM_PRETRAINED", str(tmp_path / "no.ckpt"))
    with pytest.raises(CheckpointError, match="no file .*no.ckpt"):
        obtain(model)
    assert server.requests == []


def test_progress_is_passed_on(model):
    told = []
    obtain(model, lambda *numbers: told.append(numbers))
    assert told[-1] == (len(CONTENT), len(CONTENT))
