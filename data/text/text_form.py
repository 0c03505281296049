"""How text is written, in training and in prompts alike: line ends and Unicode normalisation.

`prepare` gives it to documents; the bundle's serving.json carries it to the endpoint, which gives it to prompts.
"""

import unicodedata
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TextForm(BaseModel):
    """Which of the ways to write the same text is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unicode: Literal["NFC", "none"] = Field(default="NFC", description="normalisation form given to all text")
    newlines: bool = Field(default=True, description="turn CRLF and lone CR into LF")

    def apply(self, text: str) -> str:
        """Return `text` in this form."""
        if self.newlines and "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text if self.unicode == "none" else unicodedata.normalize(self.unicode, text)
