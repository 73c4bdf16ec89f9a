// Google's SDK: generateContent, whole and streamed.
import { GoogleGenAI } from "@google/genai";
import { url, model, key, SYSTEM, SCHEMA, weather, tell } from "./asked.mjs";

const sdk = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });

const ask = async (contents, stream, more = {}) => {
  const asked = { model, contents, config: { systemInstruction: SYSTEM, ...more } };
  if (!stream) return [await sdk.models.generateContent(asked)];
  const chunks = [];
  for await (const chunk of await sdk.models.generateContentStream(asked)) chunks.push(chunk);
  return chunks;
};
const parts = (chunks) => chunks.flatMap((it) => it.candidates?.[0]?.content?.parts ?? []);
const words = (chunks) => parts(chunks).filter((it) => it.text && !it.thought).map((it) => it.text).join("");
const user = (text) => ({ role: "user", parts: [{ text }] });

const text = async (prompt, stream) => {
  const chunks = await ask([user(prompt)], stream);
  const usage = chunks.at(-1).usageMetadata;
  return { text: words(chunks), usage: [usage.promptTokenCount, usage.candidatesTokenCount] };
};
const loop = async (prompt, stream) => {
  const tools = [{ functionDeclarations: [{ name: "weather", description: "Tells it.", parametersJsonSchema: SCHEMA }] }];
  const contents = [user(prompt)];
  const calls = [];
  for (;;) {
    const said = parts(await ask(contents, stream, { tools }));
    contents.push({ role: "model", parts: said });
    const asked = said.filter((it) => it.functionCall).map((it) => it.functionCall);
    if (!asked.length) return { text: said.filter((it) => it.text && !it.thought).map((it) => it.text).join(""), calls };
    calls.push(...asked.map((it) => [it.name, it.args]));
    const results = asked.map(({ id, name, args }) => ({ functionResponse: { id, name, response: { output: weather(args) } } }));
    contents.push({ role: "user", parts: results });
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
