"""The most tokens that a provider can bill for the prompt of a request.

- **Text.** Each token of a byte-level or byte-fallback vocabulary stands for a byte of UTF-8 at
  least. JSON has no fewer bytes than the text in it. So text has no more tokens than bytes.
- **The form around it.** A chat template adds a few tokens to each message and tool. The JSON of a
  message or tool has more bytes than that: `{"role":"user","content":""}` has 28.
- **What the provider adds by itself**: `FRAMING_TOKENS`. Anthropic documents up to 804 for the use
  of tools, 499 for the use of a computer, and 735 for its tool. Venice adds 1,102 of its own.
- **Images.** `IMAGE_TOKENS` each, in place of the bytes of their data.
- **Sound.** Its data has far more bytes than tokens: providers document 32 tokens a second at most.
- **All else** has no bound but the model's window: see `Prompt.is_unsized`.
"""

from gateway.core.prompt import Prompt

FRAMING_TOKENS = 2_000
"""Tokens that a provider adds to any request; the most in recorded answers are 1,514."""
IMAGE_TOKENS = 20_000
"""Tokens of an image at most. Documented maxima: Qwen 16,384, OpenAI 10,000, Anthropic 4,784."""


def bound_prompt_tokens(prompt: Prompt, body_bytes: int) -> int | None:
    """Return the most tokens of a prompt whose request has so many bytes.

    None if the request does not show how much the model reads.
    """
    if prompt.is_unsized:
        return None
    return body_bytes - prompt.image_bytes + IMAGE_TOKENS * prompt.images + FRAMING_TOKENS
