"use strict";

const byId = (id) => document.getElementById(id);

/** An element; whatever stands in it is text or other elements, never markup. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
}

/** A description's parts: what stands in backticks is code, the only Markdown in them. */
function prose(text) {
  return (text || "").split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

function headers(more) {
  const token = byId("token").value.trim();
  return { ...(token ? { authorization: `Bearer ${token}` } : {}), ...more };
}

function resolve(api, part) {
  if (!part || !part.$ref) return part;
  return part.$ref.slice(2).split("/").reduce((found, name) => found[name], api);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The form to try an operation on. */
function trial(method, path, operation) {
  const fields = (operation.parameters || [])
    .filter((parameter) => parameter.in !== "header")
    .map((parameter) => {
      const input = element("input", { placeholder: String((parameter.schema.examples || [""])[0]) });
      return { parameter, input };
    });
  const [mediaType, content] = Object.entries((operation.requestBody || {}).content || {})[0] || [];
  const body = content && mediaType === "application/json"
    ? element("textarea", { value: JSON.stringify(content.example, null, 2), ariaLabel: "Body" })
    : null;
  const answer = element("pre", { hidden: true });
  const form = element(
    "form",
    {},
    ...fields.map(({ parameter, input }) =>
      element("label", {}, element("code", {}, parameter.name), input,
        " ", ...prose(parameter.description))),
    ...(body ? [body] : []),
    element("button", {}, "Send"),
    answer,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let address = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of fields) {
      const value = input.value.trim();
      if (parameter.in === "path") {
        address = address.replace(`{${parameter.name}}`, encodeURIComponent(value));
      } else if (value) {
        query.set(parameter.name, value);
      }
    }
    const asked = query.size ? `${address}?${query}` : address;
    const response = await fetch(asked, {
      method: method.toUpperCase(),
      headers: headers(body ? { "content-type": "application/json" } : {}),
      body: body ? body.value : undefined,
    });
    answer.hidden = false;
    answer.textContent = `${response.status} ${response.statusText}\n\n${pretty(await response.text())}`;
  });
  return form;
}

function answers(api, operation) {
  const rows = Object.entries(operation.responses).map(([status, given]) =>
    element("tr", {}, element("td", {}, status),
      element("td", {}, ...prose(resolve(api, given).description))));
  const table = element("table", {}, ...rows);
  const success = Object.values(operation.responses)
    .flatMap((given) => Object.values(resolve(api, given).content || {}))
    .find((content) => content.example !== undefined);
  return success
    ? [table, element("pre", {}, JSON.stringify(success.example, null, 2))]
    : [table];
}

function shown(api, method, path, operation) {
  const details = element("details", { id: operation.operationId },
    element("summary", {},
      element("code", { className: "method" }, method.toUpperCase()),
      element("code", {}, path),
      element("span", { className: "what" }, " ", ...prose(operation.summary))));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    details.append(element("div", {},
      element("p", {}, ...prose(operation.description)),
      trial(method, path, operation),
      element("h4", {}, "Answers"),
      ...answers(api, operation)));
  });
  return details;
}

async function show() {
  const response = await fetch("/api/schema", { headers: headers({}) });
  const found = await response.json();
  byId("problem").textContent = response.ok ? "" : found.error.message;
  if (!response.ok) return;
  const all = Object.entries(found.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  byId("operations").replaceChildren(...found.tags.flatMap(({ name }) => [
    element("h2", {}, name),
    ...all.filter(({ operation }) => operation.tags.includes(name))
      .map(({ path, method, operation }) => shown(found, method, path, operation)),
  ]));
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
