// The API's documentation, drawn from /openapi.json without anything from another host.

import { h } from "./dom.js";

const VERBS = ["get", "post", "put", "delete", "patch"];

async function main() {
  const spec = await (await fetch("openapi.json")).json();
  document.title = `${spec.info.title} · API`;
  document.getElementById("title").textContent = `${spec.info.title}`;
  const endpoints = Object.entries(spec.paths).flatMap(([path, item]) =>
    VERBS.filter((verb) => item[verb]).map((verb) => ({ path, verb, ...item[verb] })));
  const tags = [...new Set(endpoints.map((e) => e.tags?.[0] ?? "Other"))];
  document.getElementById("docs").replaceChildren(
    h("nav", { class: "toc", "aria-label": "Endpoints" }, tags.map((tag) => [
      h("h2", {}, tag),
      ...endpoints.filter((e) => (e.tags?.[0] ?? "Other") === tag).map((e) => h("a", { href: `#${idOf(e)}` }, e.summary ?? e.path)),
    ]).flat()),
    h("div", { class: "endpoints" },
      h("p", { class: "intro" }, ...prose(spec.info.description ?? "")),
      tags.flatMap((tag) => endpoints.filter((e) => (e.tags?.[0] ?? "Other") === tag).map((e) => endpoint(e, spec)))),
  );
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

const idOf = (e) => `${e.verb}-${e.path}`.replace(/[^a-z]+/gi, "-").replace(/-$/, "");

function endpoint(e, spec) {
  return h(
    "section", { class: "card endpoint", id: idOf(e) },
    h("div", { class: "row" }, h("span", { class: `verb ${e.verb}` }, e.verb.toUpperCase()), h("h2", {}, e.path), h("span", { class: "summary" }, e.summary ?? "")),
    ...(e.description ?? "").split(/\n\s*\n/).map((text) => h("p", {}, ...prose(text))),
    e.parameters?.length ? parameters(e.parameters) : null,
    e.requestBody ? body("Body", e.requestBody, spec) : null,
    answers(e.responses, spec),
    h("h3", {}, "Try it"),
    h("pre", {}, h("code", {}, curl(e))),
  );
}

function parameters(list) {
  return h("div", {}, h("h3", {}, "Parameters"), table(["Name", "Type", ""], list.map((p) => [
    p.in === "path" ? `{${p.name}}` : p.in === "header" ? `${p.name}:` : `?${p.name}=`,
    typeOf(p.schema) + (p.schema.default !== undefined && p.schema.default !== null ? `, ${p.schema.default}` : ""),
    prose(p.description ?? p.schema.description ?? ""),
  ])));
}

function body(title, { description, content }, spec) {
  return h("div", {}, h("h3", {}, title), description ? h("p", {}, ...prose(description)) : null, examples(content, spec));
}

function answers(responses, spec) {
  const rows = Object.entries(responses);
  return h("div", {}, h("h3", {}, "Answers"), rows.map(([code, answer]) => h(
    "details", code === "200" ? { open: true } : {},
    h("summary", {}, ...prose(`${code === "default" ? "Any other" : code}: ${answer.description}`)),
    answer.content ? examples(answer.content, spec) : null,
  )));
}

function examples(content, spec) {
  const found = Object.entries(content).map(([type, media]) => [type, sampleOf(media, spec)]);
  const bare = found.filter(([, text]) => text === null).map(([type]) => type);
  return h(
    "div", {},
    found.filter(([, text]) => text !== null).map(([type, text]) =>
      h("figure", {}, h("figcaption", {}, type), h("pre", {}, h("code", {}, text)))),
    bare.length ? h("p", { class: "note" }, `${bare.length < found.length ? "Also as " : "As "}${bare.join(", ")}`) : null,
  );
}

function sampleOf(media, spec) {
  const schema = resolved(media.schema, spec);
  const sample = media.example ?? schema?.example ?? (schema?.properties ? shape(schema, spec, 0) : null);
  return sample === null || typeof sample === "string" ? sample : pretty(sample);
}

// JSON in which what is short stands on one line.
function pretty(value, indent = "") {
  const flat = JSON.stringify(value, null, 1).replace(/\n\s*/g, " ");
  if (flat.length + indent.length < 76 || value === null || typeof value !== "object") return flat;
  const deeper = `${indent}  `;
  const items = Array.isArray(value)
    ? value.map((v) => pretty(v, deeper))
    : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${pretty(v, deeper)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return `${open}\n${items.map((item) => deeper + item).join(",\n")}\n${indent}${close}`;
}

// What an answer looks like: the names with the types in place of values.
function shape(given, spec, deep) {
  const schema = resolved(given, spec);
  if (!schema || deep > 5) return "…";
  const choice = schema.anyOf?.find((s) => s.type !== "null");
  if (choice) return shape(choice, spec, deep);
  if (schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties).map(([name, s]) => [name, shape(s, spec, deep + 1)]));
  }
  if (schema.prefixItems) return schema.prefixItems.map((s) => shape(s, spec, deep + 1));
  if (schema.type === "array") return [shape(schema.items, spec, deep + 1)];
  return schema.type ?? "any";
}

function resolved(schema, spec) {
  if (!schema?.$ref) return schema;
  return schema.$ref.split("/").slice(1).reduce((node, key) => node[key], spec);
}

function typeOf(schema) {
  const choice = schema.anyOf?.map((s) => s.type).filter((t) => t !== "null");
  return (choice ?? [schema.type]).join(" or ");
}

function table(head, rows) {
  return h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((c) => h("td", {}, ...[c].flat())))))));
}

// Text with `code` in it.
function prose(text) {
  return text.split("`").map((piece, i) => (i % 2 ? h("code", {}, piece) : piece));
}

function curl(e) {
  const url = `${location.origin}${e.path.replace("{name}", "NAME")}`;
  if (e.verb === "get") return e.path.endsWith("/changes") ? `curl -N ${url}` : `curl ${url}`;
  const [type, media] = Object.entries(e.requestBody?.content ?? {})[0] ?? [];
  if (!type) return `curl -X ${e.verb.toUpperCase()} ${url}`;
  const sample = media.example ?? {};
  return `curl ${url} \\\n  -H 'Content-Type: ${type}' \\\n  -d '${JSON.stringify(sample)}'`;
}

main();
