import warnings

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jittor_ddim.config import Config, config_names, load_config, parse_config
from jittor_ddim.errors import ConfigError, UserError

#: Every key that a YAML file of github.com/ermongroup/ddim holds.
OFFICIAL = """
data: dataset category image_size channels logit_transform uniform_dequantization
  gaussian_dequantization random_flip rescaled num_workers
model: type in_channels out_ch ch ch_mult num_res_blocks attn_resolutions dropout var_type ema_rate
  ema resamp_with_conv
diffusion: beta_schedule beta_start beta_end num_diffusion_timesteps
training: batch_size n_epochs n_iters snapshot_freq validation_freq
sampling: batch_size last_only
optim: weight_decay optimizer lr beta1 amsgrad eps grad_clip
"""
OFFICIAL_CHURCH = """
data: {dataset: LSUN, category: church_outdoor, image_size: 256, channels: 3,
  logit_transform: false, uniform_dequantization: false, gaussian_dequantization: false,
  random_flip: true, rescaled: true, num_workers: 32}
model: {type: simple, in_channels: 3, out_ch: 3, ch: 128, ch_mult: [1, 1, 2, 2, 4, 4],
  num_res_blocks: 2, attn_resolutions: [16, ], dropout: 0.0, var_type: fixedsmall,
  ema_rate: 0.999, ema: True, resamp_with_conv: True}
diffusion: {beta_schedule: linear, beta_start: 0.0001, beta_end: 0.02,
  num_diffusion_timesteps: 1000}
training: {batch_size: 64, n_epochs: 10000, n_iters: 5000000, snapshot_freq: 5000,
  validation_freq: 2000}
sampling: {batch_size: 32, last_only: True}
optim: {weight_decay: 0.000, optimizer: "Adam", lr: 0.00002, beta1: 0.9, amsgrad: false,
  eps: 0.00000001, grad_clip: 1.0}
"""


def changed(**overrides):
    """cifar10.yml with values by key, two underscores for the dot."""
    return load_config("cifar10.yml", {k.replace("__", "."): v for k, v in overrides.items()})


def refusal(**overrides) -> str:
    with pytest.raises(ConfigError) as error:
        changed(**overrides)
    message = str(error.value)
    assert message.isprintable() and len(message) < 600
    return message


def test_the_official_keys_are_accepted_and_keep_their_values():
    tree = yaml.safe_load(OFFICIAL_CHURCH)
    sections = yaml.safe_load(OFFICIAL)
    assert {name: set(keys.split()) for name, keys in sections.items()} == {
        name: set(section) for name, section in tree.items()
    }
    with pytest.warns(UserWarning, match="without effect"):
        config = parse_config(tree, "church.yml").model_dump(mode="json")
    for section, values in tree.items():
        for key, value in values.items():
            assert config[section][key] == value, key


def test_keys_without_effect_warn_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_config("church.yml", {"model.var_type": "fixedsmall", "sampling.last_only": True})
    assert [str(warning.message) for warning in caught] == [
        "church.yml: model.var_type and sampling.last_only: accepted, without effect"
    ]
    assert caught[0].filename == __file__


def test_attention_that_the_network_never_reaches_warns():
    with pytest.warns(UserWarning, match=r"attn_resolutions: .* never reaches \[64, 5\], only"):
        config = changed(model__attn_resolutions=[64, 16, 5])
    assert config.resolutions == (32, 16, 8, 4)
    assert len(config.remarks()) == 1
    assert changed().remarks() == []


@pytest.mark.parametrize(
    "value", ["!!bool abc", "!!timestamp abc", "!!int ''", "!!float ''", "!!int {a: 1}"]
)
def test_a_tag_that_its_value_does_not_fit_is_one_line(tmp_path, value):
    path = tmp_path / "c.yml"
    path.write_text(f"data: {{dataset: DIGITS}}\noptim:\n  lr: {value}\n")
    with pytest.raises(ConfigError, match="c.yml: not plain YAML") as error:
        load_config(path)
    assert "\n" not in str(error.value) and "Node(" not in str(error.value)


