"""What pydantic finds wrong with a config, said in one line that names the key."""

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, sections: type[BaseModel]) -> str:
    """Return one line for the first thing that is wrong, and how many more there are.

    :param sections: the model of the whole config
    """
    details = error.errors()
    first = details[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"{key}: unknown key{nearest(key, sections)}"
    elif first["type"] == "missing":
        text = f"{key}: missing"
    elif first["type"] == "model_type":
        text = f"{key}: expected keys and values, got {first['input']!r}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        got = first["input"]
        text = f"{key}: {message}" if key else message
        if not isinstance(got, (Mapping, BaseModel)) and key:
            text += f", got {got!r}"
    more = len(details) - 1
    return " ".join(text.split()) + (f" (and {more} more)" if more else "")


def nearest(key: str, sections: type[BaseModel]) -> str:
    """The allowed key that looks most like this one, else all beside it, as a sentence's end."""
    keys = _all_keys(sections)
    section, _, leaf = key.rpartition(".")
    beside = [name for name in keys if name.rpartition(".")[0] == section]
    for candidates, cutoff in ((keys, 1.0), (beside, 0.6), (keys, 0.7)):
        leaves = {name.rpartition(".")[2]: name for name in candidates}
        if match := difflib.get_close_matches(leaf, leaves, 1, cutoff):
            return f"; did you mean {leaves[match[0]]}?"
    return f"; allowed: {', '.join(beside or sections.model_fields)}"


def _all_keys(sections: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for section, field in sections.model_fields.items():
        model = field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        keys += [section, *(f"{section}.{key}" for key in model.model_fields)]
    return keys
