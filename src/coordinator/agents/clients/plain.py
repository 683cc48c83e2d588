"""Plain data, as parsers of JSON and TOML return it: compared strictly, merged, and tidied up."""

from collections.abc import Collection, Mapping
from typing import Any

Data = dict[str, Any]
Path = tuple[str, ...]
"""The keys on the way from the root to a value."""


class WrongShape(Exception):
    """A value is not the object or the array that the client would read there."""

    def __init__(self, path: Path, expected: str) -> None:
        super().__init__(f"{'.'.join(path) or 'the file'} is not {expected}")


def same(one: object, other: object) -> bool:
    """Whether two values are written alike: 1 is neither true nor 1.0, and no order of keys counts.

    Two NaN are the same.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other) if isinstance(one, float) else one == other


def object_at(data: Data, path: Path) -> Data:
    """Return a copy of the object there, or an empty one; raise WrongShape for anything else."""
    found: object = data
    for length, key in enumerate(path):
        if not isinstance(found, dict):
            raise WrongShape(path[:length], "an object")
        found = found.get(key, {})
    if not isinstance(found, dict):
        raise WrongShape(path, "an object")
    return dict(found)


def list_at(data: Data, path: Path) -> list[Any]:
    """Return a copy of the array there, or an empty one; raise WrongShape for anything else."""
    found = object_at(data, path[:-1]).get(path[-1], [])
    if not isinstance(found, list):
        raise WrongShape(path, "an array")
    return list(found)


def placed(data: Data, path: Path, value: object) -> Data:
    """Return the data with this value there, and with the objects on the way to it."""
    key, *rest = path
    inner = placed(object_at(data, (key,)), tuple(rest), value) if rest else value
    return {**data, key: inner}


def merged(current: Data, old: Mapping[str, Any], new: Mapping[str, Any]) -> Data:
    """Bring what we wrote up to date, and keep what its owner has changed in it.

    `old` is what we would have written before, `new` what we would write now. A value that differs
    from both is the owner's, and stays unless ours has changed, too.
    """
    kept = {}
    for key, value in current.items():
        if key in new or key not in old:
            kept[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if left := merged(value, old[key], {}):
                kept[key] = left
        elif not same(value, old[key]):
            kept[key] = value
    return {**kept, **{key: _merged(kept, old, new, key) for key in new}}


def _merged(current: Data, old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> object:
    if key not in current:
        return new[key]
    mine, was, is_ = current[key], old.get(key), new[key]
    if isinstance(mine, dict) and isinstance(is_, dict):
        return merged(mine, was if isinstance(was, dict) else {}, is_)
    return mine if same(was, is_) else is_


def without_husks(data: Data, husks: Collection[Path]) -> Data:
    """Return the data without the objects and arrays at these places that are empty."""
    for path in sorted(husks, key=len, reverse=True):
        *way, last = path
        parent = object_at(data, tuple(way))
        if last in parent and parent[last] in ({}, []):
            del parent[last]
            data = placed(data, tuple(way), parent) if way else parent
    return data


def filled(data: Data, paths: Collection[Path]) -> list[Path]:
    """Return those of these places where there is something other than nothing or emptiness."""
    found = []
    for path in paths:
        parent = object_at(data, path[:-1])
        if parent.get(path[-1]) not in (None, {}, []):
            found.append(path)
    return found


def new_paths(before: Data, after: Data, within: Path = ()) -> list[Path]:
    """Return the places of what `after` has and `before` has not: keys, and texts in arrays."""
    found = []
    for key, value in after.items():
        path = (*within, key)
        old = before.get(key)
        if key not in before:
            found.append(path)
        if isinstance(value, dict):
            found += new_paths(old if isinstance(old, dict) else {}, value, path)
        elif isinstance(value, list):
            known = old if isinstance(old, list) else []
            found += [
                (*path, each) for each in value if isinstance(each, str) and each not in known
            ]
    return found