@pytest.mark.parametrize(("ch", "groups", "told"), [(32, 32, True), (32, 16, False), (8, 8, True)])
@pytest.mark.filterwarnings("default")
def test_a_channel_alone_in_its_group_is_warned_of(ch, groups, told):
    """Such a norm takes away the mean of every image."""
    changes = {"model.ch": ch, "model.num_groups": groups}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        remarks = load_config("cifar10.yml", changes).remarks()
    assert len(remarks) == len(caught) == told
    if told:
        assert (
            f"model.num_groups ({groups})" in remarks[0] and f"{ch // 4} groups of" in remarks[0]
        )


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.chh", "model.ch"),
        ("model.chmult", "model.ch_mult"),
        ("model.num_resblocks", "model.num_res_blocks"),
        ("optim.gradclip", "optim.grad_clip"),
        ("data.random_flips", "data.random_flip"),
        ("data.grad_clip", "optim.grad_clip"),  # in the wrong section
        ("training.lr", "optim.lr"),
        ("image_size", "data.image_size"),  # in no section
        ("modle.ch", "model"),
        ("trainig", "training"),
        ("model.ch.x", "model.ch"),
        ("model.ch_mult.0", "model.ch_mult"),
    ],
)
def test_a_mistyped_key_names_the_nearest_one(key, nearest):
    message = refusal(**{key: 3})
    assert "unknown key" in message
    assert message.endswith(f"did you mean {nearest}?")


def test_a_key_like_no_other_lists_those_beside_it():
    assert refusal(optim__qqq=1).endswith(
        "optim.qqq: unknown key; allowed: optim.optimizer, optim.lr, optim.warmup_steps, "
        "optim.decay, optim.weight_decay, optim.beta1, optim.amsgrad, optim.eps, optim.grad_clip"
    )
    for key in ("qqq", "qqq.zzz", "", ".", "..ch", "two\nlines"):
        assert refusal(**{key: 1}).endswith(
            "allowed: data, model, diffusion, training, sampling, optim"
        )


