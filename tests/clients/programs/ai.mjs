// The AI SDK with its providers for OpenAI (Responses by default, Chat Completions), Anthropic and Google.
import { generateText, isStepCount, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { url, model as name, way, key, SYSTEM, SCHEMA, weather, tell } from "./asked.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const at = { baseURL: `${url}/v1`, apiKey: key };
const models = {
  responses: () => createOpenAI(at)(name),
  stored: () => createOpenAI(at)(name),
  chat: () => createOpenAI(at).chat(name),
  messages: () => createAnthropic(at)(name),
  gemini: () => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })(`models/${name}`),
};
const model = models[way]();
// By default the lab stores each item, so that the next turn only needs to name it.
const providerOptions = way === "responses" ? { openai: { store: false } } : {};
const tools = {
  weather: tool({ description: "Tells it.", inputSchema: jsonSchema(SCHEMA), execute: async (given) => weather(given) }),
};

const ask = async (prompt, stream, more = {}) => {
  const failed = [];
  const asked = { model, system: SYSTEM, prompt, maxRetries: 0, providerOptions, ...more };
  const said = stream ? streamText({ ...asked, onError: ({ error }) => failed.push(error) }) : await generateText(asked);
  if (stream) await said.consumeStream({ onError: (error) => failed.push(error) });
  if (failed.length) throw failed[0];
  return said;
};
const text = async (prompt, stream) => {
  const said = await ask(prompt, stream);
  const usage = await said.usage;
  return { text: await said.text, usage: [usage.inputTokens, usage.outputTokens] };
};
const loop = async (prompt, stream) => {
  const said = await ask(prompt, stream, { tools, stopWhen: (isStepCount ?? stepCountIs)(5) });
  const steps = await said.steps;
  const calls = steps.flatMap((step) => step.toolCalls.map((call) => [call.toolName, call.input]));
  return { text: await said.text, calls };
};

await tell({
  whole: () => text("[hello]", false),
  stream: () => text("[hello]", true),
  loop: () => loop("[loop]", false),
  streamed_loop: () => loop("[loop]", true),
  error: () => text("[fail]", false),
  streamed_error: () => text("[fail]", true),
});
