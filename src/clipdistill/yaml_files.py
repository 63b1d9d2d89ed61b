"""Reading YAML: libyaml's parser where PyYAML has it (ten times the speed of its own), and no key said twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from clipdistill.errors import UserError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML that was built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]

MERGE = "tag:yaml.org,2002:merge"


class _Loader(SafeLoader):
    """A safe loader that takes no key twice: PyYAML keeps the last and says nothing of the others."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                said = f"`{key.value}` is there twice, in lines {first.start_mark.line + 1} and"
                raise yaml.constructor.ConstructorError(None, None, f"{said} {key.start_mark.line + 1}")
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """The content of a YAML text; plain values only, whatever tags it has.

    Raises:
        yaml.YAMLError: it isn't YAML, has a value that can't be, or a mapping has a key twice.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except (ValueError, RecursionError) as error:  # the 45th of a month, a number of 5,000 digits, 1,000 brackets
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: it can't be read, or isn't YAML.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