def test_a_mistyped_key_of_a_file_names_the_file_and_the_nearest(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("data: {dataset: DIGITS, image_size: 8}\nmodel: {chan_mult: [1, 2], ch: 32}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    expected = f"{path}: model.chan_mult: unknown key; did you mean model.ch_mult?"
    assert str(error.value) == expected


NUMERIC = """
data.image_size data.channels data.num_workers
model.in_channels model.out_ch model.ch model.num_res_blocks model.dropout model.ema_rate
diffusion.beta_start diffusion.beta_end diffusion.num_diffusion_timesteps
training.batch_size training.n_epochs training.n_iters training.snapshot_freq
training.validation_freq training.accumulate_steps training.keep_last training.min_snr_gamma
sampling.batch_size sampling.num_samples sampling.ckpt_id
optim.lr optim.warmup_steps optim.weight_decay optim.beta1 optim.eps optim.grad_clip
"""
NUMBERS = NUMERIC.split()
MAY_BE_ZERO = {
    "data.num_workers",
    "model.dropout",
    "model.ema_rate",
    "sampling.ckpt_id",
    "optim.warmup_steps",
    "optim.weight_decay",
    "optim.beta1",
}
MAY_BE_LARGE = {
    "training.min_snr_gamma",
    "optim.lr",
    "optim.weight_decay",
    "optim.eps",
    "optim.grad_clip",
}


def test_an_average_has_a_rate_or_a_half_life():
    both = refusal(model__ema_half_life_images=1e6)  # cifar10.yml gives a rate
    assert "model.ema_rate and model.ema_half_life_images exclude each other" in both
    config = changed(model__ema_half_life_images="1e6", model__ema_rate=None)
    assert config.model.ema_half_life_images == 1e6
    assert config.flat()["model.ema_rate"] is None
    for text in (config.to_yaml(), config.model_dump_json()):
        assert parse_config(yaml.safe_load(text), "again") == config
    for value in (0, -1, True, "many"):
        wrong = refusal(model__ema_half_life_images=value, model__ema_rate=None)
        assert "ema_half_life_images" in wrong
    assert changed(model__ema_half_life_images=None).model.ema_rate == 0.9999


def test_a_loss_weights_number_without_its_weight_is_told():
    with pytest.warns(UserWarning, match=r"training.min_snr_gamma .*: accepted, without effect"):
        changed(training__min_snr_gamma=3)
    with pytest.warns(UserWarning, match=r"training.class_dropout .*: accepted, without effect"):
        changed(training__class_dropout=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        changed(training__min_snr_gamma=3, training__loss_weight="min_snr_gamma")


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [True, False, "many", [1], {"a": 1}, float("nan")])
def test_a_number_must_be_a_number(key, value):
    message = refusal(**{key: value})
    assert key.split(".")[1] in message


@pytest.mark.parametrize("key", [key for key in NUMBERS if key != "sampling.ckpt_id"])
def test_a_number_stays_in_its_range(key):
    wrong = [-1, float("inf")]
    wrong += [] if key in MAY_BE_LARGE else [10.5]  # no fraction, or no beta, or no rate
    wrong += [] if key in MAY_BE_ZERO else [0]
    for value in wrong:
        assert key in refusal(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.dataset", "CIFAR100"),
        ("data.dataset", "cifar10"),
        ("data.dataset", ["CIFAR10"]),
        ("data.channels", 2),
        ("data.channels", 4),
        ("data.root", 3),
        ("data.rescaled", "perhaps"),
        ("data.image_size", 2),
        ("model.type", "bayesian"),
        ("model.ema", [True]),
        ("model.ema", None),
        ("model.ch_mult", []),
        ("model.ch_mult", [1, "x"]),
        ("model.ch_mult", [1, 1.5]),
        ("model.ch_mult", [1, True]),
        ("model.ch_mult", "1222"),
        ("model.ch_mult", None),
        ("model.attn_resolutions", 16),
        ("model.attn_resolutions", [True]),
        ("diffusion.beta_schedule", "cubic"),
        ("diffusion.prediction", "epsilon"),
        ("diffusion.num_diffusion_timesteps", 1),
        ("diffusion.beta_start", 1e-9),  # 1 - beta would be 1 in float32
        ("diffusion.beta_end", 1),
        ("training.loss_weight", "min_snr"),
        ("optim.decay", "linear"),
        ("model.ema_rate", None),
        ("optim.optimizer", "adam"),
        ("optim.beta1", 1),
        ("model.dropout", 1),
        ("model", None),
        ("model", [1]),
        ("optim", "Adam"),
    ],
)
def test_wrong_values_are_refused(key, value):
    message = refusal(**{key: value})
    assert key.split(".")[-1] in message
    assert message.startswith("cifar10.yml: ")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"diffusion.beta_start": 0.03}, r"beta_start \(0.03\) must not exceed .*beta_end \(0.02"),
        (
            {"diffusion.zero_terminal_snr": True},
            "diffusion.zero_terminal_snr needs diffusion.prediction x0 or v",
        ),
        ({"data.logit_transform": True}, "rescaled and data.logit_transform exclude each other"),
        ({"data.dataset": "LSUN"}, "data.category is needed for LSUN"),
        ({"data.channels": 1}, r"in_channels \(3\) .* must equal data.channels \(1\)"),
        ({"model.out_ch": 6}, r"out_ch \(6\)"),
        ({"model.ch": 100}, "multiples of 32 .* got ch 100"),
        ({"model.ch": 48, "model.ch_mult": [2, 2]}, "multiples of 32 .* got ch 48"),
        ({"model.num_groups": 12}, r"multiples of 12 \(model.num_groups\)"),
        ({"model.ch_mult": [1, 0]}, "got ch 128 with multiplier 0"),
        ({"model.ch_mult": [1, -1]}, "got ch 128 with multiplier -1"),
        ({"data.image_size": 36}, r"image_size \(36\) must be divisible by 8"),
        ({"data.image_size": 4}, r"image_size \(4\) must be divisible by 8"),
        ({"training.accumulate_steps": 129}, r"accumulate_steps \(129\) must not exceed"),
    ],
)
def test_wrong_combinations_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config("cifar10.yml", overrides)


def test_right_combinations_are_accepted():
    grey = changed(data__channels=1, model__in_channels=1, model__out_ch=1)
    assert grey.sample_shape == (1, 32, 32)
    assert changed(data__logit_transform=True, data__rescaled=False).data.logit_transform
    assert changed(data__dataset="LSUN", data__category="bedroom").data.category == "bedroom"
    flat = changed(diffusion__beta_start=0.02)
    assert flat.diffusion.beta_start == flat.diffusion.beta_end
    assert changed(training__accumulate_steps=128).training.accumulate_steps == 128


@pytest.mark.parametrize("colour", ["white", "#102030", "rgb(1, 2, 3)", "Teal"])
def test_backgrounds_are_colours(colour):
    assert changed(data__background=colour).data.background == colour


