"""TOML tables as frozen values, and what is wrong with one as a sentence for the person who wrote it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Table(BaseModel):
    """A TOML table: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def sentence(error: ValidationError, table: type[BaseModel]) -> str:
    """What pydantic found in a `table`: key = value: what is allowed; several complaints in one line."""
    found = error.errors()
    return "; ".join(_complaint(one["loc"], one["type"], one["msg"], one["input"], table) for one in found)


def _complaint(place: tuple[int | str, ...], kind: str, message: str, value: object, table: type[BaseModel]) -> str:
    message = message.removeprefix("Value error, ")
    key = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        return f"{key}: unknown key; known here are {', '.join(_known_keys(place[:-1], table))}"
    if kind == "missing":
        return f"{key}: is missing"
    if kind == "value_error" and isinstance(value, dict | BaseModel):
        return message
    text = repr(value)
    return f"{key} = {text if len(text) <= 60 else text[:57] + '…'}: {message}"


def _known_keys(place: tuple[int | str, ...], table: type[BaseModel]) -> list[str]:
    """Keys of the inner table at `place`."""
    for part in place:
        table = table.model_fields[str(part)].annotation  # type: ignore[assignment]
    return list(table.model_fields)
