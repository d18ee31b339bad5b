"""Converts state dicts of other code to the key names of the networks here."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

_WRAPPERS = re.compile(r"^(?:module\.)+|_orig_mod\.")
_COUNTER = "num_batches_tracked"


def networks_of(content: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with its networks by name, also from Lightning's flat `state_dict` with keys `NAME.KEY`."""
    inner = content.get("state_dict")
    if any(name in content for name in names) or not isinstance(inner, Mapping):
        return dict(content)
    flat = plain_state(inner)
    nested = {name: _renamed(flat, f"^{re.escape(name)}\\.", only=True) for name in names}
    found = {name: inner.get(name) or nested[name] for name in names}
    return {**content, **{name: state for name, state in found.items() if state}}


def plain_state(state: Any, expected: Mapping[str, Any] | None = None) -> Any:
    """Remove the prefixes of DataParallel (`module.`) and torch.compile (`_orig_mod.`) from a state dict.

    expected: state dict of the network to load into; provides the counters of batch norms, which torch < 0.4.1 did not save
    """
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        return state
    own = expected or {}
    plain = state if own and own.keys() <= state.keys() else _renamed(state, _WRAPPERS)
    counters = {name: value for name, value in own.items() if name.endswith(_COUNTER) and name not in plain}
    if counters:
        plain = _renamed(plain, "^$")  # a copy
        plain.update(counters)
    return plain


def _renamed(state: Mapping[Any, Any], prefix: str | re.Pattern[str], only: bool = False) -> OrderedDict[str, Any]:
    """Remove a prefix from the keys of a state dict and from the modules in its `_metadata`, where networks record versions.

    only: drop keys without the prefix
    """
    found: OrderedDict[str, Any] = OrderedDict(
        (re.sub(prefix, "", str(name)), value) for name, value in state.items() if not only or re.match(prefix, str(name))
    )
    metadata = getattr(state, "_metadata", None)
    if isinstance(metadata, dict):
        modules = {f"{name}.": value for name, value in metadata.items() if not only or re.match(prefix, f"{name}.")}
        found._metadata = {re.sub(prefix, "", name).rstrip("."): value for name, value in modules.items()}  # type: ignore[attr-defined]
    return found