@pytest.mark.parametrize("colour", [None, 0, 102030, "no colour", "#12", "#10203040", [1, 2, 3]])
def test_other_backgrounds_are_refused(colour):
    message = refusal(data__background=colour)
    assert "data.background: takes an opaque colour" in message and "in quotes" in message


def test_how_many_faults_there_are():
    message = refusal(model__ch="x", model__chh=1, optim__lr=-1)
    assert message.endswith("(and 2 more)")


def test_overrides_by_dotted_key():
    config = changed(model__ch=64, optim__grad_clip=None, data__root="/somewhere")
    assert (config.model.ch, config.optim.grad_clip) == (64, None)
    assert config.data.root == "/somewhere"
    assert config.model.num_res_blocks == changed().model.num_res_blocks
    assert changed(optim__lr="1e-4").optim.lr == 1e-4  # YAML 1.1 reads 1e-4 as text


def test_overrides_fill_sections_that_a_file_leaves_out(tmp_path):
    path = tmp_path / "short.yml"
    path.write_text("data: {dataset: DIGITS, image_size: 8}\nmodel:\n")
    model = {"model.ch": 32, "model.ch_mult": [1, 2], "model.attn_resolutions": [4]}
    config = load_config(path, model | {"training.n_iters": 7})
    assert (config.model.ch, config.training.n_iters) == (32, 7)
    with pytest.raises(ConfigError, match="model: expected keys and values, got None"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "not plain YAML"),
        ("data: !!python/object:os.system {}\n", "not plain YAML"),
        ("\tdata: 1", "not plain YAML"),
        ("", "expected the sections"),
        ("- data\n- model\n", "expected the sections"),
        ("text", "expected the sections"),
        ("data:\n", "data: expected keys and values"),
        ("model: {}\n", "data: missing"),
        ("data: {dataset: DIGITS}\n", "data.image_size: missing"),
        ("data: {dataset: DIGITS, image_size: 8, 1: 2}\n", "data.1: Keys should be strings"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    path = tmp_path / "mine.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).isprintable()


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00data")
    for path, message in (
        (tmp_path / "missing.yml", "no such file, and no shipped config .*shipped: .*cifar10.yml"),
        (tmp_path / "cifar10.yml", "no such file"),  # a path is no name
        (tmp_path, "is a folder"),
        (tmp_path / "binary.yml", "not plain YAML"),
        ("no-such-name", "no shipped config"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            load_config(path)
        assert isinstance(error.value, UserError) and str(error.value).isprintable()


def test_a_config_is_found_by_name_and_by_path(tmp_path, monkeypatch):
    named = load_config("cifar10.yml")
    assert load_config("cifar10") == named
    assert (named.model.ch_mult, named.sample_shape) == ((1, 2, 2, 2), (3, 32, 32))
    mine = tmp_path / "cifar10.yml"
    mine.write_text(changed(model__ch=32).to_yaml())
    assert load_config(mine).model.ch == load_config(str(mine)).model.ch == 32
    monkeypatch.chdir(tmp_path)
    assert load_config("cifar10.yml").model.ch == 32  # a file that is there goes first


@pytest.mark.parametrize("name", config_names())
def test_what_is_written_loads_again(tmp_path, name):
    config = load_config(name, {"optim.lr": 1e-5, "data.root": "a: b # c", "sampling.ckpt_id": 7})
    path = tmp_path / "config.yml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config
    assert "!!" not in config.to_yaml()
    assert list(yaml.safe_load(config.to_yaml())) == list(Config.model_fields)


@settings(deadline=None)
@given(
    lr=st.floats(1e-30, 1e30),
    start=st.floats(1e-7, 0.02),
    rate=st.floats(0, 1, exclude_max=True),
    category=st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_values_survive_the_round_trip(lr, start, rate, category):
    config = changed(
        optim__lr=lr, diffusion__beta_start=start, model__ema_rate=rate, data__category=category
    )
    assert parse_config(yaml.safe_load(config.to_yaml()), "again") == config


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
PATHS = ["data", "model", "foo", *NUMBERS, "model.ch_mult", "data.dataset", "model.ema", "a.b"]


@settings(deadline=None)
@given(overrides=st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1, max_size=3))
def test_nothing_but_a_config_error_of_one_line_comes_out(overrides):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load_config("cifar10.yml", overrides)
        except ConfigError as error:
            assert "\n" not in str(error)


def test_a_config_never_changes():
    config = changed()
    with pytest.raises(ValueError, match="frozen"):
        config.model.ch = 64


SMALL = (
    "data: {dataset: DIGITS, image_size: 8, channels: 1}\n"
    "model: {in_channels: 1, out_ch: 1, ch: 32, ch_mult: [1], attn_resolutions: []}\n"
)


@pytest.fixture
def read(tmp_path):
    """Load a small config with more text at its end."""

    def read(text, overrides=None, encoding="utf-8"):
        path = tmp_path / "mine.yml"
        path.write_bytes((SMALL + text).encode(encoding))
        return load_config(path, overrides)

    return read


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e6", 10**6), ("'1e6'", 10**6), ("1.0E+3", 1000), ("1_000", 1000), ("7.0", 7), ("+7", 7)],
)
def test_a_whole_number_in_any_spelling_is_an_integer(read, text, number):
    config = read(f"training: {{n_iters: {text}}}\n")
    assert (config.training.n_iters, type(config.training.n_iters)) == (number, int)
    assert read("", {"training.n_iters": text.strip("'")}).training.n_iters == number


def test_numbers_of_numpy_and_whole_floats_are_integers():
    for number in (3.0, np.float32(3), np.int64(3)):
        assert changed(data__channels=number).data.channels == 3
        assert changed(sampling__ckpt_id=number).sampling.ckpt_id == 3
    assert changed(model__ch_mult=np.array([1.0, 2.0])).model.ch_mult == (1, 2)
    assert "takes numbers" in refusal(training__n_iters=np.bool_(True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5", "fractional part"),
        ("'1.5'", "integer"),
        ("1e400", "integer"),
        ("1e6x", "integer"),
        ("on", "takes numbers"),
        ("032", "032 is not a plain decimal number"),  # 26 in YAML 1.1
        ("1:30", "1:30 is not a plain decimal number"),  # 90 in YAML 1.1
        ("2020-13-45", "month must be"),
    ],
)
def test_what_is_no_whole_number_is_refused(read, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        read(f"training: {{n_iters: {text}}}\n")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lr: 1}\noptim:\n  eps: 2\n", "optim: repeated, on lines 3 and 4"),
        ("optim:\n  lr: 1\n  eps: 1\n  'lr': 2\n", "optim.lr: .* on lines 4 and 6"),
        ("data: {dataset: DIGITS}\n", "data: .* on lines 1 and 3"),
        ("optim: {a: [{b: 1, b: 2}]}\n", r"optim.a.0.b: .* on lines 3 and 3"),
    ],
)
def test_a_key_that_is_written_twice_names_both_lines(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


def test_anchors_and_merge_keys_are_no_repetition(read):
    text = "training: &t\n  batch_size: 4\nsampling:\n  <<: *t\n  batch_size: 5\n"
    config = read(text)
    assert (config.training.batch_size, config.sampling.batch_size) == (4, 5)
    both = read("training: &t {batch_size: 4}\nsampling: *t\n", {"training.batch_size": 8})
    assert (both.training.batch_size, both.sampling.batch_size) == (8, 4)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_other_editors(read, encoding):
    assert read("optim: {lr: 0.5}\r\n# ä\r\n", encoding=encoding).optim.lr == 0.5


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("# ä", "latin-1", r"not UTF-8 at byte 133\); save it"),
        ("\ttraining: {}", "utf-8", "line 3"),
        ("\x00", "utf-8", "special characters"),
        ("x: " + "[" * 5000, "utf-8", "nested too deeply"),
        ("x: &a {b: *a}", "utf-8", "x: unknown key"),
        ("---\nmodel: {}", "utf-8", "single document"),
    ],
)
def test_what_is_no_plain_yaml_is_one_line(read, text, encoding, message):
    with pytest.raises(ConfigError, match=message) as error:
        read(text, encoding=encoding)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("source", [None, 5, b"cifar10.yml", "", "a\0b"])
def test_a_config_is_given_by_a_path(source):
    with pytest.raises(UserError, match="the config must be a path"):
        load_config(source)


@pytest.mark.parametrize("overrides", [[1], {1: 2}, "model.ch=64"])
def test_overrides_are_values_by_key(overrides):
    with pytest.raises(UserError, match="overrides must be"):
        load_config("cifar10.yml", overrides)
