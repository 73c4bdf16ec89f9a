// The stream of an answer by Chat Completions.

/** The events of a stream. */
export async function* readEvents(stream) {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const frames = rest.split(/\r?\n\r?\n/);
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
    if (done) return;
  }
}

/** The text of a piece of an answer; some providers send lists of parts. */
export function readText(piece) {
  if (Array.isArray(piece)) return piece.map(readText).join("");
  return typeof piece === "string" ? piece : readText(piece?.text ?? piece?.thinking ?? "");
}
