from itertools import combinations, pairwise

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.config import Config, load_config
from jittor_ddim.figures.unet_diagram import _STYLE, unet_figure
from jittor_ddim.figures.unet_layout import arrange, skip_connections


def _config(levels: int, blocks: int) -> Config:
    model = {"ch_mult": [1, 2, 4, 4, 8, 8][:levels], "num_res_blocks": blocks, "dropout": 0}
    data = {"dataset": "FOLDER", "image_size": 512}
    return Config.model_validate({"data": data, "model": {"attn_resolutions": [512], **model}})


_CONFIGS = [
    *(load_config(f"{name}.yml") for name in ("digits", "celeba", "bedroom")),
    *(_config(levels, 1 + levels % 3) for levels in (1, 2, 3, 6)),
    load_config("digits.yml", {"model.ch_mult": [1], "model.num_classes": 1000}),
]


@pytest.mark.parametrize("config", _CONFIGS, ids=lambda c: f"{c.model.ch_mult}")
def test_no_text_touches_another_one_a_bar_or_the_edge(config: Config) -> None:
    with matplotlib.rc_context(_STYLE):
        figure = unet_figure(config)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    texts = [text for text in texts if text.get_window_extent().width > 1]
    boxes = {text.get_text() + str(i): text.get_window_extent() for i, text in enumerate(texts)}
    drawn = [patch for patch in figure.axes[0].patches if patch.get_zorder() == 3]
    for (name, box), (other, another) in combinations(boxes.items(), 2):
        assert not box.overlaps(another), (name, other)
    for name, box in boxes.items():
        assert box.x0 > 2 and box.x1 < figure.bbox.width - 2, name
        assert box.y0 > 2 and box.y1 < figure.bbox.height - 2, name
        for patch in drawn:
            assert not box.overlaps(patch.get_window_extent()), name
    shown = [text.get_text() for text in texts]
    size = config.data.image_size
    assert shown.count(f"{config.model.ch} × {size} × {size}") >= 2


@pytest.mark.parametrize("config", _CONFIGS, ids=lambda c: f"{c.model.ch_mult}")
def test_bars_are_the_network(config: Config) -> None:
    bars, width, height = arrange(config)
    shapes = parameter_shapes(config)
    blocks = [bar for bar in bars if bar.kind == "res"]
    assert len(blocks) == sum(name.endswith(".conv1.weight") for name in shapes)
    assert sum(bar.attention for bar in bars) == sum(name.endswith(".q.weight") for name in shapes)
    assert all(left.right < right.x for left, right in pairwise(bars))
    assert bars[0].x > 0 and bars[-1].right < width
    assert all(0 < bar.bottom < bar.top < height for bar in bars)


def test_skips_add_up_to_what_the_decoder_reads() -> None:
    config = load_config("celeba.yml")
    shapes = parameter_shapes(config)
    bars, _, _ = arrange(config)
    pairs = skip_connections(bars)
    assert {id(source) for source, _ in pairs} == {id(bar) for bar in bars if bar.side == "down"}
    counts: dict[int, int] = {}
    for source, target in pairs:
        assert (source.row, source.size) == (target.row, target.size)
        i = counts[target.row] = counts.get(target.row, -1) + 1
        reads = shapes[f"up.{target.row}.block.{i}.norm1.weight"][0]
        before = bars[bars.index(target) - 1]
        assert reads == before.channels + source.channels
