// The openai SDK: Chat Completions and Responses.
import OpenAI from "openai";
import { url, model, way, key, SYSTEM, SCHEMA, weather, tell } from "./asked.mjs";

const sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

const chat = (() => {
  const tools = [{ type: "function", function: { name: "weather", description: "Tells it.", parameters: SCHEMA } }];
  const begun = (prompt) => [{ role: "developer", content: SYSTEM }, { role: "user", content: prompt }];
  const count = (usage) => [usage.prompt_tokens, usage.completion_tokens];
  const ask = async (messages, stream, more = {}) => {
    if (!stream) return sdk.chat.completions.create({ model, messages, ...more });
    const options = { include_usage: true };
    return sdk.chat.completions.stream({ model, messages, stream_options: options, ...more }).finalChatCompletion();
  };
  const text = async (prompt, stream) => {
    const said = await ask(begun(prompt), stream);
    return { text: said.choices[0].message.content, usage: count(said.usage) };
  };
  const loop = async (prompt, stream) => {
    const messages = begun(prompt);
    const calls = [];
    for (;;) {
      const said = (await ask(messages, stream, { tools })).choices[0];
      messages.push(said.message);
      if (said.finish_reason !== "tool_calls") return { text: said.message.content, calls };
      for (const { id, function: asked } of said.message.tool_calls) {
        const given = JSON.parse(asked.arguments);
        calls.push([asked.name, given]);
        messages.push({ role: "tool", tool_call_id: id, content: weather(given) });
      }
    }
  };
  return { text, loop };
})();

const responses = (() => {
  const tools = [{ type: "function", name: "weather", description: "Tells it.", parameters: SCHEMA, strict: false }];
  const ask = async (input, stream, more = {}) => {
    const asked = { model, input, instructions: SYSTEM, store: false, include: ["reasoning.encrypted_content"], ...more };
    return stream ? sdk.responses.stream(asked).finalResponse() : sdk.responses.create(asked);
  };
  const text = async (prompt, stream) => {
    const { output_text: text, usage } = await ask(prompt, stream);
    return { text, usage: [usage.input_tokens, usage.output_tokens] };
  };
  const loop = async (prompt, stream) => {
    const input = [{ role: "user", content: prompt }];
    const calls = [];
    for (;;) {
      const said = await ask(input, stream, { tools });
      input.push(...said.output);
      const asked = said.output.filter((item) => item.type === "function_call");
      if (!asked.length) return { text: said.output_text, calls };
      for (const call of asked) {
        const given = JSON.parse(call.arguments);
        calls.push([call.name, given]);
        input.push({ type: "function_call_output", call_id: call.call_id, output: weather(given) });
      }
    }
  };
  return { text, loop };
})();

const { text, loop } = { chat, responses }[way];
await tell({
  whole: () => text("[hello]", false),
  stream: () => text("[hello]", true),
  loop: () => loop("[loop]", false),
  streamed_loop: () => loop("[loop]", true),
  error: () => text("[fail]", false),
  streamed_error: () => text("[fail]", true),
});
