"""What the tasks have in common whose `prepare` leaves the signature in index.json."""

from pathlib import Path
from typing import TYPE_CHECKING

from base.files import read_object

if TYPE_CHECKING:
    from data.signature import Signature
    from pipelines.recipe.schema import Recipe


class PreparedTask:
    """The part of `pipelines.tasks.interface.Task` that is the same for all of them."""

    def __init__(self, recipe: "Recipe") -> None:
        self.recipe = recipe

    def signature(self, prepared: Path) -> "Signature":
        """What prepare stored."""
        from data.signature import Signature

        return Signature.model_validate(read_object(prepared / "index.json")["signature"])
