"""What stands in a sweep's files, and what files are called."""

import pytest
from sweep_example import cell

from jittor_ddim.sweep.layout import file_name
from jittor_ddim.sweep.plan import Grid
from jittor_ddim.sweep.results import Cell, Row, Variant


@pytest.mark.parametrize(
    ("eta", "variant", "name"),
    [
        (0.0, Variant("ddim", 0.0), "cell_S5_eta0.0.json"),
        (0.5, Variant("ddim", 0.5), "cell_S5_eta0.5.json"),
        ("ddpm_noisy", Variant("ddpm_noisy"), "cell_S5_ddpm_noisy.json"),
        ("heun", Variant("heun"), "cell_S5_heun.json"),
        ("ipndm:4", Variant("ipndm", order=4), "cell_S5_ipndm-4.json"),
    ],
)
def test_a_cell_stores_eta_or_the_name_of_a_sampler(eta, variant, name):
    text = cell("jittor", 5, eta, 1.0).model_dump_json()
    stored = Cell.model_validate_json(text)
    assert stored.eta == eta and stored.row == Row(5, variant)
    assert variant.stored == eta and file_name("cell", stored.row) == name
    assert file_name("features", stored.row) == name.replace("cell", "features")[:-4] + "npy"


def test_rows_are_done_by_s_then_eta_then_samplers():
    variants = Variant("heun"), Variant("ddim", 0.5), Variant("ddpm_noisy"), Variant("ddim", 0.0)
    wanted = Grid((20, 5), (8, 5), variants, ("jittor",)).cells()
    assert [row.timesteps for row, _ in wanted] == [5] * 4 + [8] * 4 + [20] * 4
    assert [row.variant.stored for row, _ in wanted[:4]] == [0.0, 0.5, "ddpm_noisy", "heun"]
    assert [distance for _, distance in wanted] == [True] * 4 + [False] * 4 + [True] * 4


def test_what_variants_are_called():
    titles = [Variant("ddim", 1.0).title, Variant("ddpm_noisy").title, Variant("heun").title]
    assert Variant("ipndm", order=4).title == "ipndm 4"
    assert titles == ["1", "σ̂ (ddpm_noisy)", "heun"]
