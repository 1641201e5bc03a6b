"""A picture that somebody dropped on the page, as the network would have been trained on it."""

from PIL import Image

from jittor_ddim.config import Config
from jittor_ddim.data.source import decode
from jittor_ddim.decoding import open_image
from jittor_ddim.errors import UserError, why
from jittor_ddim.image_files import png_bytes
from jittor_ddim.play.said import Said

#: Of a file, and of its pixels, which take three bytes each while it is decoded.
MOST_BYTES, MOST_PIXELS = 20_000_000, 50_000_000
_BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)


def fit(content: bytes, config: Config) -> bytes:
    """Return a picture as a PNG of the network's size: scaled, the centre cut out.

    :param content: a file of any format that is read elsewhere
    :raises UserError: if it is no picture, or too large
    """
    try:
        with open_image(content) as image:
            if image.width * image.height <= MOST_PIXELS:
                data = config.data
                size, channels = data.image_size, data.channels
                return png_bytes(decode(image, size, channels, data.background)[0])
    except _BOMBS:
        pass  # Pillow's limit is beyond ours
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(f"the picture cannot be read: {why(error, 150)}") from None
    most = MOST_PIXELS // 1_000_000
    raise Said(
        "too_many_pixels",
        f"the picture has too many pixels; make it smaller than {most} megapixels",
        most=most,
    )
