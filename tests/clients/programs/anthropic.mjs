// The Anthropic SDK: Messages.
import Anthropic from "@anthropic-ai/sdk";
import { url, model, key, SYSTEM, SCHEMA, weather, tell } from "./asked.mjs";

const sdk = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const tools = [{ name: "weather", description: "Tells it.", input_schema: SCHEMA }];

const ask = async (messages, stream, more = {}) => {
  const asked = { model, max_tokens: 5000, system: SYSTEM, messages, ...more };
  return stream ? sdk.messages.stream(asked).finalMessage() : sdk.messages.create(asked);
};
const words = (said) => said.content.filter((it) => it.type === "text").map((it) => it.text).join("");

const text = async (prompt, stream) => {
  const said = await ask([{ role: "user", content: prompt }], stream);
  return { text: words(said), usage: [said.usage.input_tokens, said.usage.output_tokens] };
};
const loop = async (prompt, stream) => {
  const messages = [{ role: "user", content: prompt }];
  const calls = [];
  for (;;) {
    const thinking = { type: "adaptive" };
    const said = await ask(messages, stream, { tools, thinking });
    messages.push({ role: "assistant", content: said.content });
    if (said.stop_reason !== "tool_use") return { text: words(said), calls };
    const asked = said.content.filter((it) => it.type === "tool_use");
    calls.push(...asked.map((it) => [it.name, it.input]));
    const content = asked.map((it) => ({ type: "tool_result", tool_use_id: it.id, content: weather(it.input) }));
    messages.push({ role: "user", content });
  }
};

await tell({
  whole: () => text("[hello]", false),
  stream: () => text("[hello]", true),
  loop: () => loop("[loop]", false),
  streamed_loop: () => loop("[loop]", true),
  error: () => text("[fail]", false),
  streamed_error: () => text("[fail]", true),
});
