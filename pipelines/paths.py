"""Where each stage of a recipe reads and writes, below the project's root folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """All folders and files of one recipe."""

    recipe: str
    root: Path = Path(".")

    @property
    def raw(self) -> Path:
        """Fetched files, as they came."""
        return self.root / "data/raw" / self.recipe

    @property
    def pretrained(self) -> Path:
        """Fetched weights of others, as they came; without any, only `source.json`."""
        return self.raw / "pretrained"

    @property
    def base(self) -> Path:
        """Which checkpoint of another recipe it begins with; only for a recipe that does."""
        return self.raw / "base.json"

    def used(self, role: str) -> Path:
        """Which release of another recipe it uses in a role, as `reranker`; only for a recipe that does."""
        return self.raw / f"{role}.json"

    @property
    def prepared(self) -> Path:
        """Token shards, `tokenizer.json`, `stats.json`."""
        return self.root / "data/prepared" / self.recipe

    @property
    def artifacts(self) -> Path:
        """Everything that training and later stages write."""
        return self.root / "artifacts" / self.recipe

    @property
    def checkpoint(self) -> Path:
        """The trained model (a DVC output): weights, config, tokenizer, curves."""
        return self.artifacts / "checkpoint"

    @property
    def adapter(self) -> Path:
        """The adapter that is merged in the checkpoint already, as PEFT's files; only where one was trained."""
        return self.checkpoint / "adapter"

    @property
    def training(self) -> Path:
        """Resumable training state. Not a DVC output: DVC deletes outputs before it runs a stage."""
        return self.artifacts / "training"

    @property
    def metrics(self) -> Path:
        """What `evaluate` measured on the test split (a DVC metrics file)."""
        return self.artifacts / "metrics.json"

    @property
    def evaluation(self) -> Path:
        """Plots, samples and per-group losses from `evaluate`."""
        return self.artifacts / "evaluation"

    @property
    def plots(self) -> Path:
        """Curves and per-group losses as CSV files for `dvc plots`."""
        return self.artifacts / "plots"

    @property
    def bundle(self) -> Path:
        """The deployable folder: the only thing that serving knows."""
        return self.artifacts / "bundle"

    @property
    def release(self) -> Path:
        """Which version `release` put into the model store (a DVC metrics file)."""
        return self.artifacts / "release.json"

    @property
    def delivery(self) -> Path:
        """What was known of the last candidate when it was promoted or rolled back. Not a DVC output."""
        return self.artifacts / "delivery.json"

    @property
    def deployed(self) -> Path:
        """Which release was last tried on an endpoint here, and how that went. Not a DVC output."""
        return self.artifacts / "deployed.json"
