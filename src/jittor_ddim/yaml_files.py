"""Plain YAML, read strictly: mistakes that YAML hides are errors that name the line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from jittor_ddim.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without the numbers of YAML 1.1 that people read differently."""

    def number(self, node: yaml.Node) -> Any:
        """Refuse ``032``, which is 26, and ``1:30``, which is 90."""
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a number cannot have keys or items", node.start_mark
            )
        text = node.value
        digits = text.lstrip("+-").replace("_", "")
        if ":" in text or (digits.isdigit() and digits.startswith("0") and int(digits)):
            raise yaml.constructor.ConstructorError(
                None, None, f"{text} is not a plain decimal number", node.start_mark
            )
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.number)


def read_yaml(path: Path, source: str) -> Any:
    """Read a plain YAML file, UTF-8 or UTF-16 with a byte order mark.

    :param source: the file's name in errors
    :raises ConfigError: naming the file and the line
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    return parse_yaml(data, source)


def parse_yaml(text: str | bytes, source: str) -> Any:
    """Read plain YAML in which no key is repeated, at any depth.

    :param source: the text's name in errors
    :raises ConfigError: naming the line; for a repeated key, both lines
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            for key, first, second in _repeated(node):
                raise ConfigError(
                    f"{source}: {key}: repeated, on lines {first} and {second}; keep one"
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        if error.encoding != "unicode":  # else a character that YAML does not allow
            raise ConfigError(
                f"{source}: not plain YAML (not UTF-8 at byte {error.position}); save it as UTF-8"
            ) from None
        raise _refusal(source, error) from None
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2020-13-01 is the latter
        raise _refusal(source, error) from None
    except (LookupError, AttributeError, TypeError):  # what PyYAML raises for `!!bool abc`
        raise ConfigError(f"{source}: not plain YAML (a value does not fit its !!tag)") from None
    except RecursionError:
        raise ConfigError(f"{source}: not plain YAML (nested too deeply)") from None


def _refusal(source: str, error: Exception) -> ConfigError:
    line = " ".join(str(error).replace('in "<byte string>", ', "at ").split())
    line = line.replace('in "<unicode string>", ', "at ")
    return ConfigError(f"{source}: not plain YAML ({line[:160]})")


def _repeated(root: yaml.Node) -> Iterator[tuple[str, int, int]]:
    """Yield the dotted keys that are repeated in one mapping, with both lines.

    Merge keys (``<<``) are not resolved: their entries may be overridden by design.
    """
    seen: set[int] = set()  # an anchor may contain itself
    pending = [("", root)]
    while pending:
        path, node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(f"{path}.{index}", item) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            dotted = f"{path}.{key.value}".lstrip(".")
            line = key.start_mark.line + 1
            if key.value in lines:
                yield dotted, lines[key.value], line
            lines[key.value] = line
            pending.append((dotted, value))
