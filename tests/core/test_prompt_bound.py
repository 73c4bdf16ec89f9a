"""The most tokens of a prompt, from the bytes of its request."""

import pytest

from gateway.core.prompt import Prompt
from gateway.core.prompt_bound import bound_prompt_tokens


@pytest.mark.parametrize(
    ("prompt", "most"),
    [
        (Prompt(model="m"), 9_000 + 2_000),
        (Prompt(model="m", images=2, image_bytes=8_500), 500 + 2 * 20_000 + 2_000),
        (Prompt(model="m", audio=1), 9_000 + 2_000),
        (Prompt(model="m", is_unsized=True), None),
    ],
)
def test_the_bound_on_a_prompts_tokens_is_its_bytes_without_images(
    prompt: Prompt, most: int | None
) -> None:
    assert bound_prompt_tokens(prompt, 9_000) == most
