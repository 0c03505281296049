"""One decoder that is GPT-2, Llama or Qwen3 by configuration; Hugging Face folders in and out, GGUF in."""
