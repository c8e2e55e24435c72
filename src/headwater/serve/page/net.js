// Talk to the server that served this page. Every failure is an Error with `detail`: the API's own
// {kind, message, hint, place}, or null where nobody answered.

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw failure("The server does not answer", null);
  }
  const body = parse(await answer.text());
  if (!answer.ok) {
    const detail = body && body.error;
    throw failure(detail ? detail.message : `the server answered ${answer.status}`, detail);
  }
  return body;
}

function failure(message, detail) {
  return Object.assign(new Error(message), { detail });
}

// JSON numbers beyond 2^53 would lose digits: they are kept as text, where the browser can.
function parse(text) {
  const long = /\d{16}/.test(text);
  try {
    return JSON.parse(text, long ? exact : undefined);
  } catch {
    return null;
  }
}

function exact(_, value, context) {
  const lost = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return lost && context ? context.source : value;
}

const part = encodeURIComponent;

export const status = () => ask("status");
export const content = (name, limit) => ask(`views/${part(name)}?limit=${limit}`);
export const changes = (name, from, limit) =>
  ask(`views/${part(name)}/changes?format=json&from=${from}&limit=${limit}`);
export const rows = (name, from, limit, partition) =>
  ask(`topics/${part(name)}/rows?format=json&from=${from}&limit=${limit}&partition=${partition}`);
export const query = (sql) =>
  ask("sql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sql }),
  });
