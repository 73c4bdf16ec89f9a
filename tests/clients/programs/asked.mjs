// The tasks of every program, and its output: the arguments are a URL, a model and a way.
export const [url, model, way] = process.argv.slice(2);
export const key = "unused";
export const SYSTEM = "Be brief.";
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city"],
};
export const weather = ({ city, days = 1 }) => `${city}: ${days} days of sun`;

// Run each part and print its result; for an error print its status and its words.
export async function tell(parts) {
  const told = {};
  for (const [name, part] of Object.entries(parts)) {
    try {
      told[name] = await part();
    } catch (error) {
      told[name] = { status: error.status ?? error.statusCode ?? 0, error: String(error.message) };
    }
  }
  console.log(JSON.stringify(told));
}
