"""Do PEFT and this project compute the same from the same adapter, whoever wrote it?

    metroline stage train smollm2 && python -m benchmarks.peft_parity [CHECKPOINT]

LoRA, rsLoRA and DoRA of rank 8, α 16, on all seven products of SmolLM2-135M, A and B random: an adapter that PEFT wrote
is read here, one that was written here is read by PEFT, and ours, merged, by `transformers`. The value is the largest
absolute difference of a logit over 512 tokens of text. It needs the `peers` extra (make peers).
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from base.files import sha256
from benchmarks._report import record, report
from data.text.tokenizer import Tokenizer
from models import adapter_files
from models.adapters import Form, adapted, attach, merge
from models.decoder.huggingface import HEAD, load, published, save_pretrained
from models.decoder.model import Decoder

CHECKPOINT = Path("artifacts/smollm2/checkpoint")
TEXT = Path("data/examples/speeches/1862-Lincoln.txt")
FORMS = {
    "lora": Form(8, 16.0),
    "rslora": Form(8, 16.0, stabilized=True),
    "dora": Form(8, 16.0, decomposed=True),
}
TOKENS, LIMIT = 512, 5e-3


def ours(checkpoint: Path, ids: Tensor, form: Form, folder: Path) -> tuple[Tensor, Tensor]:
    """Logits of an adapter that is written to `folder`, and with it merged, which is written to `folder`/merged."""
    network = load(checkpoint)
    generator = torch.Generator().manual_seed(1)
    attach(network, form, ["*"], generator, (HEAD,))
    for layer in adapted(network).values():
        layer.lora_b.copy_(0.05 * torch.randn(layer.lora_b.shape, generator=generator))
    adapter_files.write(network, folder, base=str(checkpoint), base_sha256=_hash(checkpoint), published=_names(network))
    logits = network(ids)
    merge(network)
    save_pretrained(network, folder / "merged", tokenizer=checkpoint / "tokenizer.json")
    return logits, network(ids)


def read(checkpoint: Path, folder: Path, ids: Tensor) -> Tensor:
    """Logits of the base with an adapter of others."""
    network = load(checkpoint)
    adapter_files.read(folder, network, base_sha256=_hash(checkpoint), published=_names(network))
    return network(ids)


def _hash(checkpoint: Path) -> str:
    return sha256(checkpoint / "model.safetensors")


def _names(network: Decoder) -> Any:
    return lambda layer: published(network.config, layer)


def compare(checkpoint: Path, ids: Tensor, kind: str, folder: Path) -> dict[str, float]:
    """The largest difference of a logit, in each direction."""
    import peft
    import transformers

    def base(folder: Path = checkpoint) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    form = FORMS[kind]
    settings = peft.LoraConfig(
        r=form.rank, lora_alpha=form.alpha, use_rslora=form.stabilized, use_dora=form.decomposed,
        target_modules="all-linear", init_lora_weights=False,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = peft.get_peft_model(base(), settings).eval()
    for name, weight in theirs.named_parameters():
        if "lora_B" in name:
            weight.copy_(0.05 * torch.randn(weight.shape))
    theirs.save_pretrained(folder / "theirs")
    of_theirs = theirs(ids).logits
    found = {"written by peft": _far(of_theirs, read(checkpoint, folder / "theirs", ids))}
    del theirs
    of_ours, of_merged = ours(checkpoint, ids, form, folder / "ours")
    found["read by peft"] = _far(peft.PeftModel.from_pretrained(base(), folder / "ours").eval()(ids).logits, of_ours)
    found["merged here"] = _far(of_merged, of_ours)
    found["merged, read by transformers"] = _far(base(folder / "ours/merged")(ids).logits, of_ours)
    found["changed by the adapter"] = _far(base()(ids).logits, of_ours)
    return found


def _far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def main() -> None:
    """Measure, and print the result."""
    checkpoint = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINT
    try:
        import peft  # noqa: F401
    except ImportError:
        report(name="peft_parity", skipped="needs peft: make peers", ok=True)
    if not (checkpoint / "model.safetensors").is_file():
        report(name="peft_parity", skipped=f"needs {checkpoint}: metroline run smollm2", ok=True)
    text = Tokenizer.load(checkpoint / "tokenizer.json").encode(TEXT.read_text(encoding="utf-8"))
    ids = torch.tensor(text[:TOKENS])[None]
    worst = 0.0
    with torch.no_grad():
        for kind in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(checkpoint, ids, kind, Path(folder))
            record(kind=kind, **found)
            changed = found.pop("changed by the adapter")
            worst = max(worst, *found.values()) if changed > 1 else float("inf")  # else nothing was compared
    report(
        name="peft_parity", value=worst, unit="largest difference of a logit", baseline=0, ratio=None,
        accept=f"<= {LIMIT}", ok=worst <= LIMIT,
    )  # fmt: skip


if __name__ == "__main__":
    main()
