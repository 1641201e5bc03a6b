import warnings

import pytest
from oracles import golden

from jittor_ddim.config import CONFIG_FOLDERS, config_names, load_config


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_config_loads_without_a_remark(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(name)
    path = next(folder / name for folder in CONFIG_FOLDERS if (folder / name).is_file())
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_shipped_configs() -> None:
    lsun = "bedroom cat church"
    others = "celeba cifar10 cifar10_medium cifar10_small digits ffhq folder tiles"
    expected = sorted(f"{lsun} {others}".split())
    assert config_names() == [f"{name}.yml" for name in expected]


@pytest.mark.parametrize("name", ["cifar10", "celeba", "bedroom"])
def test_official_configs_have_the_official_values(name: str) -> None:
    ours, official = load_config(f"{name}.yml").model_dump(), golden(f"unet_{name}")["config"]
    ours["data"]["num_workers"] = official.data.num_workers
    assert ours == official.model_dump()


def test_lsun_configs_differ_in_the_category_alone() -> None:
    bedroom, church, cat = (load_config(f"{name}.yml") for name in ("bedroom", "church", "cat"))
    assert cat.data.category == "cat"
    for one in (bedroom, church):
        data = one.data.model_copy(update={"category": "cat"})
        assert one.model_copy(update={"data": data}) == cat
