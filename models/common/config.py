"""What the schema of every network's keys has in common. Imports no torch."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict


class ModelConfig(BaseModel):
    """A network's keys in a recipe's `model`. A subclass has `kind: Literal["its-name"]` with its name as default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def problems(self) -> Iterator[str]:
        """One line, opened by `model.key: `, for each value that a later stage would trip on."""
        return iter(())
