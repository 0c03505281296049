"""The one shape in which a decoder leaves PyTorch: prefill and decode in one graph, flat tensors in and out.

    wrapped = CachedDecoder(model.eval())
    program = torch.onnx.export(wrapped, wrapped.example_inputs(), dynamo=True, optimize=True,
                                input_names=wrapped.input_names, output_names=wrapped.output_names,
                                dynamic_shapes=wrapped.dynamic_shapes())
    program.save("model.onnx")
    torch.export.save(torch.export.export(wrapped, wrapped.example_inputs(),
                                          dynamic_shapes=wrapped.dynamic_shapes()), "model.pt2")
    torch.jit.trace(wrapped, wrapped.example_inputs(), check_trace=False).save("model.ts")

Run all three under `torch.no_grad()`. It writes no file itself. `kernels.attention.cached` has the rules for ragged
batches.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from models.decoder.model import Decoder


class CachedDecoder(nn.Module):
    """`Decoder.forward_cached` with ONNX Runtime's conventions.

    Inputs, in order: input_ids int64 [batch, sequence]; seqlens_k int32 [batch], each row's tokens with the new ones,
    minus one; total_sequence_length int32 [], the longest row with the new ones; logits_at int64 [rows], which of the
    batch · sequence new tokens get logits; for each layer past_key_values.{i}.key and .value float
    [batch, kv_heads, past, head_dim].
    Outputs: logits [rows, vocab]; for each layer present.{i}.key and .value, [batch, kv_heads, total, head_dim].
    Raises ValueError for a head size that ONNX Runtime's attention does not take.
    """

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        size, multiple = model.config.head_dim, model.config.head_multiple
        if size % multiple:
            raise ValueError(f"ONNX Runtime's attention needs a head_dim that is a multiple of {multiple}, not {size}")
        self.model = model
        layers = range(model.config.layers)
        self.input_names = ["input_ids", "seqlens_k", "total_sequence_length", "logits_at"]
        self.input_names += [f"past_key_values.{i}.{part}" for i in layers for part in ("key", "value")]
        self.output_names = ["logits", *(f"present.{i}.{part}" for i in layers for part in ("key", "value"))]
        self.eval()

    def forward(
        self,
        input_ids: Tensor,
        seqlens_k: Tensor,
        total_sequence_length: Tensor,
        logits_at: Tensor,
        *past_key_values: Tensor,
    ) -> tuple[Tensor, ...]:
        """See the class."""
        past = list(zip(past_key_values[::2], past_key_values[1::2], strict=True))
        logits, presents = self.model.forward_cached(input_ids, past, seqlens_k + 1, total_sequence_length, logits_at)
        return (logits, *(tensor for present in presents for tensor in present))

    def example_inputs(self, batch: int = 2, past: int = 3, new: int = 5) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and types: all zeros, `past` cached and `new` tokens in each row, logits of all
        but the last (so that exporters do not take the number of rows for another dimension's)."""
        config = self.model.config
        cache = torch.zeros(batch, config.kv_heads, past, config.head_dim)
        return (
            torch.zeros(batch, new, dtype=torch.int64),
            torch.full((batch,), past + new - 1, dtype=torch.int32),
            torch.tensor(past + new, dtype=torch.int32),
            torch.arange(batch * new - 1),
            *(cache.clone() for _ in range(2 * config.layers)),
        )

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Which dimensions vary, for `torch.export` and `torch.onnx.export`: batch, sequence, rows, past."""
        context = self.model.config.context
        batch, sequence, past = Dim("batch", max=4096), Dim("sequence", max=context), Dim("past", max=context)
        rows = Dim("rows", max=4096 * context)
        caches = tuple({0: batch, 2: past} for _ in range(2 * self.model.config.layers))
        return ({0: batch, 1: sequence}, {0: batch}, None, {0: rows}, caches)
