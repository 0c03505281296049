"""The keys of a recipe's `data` for tasks that learn to find documents: queries, documents, and which answer which."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.tables.config import RowsConfig, suffixes_of
from data.text.tokenizer import TokenizerConfig


class Section(BaseModel):
    """What every section of a recipe has."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DocumentsConfig(Section):
    """One document a row."""

    rows: RowsConfig = RowsConfig()
    id: str = Field(default="id", description="the column that names a document")
    title: str = Field(default="", description="the column with its title, which goes before its text; empty: none")
    text: str = Field(default="text", description="the column with its text")
    printed: bool = Field(
        default=False, description="the text is a list of strings as Python or NumPy prints it, which are joined"
    )


class QueriesConfig(Section):
    """One query a row; rows with the same id are one query."""

    rows: RowsConfig = RowsConfig()
    id: str = Field(default="id", description="the column that names a query")
    text: str = Field(default="text", description="the column with its text")
    relevant: str = Field(
        default="relevant",
        description="the column with the ids of documents that answer it; several stand between blanks, commas, "
        "quotes or brackets, or in rows of their own",
    )


class JudgedData(Section):
    """Queries, the documents that are searched, and for each query those that answer it."""

    kind: Literal["judged"] = "judged"
    documents: DocumentsConfig = DocumentsConfig()
    queries: QueriesConfig = QueriesConfig()
    titles: bool = Field(default=False, description="in training each document's title asks for its text too")
    query_length: int = Field(default=64, ge=1, description="most tokens of a query; longer ones are left out")
    length: int = Field(default=254, ge=1, description="most tokens of a document; what is longer is cut, and counted")
    candidates: int = Field(default=100, ge=10, description="documents that BM25 finds for each query")
    tokenizer: TokenizerConfig = TokenizerConfig(kind="pretrained")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return tuple(dict.fromkeys((*suffixes_of(self.documents.rows), *suffixes_of(self.queries.rows))))
