// The page: reads the interface, shows text as text, and gives an operator's orders with a reason.
const byId = (id) => document.getElementById(id);
// `generation` counts the tokens that were entered: what an earlier one began ends with it.
const state = { generation: 0, stop: new AbortController(), token: "", order: null, tool: null };
function beginAnew() {
  Object.assign(state, { lastEvent: null, history: [], seq: -1, live: null, uptime: 0, expiring: [] });
  beginSeries();
}
function beginSeries() {
  Object.assign(state, { at: 0, slots: { blue: columnsOf(), green: columnsOf() } });
  if (state.tool) Object.assign(state.tool, { at: 0, columns: columnsOf() });
}
beginAnew();

// Every word of the guard becomes text, never markup.
function make(name, options = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "text") element.textContent = value; else if (key === "class") element.className = value; else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
const show = (element, ...children) => element.replaceChildren(...children);
const number = (value, digits = 0) => (value === null || value === undefined ? "-" : value.toFixed(digits));
const millis = (value) => (value === null || value === undefined ? "-" : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`);
const percent = (part) => `${(part * 100).toFixed(1)} %`;
const moment = (time) => new Date(time).toISOString().replace("T", " ").slice(0, 19) + " UTC";

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${state.token}`, ...options.headers };
  const response = await fetch(path, { signal: state.stop.signal, ...options, headers, cache: "no-store", redirect: "error" });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const error = new Error(problem.detail || `HTTP ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return response;
}
const read = async (path) => (await ask(path)).json();

function table(heads, rows, empty) {
  if (!rows.length) return make("p", { class: "quiet", text: empty });
  const cell = (kind, content, index) => {
    const element = make(kind, heads[index].number ? { class: "number" } : {}, content);
    if (kind === "th") element.setAttribute("scope", "col");
    return element;
  };
  const head = make("tr", {}, ...heads.map((one, index) => cell("th", one.text, index)));
  const body = rows.map((row) => make("tr", {}, ...row.map((content, index) => cell("td", content, index))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

const figure = (id, caption) => make("figure", {}, make("canvas", { id, role: "img", "aria-label": caption }), make("figcaption", { text: caption }));
const RATE = "Calls and errors a second, half an hour at most";
function slotCard(name) {
  const card = make("div", { class: `slot is-${name}`, id: `slot-${name}` });
  const facts = make("dl", { id: `facts-${name}` });
  card.append(make("h3", { id: `title-${name}` }), facts, figure(`rate-${name}`, RATE), figure(`time-${name}`, "p50 and p95"), figure(`memory-${name}`, "Memory, part of its limit"));
  return card;
}

function facts(list, pairs) {
  show(list, ...pairs.flatMap(([name, value, kind]) => [make("dt", { text: name }), make("dd", { text: value, class: kind || "" })]));
}

function showSlots(status, rollout, releases) {
  for (const name of ["blue", "green"]) {
    const report = rollout.status.slots.find((slot) => slot.slot === name);
    const proxied = status.slots.find((slot) => slot.slot === name);
    byId(`title-${name}`).textContent = `${name}: ${report.role}${report.configured ? "" : ", not configured"}`;
    const columns = state.slots[name];
    const recent = (column) => columns[column].slice(-10);
    const sum = (column) => recent(column).reduce((all, value) => all + (value || 0), 0);
    const calls = sum("calls");
    const worst = (column) => recent(column).reduce((most, value) => (value === null ? most : Math.max(most ?? 0, value)), null);
    const surface = report.surface;
    facts(byId(`facts-${name}`), [
      ["Health", report.why ? `${report.health}: ${report.why}` : report.health, report.health === "unhealthy" ? "bad" : ""],
      ["Calls a second", number(calls / Math.max(1, recent("calls").length), 1)],
      ["Errors", calls ? percent((sum("failures") + sum("errors")) / calls) : "-", sum("failures") ? "bad" : ""],
      ["p50, p95", `${millis(worst("p50_ms"))}, ${millis(worst("p95_ms"))}`],
      ["In flight", proxied ? `${proxied.in_flight}, ${proxied.waiting} waiting, ${proxied.held} held` : "-"],
      ["Memory", columns.memory.length && columns.memory.at(-1) ? percent(columns.memory.at(-1)) : "-"],
      ["Server", surface ? describe(surface) : "-"],
      ["Release", releases[name] || "-"],
      ["Address", proxied ? proxied.address : "-"],
    ]);
  }
}
function describe(surface) {
  const server = [surface.server, surface.name, surface.version].filter((word) => typeof word === "string").join(" ");
  const tools = typeof surface.tools === "number" ? `${surface.tools} tools` : "";
  return [server, tools, Array.isArray(surface.versions) ? surface.versions.join(", ") : ""].filter(Boolean).join("; ") || "responds";
}

const STAGES = ["stable", "dual_protocol", "shadow", "canary", "progressive", "candidate_only", "bake", "complete"];
function showRollout(rollout) {
  const { run, position } = rollout.status;
  show(byId("stages"), ...STAGES.map((stage) => {
    const item = make("li", { text: stage });
    if (stage === position.stage) item.setAttribute("aria-current", "step");
    return item;
  }));
  const words = run ? `Rollout ${run.id}: ${position.stage}, ${position.weight} % on the candidate. Waits for ${run.waits_for}. Next: ${run.next}.` : `No rollout. ${position.stable} is stable and serves.`;
  byId("verdict").textContent = [words, ...rollout.problems].join(" ");
  byId("verdict").className = rollout.problems.length ? "bad" : "";
  const orders = run
    ? [["rollback", "Roll back", "danger"], run.waits_for.startsWith("an operator") ? ["resume", "Resume", ""] : ["pause", "Pause", ""], ["promote", "Promote", ""]]
    : [["start", "Start a rollout", ""], ["switch", `Switch to ${position.stable === "blue" ? "green" : "blue"}`, "danger"]];
  const key = JSON.stringify(orders);
  if (byId("orders").dataset.key !== key) {
    byId("orders").dataset.key = key;
    show(byId("orders"), ...orders.map(([order, text, kind]) => {
      const button = make("button", { type: "button", text, class: kind, id: `order-${order}` });
      button.addEventListener("click", () => confirmOrder(order, text));
      return button;
    }));
  }
  show(byId("triggers"), table([{ text: "Trigger" }, { text: "Leads to" }, { text: "Measured", number: true }, { text: "Fires at", number: true }, { text: "Distance" }],
    rollout.status.triggers.map((one) => [one.trigger, one.action, one.shown.measured, one.shown.limit, one.shown.distance]), "Triggers are armed during a rollout."));
}

const CANDIDATE = { open: "", catching_up: "This guard sends its candidate no calls before it follows the fleet's state.", ejected: "This guard has ejected its candidate." };
function showFleet(fleet) {
  byId("fleet-part").hidden = !fleet;
  if (!fleet) return;
  const store = fleet.store_away ? `The store is away${fleet.store_problem ? `: ${fleet.store_problem}` : ""}.` : "";
  const wrong = [store, CANDIDATE[fleet.candidate], ...fleet.holds.map((hold) => `Holds: ${hold}.`)].filter(Boolean);
  byId("fleet-title").textContent = `Fleet ${fleet.name}`;
  byId("fleet-verdict").textContent = [`${fleet.leader ?? "No guard"} leads, ${fleet.live} of ${fleet.known} members live, generation ${fleet.generation}.`, ...wrong].join(" ");
  byId("fleet-verdict").className = wrong.length || !fleet.leader ? "bad" : "";
  show(byId("fleet"), table([{ text: "Member" }, { text: "Version" }, { text: "Configuration" }, { text: "Generation", number: true }, { text: "Silent", number: true }, { text: "Slots" }, { text: "Ejected" }],
    fleet.members.map((one) => [one.member === fleet.member ? `${one.member} (this guard)` : one.member, one.version, one.configuration, String(one.generation), `${(one.silent_ms / 1000).toFixed(1)} s`, one.slots.map((slot) => `${slot.slot} ${slot.health}`).join(", "), one.ejected ?? "-"]), "No member is known yet."));
}

function showHistory() {
  const entries = state.history.slice(-50).reverse().map((one) => make("li", {}, make("span", { class: "quiet", text: `${moment(one.at)} ` }), make("strong", { text: one.kind }), ` ${one.from.stage} → ${one.to.stage}: ${causeOf(one.cause)}`));
  show(byId("history"), ...(entries.length ? entries : [make("li", { class: "quiet", text: "None yet." })]));
}
function causeOf(cause) {
  if (cause.by === "operator") return `by ${cause.who}`;
  if (cause.by === "trigger") return `trigger ${cause.fired.trigger}: ${cause.fired.detail}`;
  return cause.by;
}

function showRest(status, rollout) {
  const shadow = rollout.shadow;
  show(byId("shadow"), shadow ? table([{ text: "What" }, { text: "Count", number: true }], Object.entries(shadow).filter(([, value]) => typeof value === "number").map(([name, value]) => [name, String(value)]), "Nothing was compared.") : make("p", { class: "quiet", text: "No shadow stage yet." }));
  const rows = status.dependencies.map((one) => ["dependency", one.name, one.state + (one.reason ? `: ${one.reason}` : "")]);
  rows.push(...status.features.off.map((one) => ["feature", one.feature, `off since ${one.at}, by ${one.who}`]));
  rows.push(...(state.expiring || []).map((one) => ["token", one.client, `${one.fingerprint} ends ${moment(one.not_after * 1000)}`]));
  show(byId("depends"), table([{ text: "Kind" }, { text: "Name" }, { text: "State" }], rows, "No dependency is configured, nothing is off, no token ends within 30 days."));
}

// A table whose rows are still those of before keeps them: focus stays where it is.
function showLoad(element, heads, list, empty, cellOf) {
  const rows = list.slice(0, 30).map((one) => [one.name, number(one.rate, 1), percent(one.error_rate), millis(one.p95_ms)]);
  const names = JSON.stringify(rows.map((row) => row[0]));
  if (rows.length && element.dataset.names === names) {
    element.querySelectorAll("tbody tr").forEach((line, at) => rows[at].slice(1).forEach((text, column) => { line.children[column + 1].textContent = text; }));
    return;
  }
  const focused = element !== document.activeElement && element.contains(document.activeElement) ? document.activeElement.dataset.tool : undefined;
  element.dataset.names = names;
  show(element, table([{ text: heads }, { text: "Calls/s", number: true }, { text: "Errors", number: true }, { text: "p95", number: true }], rows.map(([name, ...rest]) => [cellOf(name), ...rest]), empty));
  if (focused !== undefined) focusTool(element, focused);
}
// The button of a tool; the whole table where the tool is no longer in it.
function focusTool(element, name) {
  ([...element.querySelectorAll("button")].find((one) => one.dataset.tool === name) || element).focus();
}
async function refreshLoad() {
  const { generation } = state;
  try {
    const [tools, clients] = await Promise.all([read("/api/v1/tools"), read("/api/v1/clients")]);
    if (generation !== state.generation) return;
    showLoad(byId("tools"), "Tool", tools.tools, "No tool was called.", toolButton);
    showLoad(byId("clients"), "Client", clients.clients, "No client has called.", (name) => name);
    const soon = Date.now() / 1000 + 30 * 86400;
    state.expiring = clients.tokens.filter((token) => token.not_after && token.not_after < soon);
  } catch (error) {
    if (error.status === 401 && generation === state.generation) leave("The token is no longer accepted.");
  }
}

function toolButton(name) {
  const button = make("button", { type: "button", class: "name", text: name, "data-tool": name, "aria-expanded": String(state.tool?.name === name), "aria-controls": "tool-plot" });
  button.addEventListener("click", () => openTool(state.tool?.name === name ? null : name));
  return button;
}
function openTool(name) {
  const panel = byId("tool-plot");
  const left = panel.contains(document.activeElement) ? state.tool?.name : undefined;
  state.tool = name === null ? null : { name, at: 0, columns: columnsOf() };
  for (const one of byId("tools").querySelectorAll("button")) one.setAttribute("aria-expanded", String(one.dataset.tool === name));
  if (left !== undefined) focusTool(byId("tools"), left);
  panel.hidden = name === null;
  if (name === null) return;
  const close = make("button", { type: "button", id: "tool-close", text: "Close" });
  close.addEventListener("click", () => openTool(null));
  show(panel, make("h3", { id: "tool-title", text: name }), make("dl", { id: "facts-tool" }), figure("rate-tool", RATE), figure("time-tool", "p50 and p95"), make("div", { class: "orders" }, close));
  refreshTool();
}
// Asks for the seconds that the open plot does not have yet. The tables go on without it.
async function refreshTool() {
  const tool = state.tool;
  if (!tool) return;
  const missing = tool.at ? Math.min(SECONDS, Math.max(1, state.at - tool.at + 2)) : SECONDS;
  try {
    const picture = await read(`/api/v1/series?tool=${encodeURIComponent(tool.name)}&last=${missing}`);
    if (tool !== state.tool || !Object.hasOwn(picture.tools, tool.name)) return;
    takeColumns(tool, picture.at, picture.tools[tool.name]);
    plotTool();
  } catch { /* The next time, or the stream says that the guard is away. */ }
}
function takeColumns(tool, end, columns) {
  const had = columns.calls.length;
  for (let place = 0; place < had; place++) {
    const second = Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[place]]));
    tool.at = append(tool.columns, tool.at, end - (had - 1 - place), second);
  }
}
async function refreshHistory() {
  try { state.history = await read("/api/v1/history"); showHistory(); } catch { /* The stream says that the guard is away. */ }
}

// Where transitions happened, in seconds before this one.
const marksBefore = (at) => state.history.map((one) => at - Math.floor(one.at / 1000)).filter((place) => place >= 0 && place < SECONDS);
const badOf = (columns) => columns.failures.map((value, index) => (value || 0) + (columns.errors[index] || 0));
function plotLoad(name, about, columns, color, marks) {
  const bad = badOf(columns);
  draw(byId(`rate-${name}`), [{ values: columns.calls, color }, { values: bad, color: "--bad" }], marks, `${about}: ${columns.calls.at(-1) ?? 0} calls and ${bad.at(-1) ?? 0} errors in the last second`, (value) => `${value}/s`);
  draw(byId(`time-${name}`), [{ values: columns.p50_ms, color: "--quiet" }, { values: columns.p95_ms, color }], marks, `${about}: p50 ${millis(columns.p50_ms.at(-1))}, p95 ${millis(columns.p95_ms.at(-1))}`, millis);
}
function plots() {
  const marks = marksBefore(state.at);
  for (const name of ["blue", "green"]) {
    const columns = state.slots[name];
    plotLoad(name, `Slot ${name}`, columns, `--${name}`, marks);
    draw(byId(`memory-${name}`), [{ values: columns.memory, color: `--${name}` }], marks, `Slot ${name}: memory ${columns.memory.at(-1) ? percent(columns.memory.at(-1)) : "not known"}`, percent);
  }
}
function plotTool() {
  const { name, at, columns } = state.tool;
  const minute = (values) => values.slice(-60);
  const sum = (values) => minute(values).reduce((all, value) => all + (value || 0), 0);
  const calls = sum(columns.calls);
  const worst = minute(columns.p95_ms).reduce((most, value) => (value === null ? most : Math.max(most ?? 0, value)), null);
  facts(byId("facts-tool"), [["Calls in the last minute", number(calls)], ["Errors", calls ? percent(sum(badOf(columns)) / calls) : "-"], ["Largest p95", millis(worst)]]);
  plotLoad("tool", `Tool ${name}`, columns, "--ink", marksBefore(at));
}

function takeSecond(second) {
  for (const name of ["blue", "green"]) append(state.slots[name], state.at, second.at, second.slots[name] || {});
  state.at = Math.max(state.at, second.at);
}
function takeState({ status, rollout, releases, fleet }) {
  // Another process counts from its own start. A stream is of one process, and may begin with a newer state before an older one.
  if (state.isFirst && status.uptime_seconds < state.uptime) beginSeries();
  state.isFirst = false;
  state.uptime = status.uptime_seconds;
  state.live = { status, rollout };
  byId("guard").textContent = `version ${status.version}, up ${Math.floor(status.uptime_seconds / 60)} min, ${status.connections} connections${status.draining ? ", draining" : ""}`;
  showRollout(rollout);
  showSlots(status, rollout, releases);
  showFleet(fleet);
  showRest(status, rollout);
  const seq = rollout.last ? rollout.last.seq : 0;
  if (seq !== state.seq) { state.seq = seq; refreshHistory(); }
  if (byId("confirm").open && !state.order.sent && state.order.body.expected_seq !== seq) {
    byId("confirm").close();
    byId("said").textContent = `Not ordered: ${state.order.text}. Meanwhile there was a transition: look again.`;
  }
}
// A transition comes with the state that it led to, so its own event needs no handler.
const HANDLERS = { second: takeSecond, seconds: (all) => all.forEach(takeSecond), state: takeState };

async function follow() {
  const headers = state.lastEvent ? { "Last-Event-ID": state.lastEvent } : {};
  const reader = (await ask("/api/v1/events", { headers })).body.getReader();
  state.isFirst = true;
  tell("connected", "");
  // One that is silent is closed, too, before the next one begins.
  try { await takeAll(reader); } finally { reader.cancel().catch(() => {}); }
}
async function takeAll(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const quiet = new Promise((_, reject) => { state.quiet = setTimeout(() => reject(new Error("nothing came for 5 s")), 5000); });
    const { done, value } = await Promise.race([reader.read(), quiet]).finally(() => clearTimeout(state.quiet));
    if (done) throw new Error("the guard closed the stream");
    text += decoder.decode(value, { stream: true });
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      take(text.slice(0, end));
      text = text.slice(end + 2);
    }
    plots();
  }
}
function take(block) {
  const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  if (fields.id) state.lastEvent = fields.id;
  if (fields.data && Object.hasOwn(HANDLERS, fields.event)) HANDLERS[fields.event](JSON.parse(fields.data));
}
function tell(text, kind) { byId("connection").textContent = text; byId("connection").className = kind; }
function leave(why) {
  state.stop.abort();
  state.generation += 1;
  state.token = "";
  if (byId("confirm").open) byId("confirm").close();
  openTool(null);
  beginAnew();
  tell("not connected", "");
  byId("board").hidden = true;
  byId("enter").hidden = false;
  byId("enter-problem").textContent = why;
  byId("token").focus();
}

async function run(generation) {
  while (generation === state.generation) {
    try { await follow(); } catch (error) {
      if (generation !== state.generation) return;
      if (error.status === 401) return leave(error.message);
      tell(`away: ${error.message}; trying again`, "bad");
    }
    await new Promise((resume) => setTimeout(resume, 1000));
  }
}
byId("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const generation = state.generation += 1;
  state.stop.abort();
  state.stop = new AbortController();
  state.token = byId("token").value.trim();
  byId("connect").disabled = true;
  try {
    const picture = await read("/api/v1/series?of=slots");
    if (generation !== state.generation) return;
    beginAnew();
    for (const name of ["blue", "green"]) state.slots[name] = { ...columnsOf(), ...picture.slots[name] };
    state.at = picture.at;
  } catch (error) {
    if (generation === state.generation) leave(error.message);
    return;
  } finally { byId("connect").disabled = false; }
  byId("token").value = "";
  byId("enter").hidden = true;
  byId("enter-problem").textContent = "";
  byId("board").hidden = false;
  show(byId("slots"), slotCard("blue"), slotCard("green"));
  byId("main").focus();
  refreshLoad();
  run(generation);
});
setInterval(() => { if (state.token && !byId("board").hidden) { refreshLoad(); refreshTool(); } }, 2000);

function consequence(order) {
  const { run, position } = state.live.rollout.status;
  const candidate = position.stable === "blue" ? "green" : "blue";
  return {
    rollback: () => `All traffic goes back to ${position.stable} at once. ${position.weight} % of it is on ${candidate} now. Calls under way end where they are. Rollout ${run.id} ends.`,
    pause: () => "The rollout stays at this step. Triggers still roll back.",
    resume: () => "The rollout goes on.",
    promote: () => `The next step begins now: ${run.next}.`,
    start: () => `Both slots are compared; then the plan moves traffic from ${position.stable} to ${candidate}.`,
    switch: () => `All new calls go to ${candidate}. ${position.stable} finishes what it has.`,
  }[order]();
}
// What is ordered is fixed here, with what is said about it: the guard refuses it after any other transition.
function confirmOrder(order, text) {
  const { position } = state.live.rollout.status;
  const body = { expected_seq: state.seq };
  if (order === "switch") body.slot = position.stable === "blue" ? "green" : "blue";
  state.order = { text, body, path: order === "switch" ? "/api/v1/slots/switch" : `/api/v1/rollout/${order}`, sent: false };
  byId("confirm-title").textContent = text;
  byId("consequence").textContent = consequence(order);
  byId("go").textContent = text;
  byId("reason").value = "";
  byId("confirm-problem").textContent = "";
  byId("confirm").showModal();
  byId("reason").focus();
}
byId("cancel").addEventListener("click", () => byId("confirm").close());
byId("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const order = state.order, body = { ...order.body, reason: byId("reason").value };
  byId("go").disabled = true;
  order.sent = true;
  try {
    const done = await (await ask(order.path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();
    if (state.order === order) byId("confirm").close();
    byId("said").textContent = `Done: ${done.transition.kind}. ${done.notes.join(" ")}`;
  } catch (error) {
    order.sent = false;
    byId("confirm-problem").textContent = error.message;
  } finally { byId("go").disabled = false; }
});
byId("skip").addEventListener("click", () => byId("slots").scrollIntoView());
byId("skip").addEventListener("keydown", (event) => { if (event.key === "Enter") byId("slots").scrollIntoView(); });
for (const id of ["tools", "tool-plot"]) byId(id).addEventListener("keydown", (event) => { if (event.key === "Escape") openTool(null); });
byId("token").focus();
