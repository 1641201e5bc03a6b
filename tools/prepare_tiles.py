"""Make a folder to train on from the tiles of Dungeon Crawl Stone Soup.

    python tools/prepare_tiles.py crawl-tiles-32.zip OUT

The archive holds CLASS/…/NAME.png, 32x32 on a transparent background: `monster`, `item`, `spell`,
`terrain` and `effect` as whole pictures, and in `player/LAYER/…` what is laid over each other. OUT
gets train/CLASS/NAME.png and test/CLASS/NAME.png in RGB, over one background. About 5 % are
held out, chosen by a hash of the name, so that neither other tiles nor their order changes where
one lies. Players are drawn by (seed, number): a held-out one is a combination that training has
not seen, of layers that it has. Pictures that come twice are written once.
"""

import argparse
import hashlib
import json
import random
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from jittor_ddim.atomic import creating_folder
from jittor_ddim.decoding import rgb

WHOLE = ("effect", "item", "monster", "spell", "terrain")
PLAYER = "player"
BACKGROUND = "#26262e"
HELD_OUT = 20  # one picture of so many
#: Figures that wear nothing: what a spell turns players into, and cats.
FORMS, FORM_SHARE = ("transform", "felids"), 0.03
#: From the back to the front: what is drawn, and for which share of the players. The layers that
#: are not here are horns and wings that bases have already, and glows.
HUMAN = {
    "cloak": 0.4, "base": 1, "boots": 0.6, "legs": 0.75, "body": 0.85, "gloves": 0.4,
    "hand1": 0.8, "hand2": 0.5, "hair": 0.7, "beard": 0.1, "head": 0.5,
}  # fmt: skip
#: Hair on scales, feathers or bandages would be wrong.
BALD = {layer: share for layer, share in HUMAN.items() if layer not in ("hair", "beard")}
#: Who has four legs or a tail wears a barding of its kind.
LONG = {
    "cloak": 0.4, "base": 1, "barding": 0.5, "body": 0.85, "gloves": 0.4,
    "hand1": 0.8, "hand2": 0.5, "hair": 0.7, "head": 0.5,
}  # fmt: skip
ROUND = {"base": 1, "hand1": 0.8, "hand2": 0.5, "head": 0.5}
#: By the kind of a base, the first word of its name; all others are human enough.
WARDROBES = {
    **dict.fromkeys(("centaur", "naga"), LONG),
    **dict.fromkeys(("draconian", "formicid", "gargoyle", "ghoul", "ghoul2", "kobold"), BALD),
    **dict.fromkeys(("kobold2", "lorc", "minotaur", "mummy", "spriggan", "tengu"), BALD),
    **dict.fromkeys(tuple(f"octopode{number}" for number in range(1, 6)), ROUND),
}
#: Of the bases, no figure but the shadow of one.
NO_FIGURE = "player/base/shadow"


def read_tiles(archive: Path) -> dict[str, Image.Image]:
    """Return the archive's tiles by name without suffix, in RGBA, sorted."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.endswith(".png"))
        return {
            name.removesuffix(".png"): Image.open(BytesIO(files.read(name))).convert("RGBA")
            for name in names
        }


def draw_player(layers: dict[str, list[str]], choice: random.Random) -> list[str]:
    """Return the names of a player's layers, from the back to the front.

    :param layers: the names of all layers by their folder
    """
    if choice.random() < FORM_SHARE:
        return [choice.choice([name for form in FORMS for name in layers[form]])]
    base = choice.choice(layers["base"])
    kind = base.rpartition("/")[2].partition("_")[0]
    worn = []
    for layer, share in WARDROBES.get(kind, HUMAN).items():
        if layer == "base":
            worn.append(base)
        elif choice.random() < share:
            fitting = layers[layer]
            if layer == "barding":
                fitting = [name for name in fitting if f"/{kind}_" in name]
            worn.append(choice.choice(fitting))
    return worn


def pictures(
    tiles: dict[str, Image.Image], players: int, seed: int
) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield the class, the name and the picture in RGBA of everything there is."""
    for name, tile in tiles.items():
        top, _, rest = name.partition("/")
        if top in WHOLE:
            yield top, rest.replace("/", "_"), tile
    layers: dict[str, list[str]] = defaultdict(list)
    for name in tiles:
        if name.startswith(f"{PLAYER}/") and name != NO_FIGURE:
            layers[name.split("/")[1]].append(name)
    for number in range(players):
        names = draw_player(layers, random.Random(f"{seed} {number}"))
        picture = tiles[names[0]].copy()
        for name in names[1:]:
            picture.alpha_composite(tiles[name])
        yield PLAYER, f"{number:04}", picture


def is_held_out(name: str) -> bool:
    """Whether a picture is in the test split, by its class and name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % HELD_OUT == 0


def main() -> None:
    """Write the folder, and print how many pictures of each class it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--background", default=BACKGROUND)
    parser.add_argument("--players", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    colour = (*rgb(given.background), 255)
    tiles = read_tiles(given.archive)
    seen: set[bytes] = set()
    counts: Counter[str] = Counter()
    with creating_folder(given.out) as folder:
        for top, name, tile in pictures(tiles, given.players, given.seed):
            picture = Image.new("RGBA", tile.size, colour)
            picture.alpha_composite(tile)
            picture = picture.convert("RGB")
            if (pixels := picture.tobytes()) in seen:
                continue
            seen.add(pixels)
            part = f"{'test' if is_held_out(f'{top}/{name}') else 'train'}/{top}"
            counts[part] += 1
            (folder / part).mkdir(parents=True, exist_ok=True)
            picture.save(folder / part / f"{name}.png")
    print(json.dumps(dict(sorted(counts.items()))))


if __name__ == "__main__":
    main()
