"""Fonts for text in other alphabets than that of matplotlib's own."""

from functools import cache

#: Fonts with Chinese characters, as systems name them.
_CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # how matplotlib names the collection of all regions
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Heiti SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)


@cache
def chinese_font() -> str | None:
    """Return the name of an installed font with Chinese characters."""
    from matplotlib.font_manager import fontManager  # slow

    installed = set(fontManager.get_font_names())
    return next((name for name in _CHINESE_FONTS if name in installed), None)
