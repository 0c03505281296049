"""Bytes → array: the one function a kind of input, which prepare and serving share.

    decode(signature.inputs[0], png_bytes)          # uint8 [H, W, C]
    decode(signature.inputs[0], {"age": 39, ...})   # float32 [columns]; also the JSON as bytes

All that follows (resize, scale, mel, normalise) is inside the exported graph. Each kind's own module is imported when
the first item of that kind comes.
"""

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from base.errors import BadItem, MetrolineError
from data.signature import AudioInput, ImageInput, Input, SeriesInput, TableInput, TextInput, VectorInput
from data.values import shown

if TYPE_CHECKING:
    from data.text.tokenizer import Tokenizer


def decode(input_: Input, raw: Any, tokenizer: "Tokenizer | None" = None) -> npt.NDArray[Any]:
    """One item → the array that the graph takes, without a batch. `raw`: bytes of any kind, or for text a str or a
    tuple of token ids, for table, series and vector the JSON value. `tokenizer`: text's.

    Raises BadItem: an item that is not what `input_` says; its message says why.
    """
    match input_:
        case TextInput():
            if tokenizer is None:
                raise MetrolineError(f"{input_.name}: text needs a tokenizer")
            from data.text.codec import decode_text

            return decode_text(input_, raw, tokenizer)
        case ImageInput():
            from data.images.codec import decode_image

            return decode_image(input_, _bytes(input_, raw))
        case AudioInput():
            from data.audio.codec import decode_audio

            return decode_audio(input_, _bytes(input_, raw))
        case TableInput():
            from data.tables.codec import decode_row

            return decode_row(input_, raw)
        case SeriesInput():
            from data.series import decode_series

            return decode_series(input_, raw)
        case VectorInput():
            from data.series import decode_vector

            return decode_vector(input_, raw)


def _bytes(input_: Input, raw: Any) -> bytes:
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise BadItem(f"{input_.name}: {input_.kind} is bytes of a file, not {shown(raw)}")
    return bytes(raw)
