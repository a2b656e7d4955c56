// The dashboard: one state, fed by a snapshot and then by events; drawn anew whenever it changed.
import { html, render, useEffect, useLayoutEffect, useRef, useState } from "/page/preact.js";
import { act, ask, connect, forgetKey, keyInUse, useKey } from "/page/wire.js";
import { Play, Connect } from "/page/talk.js";
import { amount, ago, brief, bytes, count, left, moment, money, seconds, hue } from "/page/words.js";

const KEEP_S = 600;
// Until somebody was asked less than that is Lantern's own work.
const LOST_S = 0.5;

const state = {
  line: "connecting", locked: false, status: null, hosts: new Map(), models: [], requests: [], recent: [],
  speed: [], firsts: [], toasts: [], open: null,
};
let written = new Map();
let drawn = 0;

function changed() {
  if (!drawn) drawn = requestAnimationFrame(() => { drawn = 0; render(html`<${App} />`, root); });
}

export function toast(text, bad = false) {
  const one = { text, bad, id: Math.random() };
  state.toasts = [...state.toasts.slice(-3), one];
  setTimeout(() => dismiss(one), bad ? 9000 : 4500);
  changed();
}

function dismiss(one) {
  state.toasts = state.toasts.filter((t) => t !== one);
  changed();
}

/** Does something on the server and says what came of it. */
async function doing(path, body) {
  try {
    const told = await act(path, body);
    toast(told.message || "Done.");
  } catch (error) {
    toast(error.message, true);
  }
}

// --- events into state -----------------------------------------------------------------------

function measure(requests) {
  const now = Date.now() / 1000, before = written;
  let grown = 0;
  written = new Map();
  for (const r of requests) {
    written.set(r.id, r.outputTokens || 0);
    grown += Math.max(0, (r.outputTokens || 0) - (before.get(r.id) || 0));
  }
  const span = Math.max(0.5, now - (state.speed.at(-1)?.[0] ?? now - 1));
  // Smoothed over a few seconds: answers come in bursts, and a comb of peaks says nothing.
  const speed = 0.6 * Math.min(1e5, grown / Math.min(span, 5)) + 0.4 * (state.speed.at(-1)?.[1] ?? 0);
  state.speed = [...state.speed.filter((p) => p[0] > now - KEEP_S), [now, speed < 0.05 ? 0 : speed]];
}

/** What ended before this page was opened: when by this machine's clock, which may be another hour than the gateway's. */
function past(snapshot) {
  const behind = Date.now() / 1000 - Date.parse(snapshot.at) / 1000;
  return snapshot.recent.map((r) => ({ ...r, began: Date.parse(r.began) / 1000 + behind }));
}

/** By when they began, as they are told: of two that ran side by side the older may end last. */
function newest(ended) {
  return [...ended].sort((a, b) => Date.parse(b.began) - Date.parse(a.began));
}

function waits(ended) {
  return ended.filter((r) => r.firstTokenSeconds !== null).map((r) => [r.began + r.firstTokenSeconds, r.firstTokenSeconds])
    .filter((p) => p[0] > Date.now() / 1000 - KEEP_S).sort((a, b) => a[0] - b[0]);
}

/** Tokens a second by what ended: each answer's spread over the time in which it was written. */
function speeds(ended) {
  const now = Date.now() / 1000;
  const wrote = ended.filter((r) => r.outputTokens).map((r) => {
    const start = r.began + (r.firstTokenSeconds ?? 0), end = Math.max(start + 1, r.began + r.seconds);
    return { start, end, speed: r.outputTokens / (end - start) };
  }).filter((w) => w.end > now - KEEP_S);
  if (!wrote.length) return [];
  const first = Math.max(now - KEEP_S, Math.min(...wrote.map((w) => w.start))), points = [[first - 1, 0]];
  for (let at = first; at < now; at += 1) {
    points.push([at, wrote.reduce((sum, w) => sum + (w.start <= at && at < w.end ? w.speed : 0), 0)]);
  }
  return points;
}

function hear(event) {
  const upsert = (r) => {
    const at = state.requests.findIndex((x) => x.id === r.id);
    if (at < 0) state.requests = [...state.requests, r];
    else state.requests = state.requests.with ? state.requests.with(at, r) : state.requests.map((x) => (x.id === r.id ? r : x));
  };
  switch (event.type) {
    case "snapshot":
      looks++;
      state.status = event.status;
      state.hosts = new Map(event.hosts.map((h) => [h.name, h]));
      state.models = event.models; state.requests = event.requests; state.recent = newest(event.recent);
      written = new Map(event.requests.map((r) => [r.id, r.outputTokens || 0]));
      state.firsts = waits(past(event));
      if (!state.speed.length) state.speed = speeds(past(event));
      break;
    case "state":
      for (const h of event.hosts) state.hosts.set(h.name, h);
      state.hosts = new Map(state.hosts);
      state.requests = event.requests;
      measure(event.requests);
      break;
    case "request.start": upsert(event); break;
    case "request.first_token":
      upsert(event);
      if (event.firstTokenSeconds !== null) {
        state.firsts = [...state.firsts.filter((p) => p[0] > Date.now() / 1000 - KEEP_S), [Date.now() / 1000, event.firstTokenSeconds]];
      }
      break;
    case "request.end":
      state.requests = state.requests.filter((r) => r.id !== event.id);
      state.recent = newest([event, ...state.recent.filter((r) => r.id !== event.id)]).slice(0, 50);
      break;
    case "model_load.start": case "model_load.progress": {
      const host = state.hosts.get(event.host);
      if (host) state.hosts = new Map(state.hosts.set(host.name, { ...host, load: event }));
      break;
    }
    case "model_load.end": case "model_load.failed": case "model_unload": case "host.up": case "host.down":
      if (event.type === "model_load.failed") toast(`A load of ${event.modelKey} on ${event.host} failed: ${event.reason}`, true);
      refresh();
      break;
    case "budget": case "provider": refresh(); break;
  }
  changed();
}

let asking = null, looks = 0;
function refresh() {
  // Several things change at once when a model comes or goes: one look is enough for them.
  clearTimeout(asking);
  asking = setTimeout(async () => {
    const look = ++looks;
    try {
      // The hosts are told by events alone: an answer that came behind one showed what was over.
      const [status, models] = await Promise.all([ask("/admin/status"), ask("/admin/models")]);
      if (look !== looks) return;
      state.status = status; state.models = models.models;
      changed();
    } catch { /* the line's own state tells of it */ }
  }, 150);
}

function begin() {
  connect({
    hear,
    line: (line, status) => { state.line = line; state.locked = line === "locked"; state.refused = status; changed(); },
  });
}

// --- pieces ----------------------------------------------------------------------------------

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

function Plot({ label, points, unit, dots }) {
  const box = useRef(null), plot = useRef(null);
  useLayoutEffect(() => {
    const css = getComputedStyle(document.documentElement);
    const soft = css.getPropertyValue("--soft").trim(), line = css.getPropertyValue("--line").trim();
    const accent = css.getPropertyValue(dots ? "--seg1" : "--glow").trim();
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui", size: 24 };
    const made = new uPlot({
      width: box.current.clientWidth - 16, height: 108, cursor: { show: false }, legend: { show: false },
      scales: { x: { time: true, range: () => [Date.now() / 1000 - KEEP_S, Date.now() / 1000] }, y: { range: (_, __, max) => [0, Math.max(1, max * 1.15 || 1)] } },
      axes: [{ ...axis, space: 70, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 38, space: 26 }],
      series: [{}, dots
        ? { stroke: accent, width: 0, paths: () => null, points: { show: true, size: 6, fill: accent, stroke: accent } }
        : { stroke: accent, width: 1.6, fill: `${accent}22`, points: { show: false } }],
    }, [[], []], box.current);
    plot.current = made;
    const seen = new ResizeObserver(() => made.setSize({ width: Math.max(80, box.current.clientWidth - 16), height: 108 }));
    seen.observe(box.current);
    return () => { seen.disconnect(); made.destroy(); };
  }, []);
  const last = points.at(-1)?.[1], most = Math.max(0, ...points.map((p) => p[1]));
  const words = last === undefined ? "nothing yet" : `${amount(last)}${unit} ${dots ? "last" : "now"}, ${amount(most)} at most · ten minutes`;
  useEffect(() => { plot.current?.setData([points.map((p) => p[0]), points.map((p) => p[1])]); }, [points]);
  return html`<section class="panel" aria-label=${label}>
    <header><h2>${label}</h2><span class="aside">${words}</span></header>
    <div class="plot" ref=${box} role="img" aria-label=${`${label}: ${words}`}></div>
  </section>`;
}

function Memory({ host }) {
  const { totalBytes, usedBytes } = host.memory;
  const whole = totalBytes || Math.max(usedBytes, 1);
  const words = totalBytes ? `${bytes(usedBytes)} of ${bytes(totalBytes)} in use` : `${bytes(usedBytes)} in use, no limit set`;
  return html`<div>
    <div class="row small soft"><span>Memory</span><span class="num grow">${words}</span></div>
    <div class="bar" role="meter" aria-label=${`Memory of ${host.name}`} aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${Math.round(Math.min(100, (100 * usedBytes) / whole))} aria-valuetext=${words}>
      ${host.instances.map((i) => html`<i key=${i.instanceId} title=${`${i.modelKey}: ${bytes(i.sizeBytes)}`}
        style=${{ width: `${(100 * (i.sizeBytes || 0)) / whole}%`, background: hue(i.modelKey) }}></i>`)}
    </div></div>`;
}

function Slots({ copy }) {
  const slots = Math.min(copy.slots, 12);
  return html`<span class="slots" title=${`${copy.leases} of ${copy.slots} slots taken`}>
    <span class="sr">${copy.leases} of ${copy.slots} slots taken</span>
    ${Array.from({ length: slots }, (_, n) => html`<i key=${n} class=${n < copy.leases ? "on" : ""} aria-hidden="true"></i>`)}
  </span>`;
}

function Copy({ host, copy }) {
  const [sure, setSure] = useState(false);
  useEffect(() => { const t = sure && setTimeout(() => setSure(false), 4000); return () => clearTimeout(t); }, [sure]);
  const unload = () => {
    if (!sure) return setSure(true);
    setSure(false);
    doing("/admin/models/unload", { modelKey: copy.modelKey, instanceId: copy.instanceId, host: host.name, foreign: copy.owner !== "lantern" });
  };
  return html`<li class="copy">
    <span class="swatch" style=${{ background: hue(copy.modelKey) }} aria-hidden="true"></span>
    <span class="key mono" title=${copy.instanceId}>${copy.instanceId}</span>
    <button class=${`bare small ${sure ? "risk" : ""}`} onClick=${unload} disabled=${copy.leases > 0}
      aria-label=${`Unload ${copy.instanceId} from ${host.name}`}>${sure ? "Really?" : "Unload"}</button>
    <span class="facts"><${Slots} copy=${copy} />${" "}
      ${copy.contextLength ? html`<span>${count(copy.contextLength)} context</span>` : null}${" "}
      ${copy.sizeBytes ? html`<span>${bytes(copy.sizeBytes)}</span>` : null}${" "}
      ${copy.owner === "lantern" ? null : html`<span class="tag info">loaded by others</span>`}${" "}
      ${copy.pinned ? html`<span class="tag">pinned</span>` : null}
    </span></li>`;
}

function LoadBar({ load, on }) {
  const percent = Math.round(100 * load.progress);
  return html`<div class="loading"><div class="row small"><span class="grow">Loading <span class="mono">${load.modelKey}</span></span>
    <span class="num">${percent} %${load.secondsLeft === null || load.secondsLeft === undefined ? "" : ` · ${left(load.secondsLeft)}`}</span></div>
    <div class="bar" role="progressbar" aria-label=${`Loading ${load.modelKey} on ${on}`} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent}>
      <i class="load" style=${{ width: `${percent}%` }}></i></div></div>`;
}

const STATES = { up: "up", down: "away", draining: "draining", unknown: "not seen yet" };

function Host({ host }) {
  const drains = host.state === "draining", silent = host.silentSeconds !== null && host.silentSeconds !== undefined;
  const verb = drains ? "resume" : "drain";
  return html`<article class=${`panel host ${host.state === "down" ? "away" : ""}`} aria-label=${`Host ${host.name}`}>
    <div class="row"><h3 class="grow"><span class=${`dot ${state.line === "lost" ? "" : silent ? "lost" : host.state}`} aria-hidden="true"></span>${host.name}</h3>
      <span class=${`tag ${state.line === "lost" ? "" : silent ? "warn" : { up: "good", down: "bad", draining: "warn" }[host.state] || ""}`}>${STATES[host.state]}${silent ? `, silent for ${seconds(Math.round(host.silentSeconds))}` : ""}</span>
      <button class="small" onClick=${() => doing(`/admin/hosts/${encodeURIComponent(host.name)}/${verb}`, {})}
        aria-label=${`${drains ? "Resume" : "Drain"} ${host.name}`}>${drains ? "Resume" : "Drain"}</button></div>
    <p class="meta">${[host.address === host.name ? "" : host.address, host.interface && `by ${host.interface}`, host.version && `LM Studio ${host.version}`, (host.interface || host.models > 0) && `${count(host.models)} on disk`].filter(Boolean).join(" · ")}</p>
    ${host.reason && (silent || host.state !== "up") ? html`<p class="small">${host.reason}</p>` : null}
    ${host.state === "down" ? null : html`<${Memory} host=${host} />`}
    ${host.load ? html`<${LoadBar} load=${host.load} on=${host.name} />` : null}
    ${host.instances.length ? html`<ul class="copies">${host.instances.map((c) => html`<${Copy} key=${c.instanceId} host=${host} copy=${c} />`)}</ul>`
      : host.state === "up" && !host.load ? html`<p class="small soft">Nothing in memory.</p>` : null}
    ${host.queue ? html`<p class="small"><span class="tag warn">${host.queue} waiting</span></p>` : null}
  </article>`;
}

const WORDS = { queued: "waiting", loading: "loading", reading: "reading", answering: "answering", streaming: "answering" };

function Doing({ r }) {
  const wait = r.wait || {};
  if (r.state === "loading" && wait.progress !== undefined) return html`loading ${Math.round(100 * wait.progress)} %${wait.secondsLeft ? `, ${left(wait.secondsLeft)}` : ""}`;
  if (r.state === "queued" && wait.place) return html`place ${wait.place}${wait.secondsLeft ? `, ~${seconds(wait.secondsLeft)}` : ""}`;
  return WORDS[r.state] || r.state;
}

const where = (r) => (r.host ? `${r.provider ? "☁ " : ""}${r.host}` : "–");

function Running({ requests }) {
  return html`<section class="panel" id="under-way" tabindex="-1" aria-label="Requests under way">
    <header><h2>Under way</h2><span class="aside">${requests.length || "none"}</span></header>
    ${requests.length ? html`<div class="scroll"><table><thead><tr><th class="slim">Request</th><th>Model</th><th class="slim">Where</th><th>State</th>
      <th class="num slim">Tokens</th><th class="num slim">Speed</th><th class="num slim">Time</th><th><span class="sr">Act</span></th></tr></thead><tbody>
      ${requests.map((r) => html`<tr key=${r.id}><td class="slim tight"><span class="mono">${r.id.slice(0, 8)}</span> <span class="soft">${r.key} · ${r.endpoint}</span></td>
        <td class="wide cut"><span class="key" title=${r.model}>${r.model}</span><span class="narrow soft">${r.key} · ${where(r)} · ${seconds(r.seconds)}</span></td><td class="slim">${where(r)}</td><td class="tight"><span class=${`tag ${r.state === "streaming" || r.state === "answering" ? "good" : "warn"}`}><${Doing} r=${r} /></span></td>
        <td class="num slim">${r.outputTokens || ""}</td><td class="num slim">${r.tokensPerSecond ? `${amount(r.tokensPerSecond)} tok/s` : ""}</td><td class="num slim">${seconds(r.seconds)}</td>
        <td class="num"><button class="small risk" onClick=${() => { document.getElementById("under-way").focus(); doing(`/admin/requests/${r.id}/cancel`, {}); }} aria-label=${`Cancel request ${r.id}`}>Cancel</button></td></tr>`)}
      </tbody></table></div>` : html`<p class="empty">Nobody is asking just now.</p>`}
  </section>`;
}

const ENDS = { done: "good", whole: "good", failed: "bad", cut: "bad", left: "", cancelled: "warn", refused: "warn" };

function Why({ r }) {
  const route = r.route || { rejected: [] };
  const waited = (r.untilAskedSeconds || 0) + (r.queueSeconds || 0) + (r.loadSeconds || 0);
  const rest = r.firstTokenSeconds === null ? null : Math.max(0, r.firstTokenSeconds - waited);
  const parts = [["until asked", r.untilAskedSeconds >= LOST_S && r.untilAskedSeconds], ["queue", r.queueSeconds], ["load", r.loadSeconds], [`first token${waited ? " after it" : ""}`, rest]].filter((p) => p[1]);
  return html`<div class="why"><p>${route.host ? html`${route.provider ? "☁ " : ""}<b>${route.host}</b>: ${route.reason}` : route.reason || "Nobody was found."}
    ${route.predicted !== null && route.predicted !== undefined ? html` <span class="soft">(predicted ${seconds(route.predicted)})</span>` : null}</p>
    ${parts.length ? html`<p class="soft">${parts.map((p) => `${p[0]} ${seconds(p[1])}`).join(" · ")}</p>` : null}
    ${route.rejected?.length ? html`<ul class="soft">${route.rejected.map((x) => html`<li>${x.host}: ${x.reason}</li>`)}</ul>` : null}</div>`;
}

function Recent({ recent }) {
  const open = state.open;
  const flip = (id) => { state.open = open === id ? null : id; changed(); };
  return html`<section class="panel" aria-label="Recent requests"><header><h2>Recent</h2><span class="aside">newest first</span></header>
    ${recent.length ? html`<div class="scroll"><table><thead><tr><th>When</th><th>Model</th><th class="slim">Where</th><th>End</th><th class="num slim">In</th><th class="num slim">Out</th>
      <th class="num slim">Wait</th><th class="num slim">Speed</th><th class="num slim">Cost</th></tr></thead><tbody>
      ${recent.map((r) => html`<tr key=${r.id} class=${open === r.id ? "open" : ""}><td class="tight"><button class="disclose" aria-expanded=${open === r.id} aria-label=${`Why request ${r.id} went where it did`}
        onClick=${() => flip(r.id)}>${open === r.id ? "▾" : "▸"}</button> ${ago(r.began)} <span class="soft slim">${r.key}</span></td>
        <td class="wide cut"><span class="key" title=${r.model}>${r.model}</span></td><td class="slim">${r.route?.provider ? "☁ " : ""}${r.host || r.route?.host || "–"}</td>
        <td class="tight"><span class=${`tag ${r.status === 200 ? "good" : ENDS[r.outcome] ?? "bad"}`}>${r.status === 200 ? "answered" : `${r.outcome} ${r.status}`}</span></td>
        <td class="num slim">${r.inputTokens ?? ""}</td><td class="num slim">${r.outputTokens || ""}</td><td class="num slim">${seconds(r.firstTokenSeconds)}</td>
        <td class="num slim">${r.tokensPerSecond ? `${amount(r.tokensPerSecond)} tok/s` : ""}</td><td class="num slim">${r.costUsd ? money(r.costUsd) : ""}</td></tr>
        ${open === r.id ? html`<tr key=${`${r.id}-why`}><td colspan="9" style=${{ padding: 0 }}><${Why} r=${r} /></td></tr>` : null}`)}
      </tbody></table></div>` : html`<p class="empty">No request has ended yet. <a href="#play">Try one</a>, or <a href="#connect">connect a client</a>.</p>`}
  </section>`;
}

function Overview() {
  const hosts = [...state.hosts.values()];
  return html`<div class="plots"><${Plot} label="Tokens written" unit=" tok/s" points=${state.speed} />
      <${Plot} label="Wait for the first token" unit=" s" points=${state.firsts} dots /></div>
    <section aria-label="Hosts"><h2 class="sr">Hosts</h2>${hosts.length ? html`<div class="hosts">${hosts.map((h) => html`<${Host} key=${h.name} host=${h} />`)}</div>`
      : html`<p class="panel empty">No hosts are configured. Name them in <code>LANTERN_HOSTS</code>.</p>`}</section>
    <${Running} requests=${state.requests} /><${Recent} recent=${state.recent} />`;
}

function Models() {
  const [typed, setTyped] = useState("");
  const loads = new Map([...state.hosts.values()].filter((h) => h.load).map((h) => [h.load.modelKey, h]));
  const stands = (m) => {
    const host = loads.get(m.modelKey);
    if (!host) return html`<span class=${`tag ${m.loaded.length ? "good" : ""}`} title=${m.state}>${brief(m.state, 72)}</span>`;
    return html`<span class="tag warn">loading ${Math.round(100 * host.load.progress)} % on ${host.name}</span>`;
  };
  const shown = state.models.filter((m) => m.modelKey.toLowerCase().includes(typed.toLowerCase()));
  return html`<section class="panel" aria-label="Models"><header><h2>Models</h2><span class="aside">${count(state.models.length)}</span></header>
    <div class="pad"><input type="search" placeholder="Find a model" aria-label="Find a model" value=${typed} onInput=${(e) => setTyped(e.target.value)} /></div>
    <div class="scroll"><table><thead><tr><th>Model</th><th class="slim">Kind</th><th class="num slim">Size</th><th class="slim">On</th><th>Stands</th><th><span class="sr">Acts</span></th></tr></thead><tbody>
    ${shown.map((m) => html`<tr key=${m.modelKey}><td class="cut"><span class="key" title=${m.modelKey}>${m.modelKey}</span> ${m.active ? html`<span class="tag info">active</span>` : null}</td>
      <td class="soft slim">${[m.kind, m.vision && "sees", m.toolUse && "tools", m.quantization].filter(Boolean).join(" · ")}</td><td class="num slim">${m.sizeBytes ? bytes(m.sizeBytes) : ""}</td>
      <td class="slim">${m.hosts.join(", ")}</td><td class="stands">${stands(m)}</td>
      <td class="num"><button class="small" disabled=${loads.has(m.modelKey)} onClick=${() => doing("/admin/models/load", { modelKey: m.modelKey })} aria-label=${`Load ${m.modelKey}`}>Load</button>
      ${" "}${m.kind === "embedding" ? null : html`<button class="small" disabled=${m.active} onClick=${() => doing("/admin/models/activate", { modelKey: m.modelKey }).then(refresh)}
        aria-label=${`Activate ${m.modelKey}`}>Activate</button>`}</td></tr>`)}
    </tbody></table></div>${shown.length ? null : html`<p class="empty">No model of that name.</p>`}</section>`;
}

function Usage() {
  const [by, setBy] = useState("model"), [told, setTold] = useState(null), [wrong, setWrong] = useState("");
  useEffect(() => {
    let here = true;
    setTold(null);
    ask(`/admin/usage?by=${by}`).then((t) => here && (setTold(t), setWrong("")), (e) => here && setWrong(e.message));
    return () => { here = false; };
  }, [by]);
  const lines = told?.lines || [];
  const tokens = (l) => (l.inputTokens || 0) + (l.outputTokens || 0);
  const most = Math.max(1, ...lines.map(tokens));
  const budget = state.status?.budget || [];
  return html`<section class="panel" aria-label="Usage"><header><h2>Usage</h2>
      <span class="aside">${budget.map((b) => (b.capUsd === null ? `${money(b.spentUsd)} spent ${b.period}` : `${money(b.leftUsd)} of ${money(b.capUsd)} left ${b.period}`)).join(" · ")}</span></header>
    <div class="pad"><div class="samples" role="group" aria-label="By">${["model", "host", "key", "day"].map((x) => html`<button key=${x} aria-pressed=${by === x} onClick=${() => setBy(x)}>By ${x}</button>`)}</div>
    ${wrong ? html`<p class="soft">${wrong}</p>` : null}
    ${told?.savedUsd ? html`<p>Since ${told.since}, answering here saved about <b>${money(told.savedUsd)}</b> at ${told.savedBy}'s price.</p>` : null}</div>
    ${lines.length ? html`<div class="scroll"><table><thead><tr><th>${by}</th><th class="slim">Share</th><th class="num">Requests</th><th class="num">Read</th><th class="num">Written</th><th class="num">Cost</th></tr></thead><tbody>
      ${lines.map((l) => html`<tr key=${l.name}><td class="cut"><span class="key" title=${l.name}>${l.name || "–"}</span></td><td class="slim" style=${{ width: "26%" }}><div class="share" style=${{ width: `${(100 * tokens(l)) / most}%` }}></div></td>
        <td class="num">${count(l.requests)}</td><td class="num">${count(l.inputTokens || 0)}</td><td class="num">${count(l.outputTokens || 0)}</td><td class="num">${l.costUsd ? money(l.costUsd) : "–"}</td></tr>`)}
    </tbody></table></div>` : told && !wrong ? html`<p class="empty">Nothing was used yet.</p>` : null}</section>`;
}

function Keys() {
  const [told, setTold] = useState(null), [wrong, setWrong] = useState("");
  useEffect(() => {
    const look = () => ask("/admin/keys").then((t) => { setTold(t); setWrong(""); }, (e) => setWrong(e.message));
    look();
    const again = setInterval(look, 10000);
    return () => clearInterval(again);
  }, []);
  const keys = told?.keys || [];
  return html`<section class="panel" aria-label="Keys"><header><h2>Keys</h2><span class="aside">made and revoked on the machine itself</span></header>
    ${wrong ? html`<p class="empty">${wrong}</p>` : null}
    ${keys.length ? html`<div class="scroll"><table><thead><tr><th>Name</th><th class="slim">Key</th><th>Ends</th><th>May</th><th>Models</th><th class="num">Today</th><th>Rate</th><th>Last used</th></tr></thead><tbody>
      ${keys.map((k) => html`<tr key=${k.name}><td class="name">${k.name}</td><td class="mono slim">${k.prefix}</td><td class="tight">${k.over ? html`<span class="tag bad">over</span> since ` : ""}${k.expires ? moment(k.expires) : "never"}</td><td>${k.scopes.join(", ")}</td><td>${k.models.join(", ") || "all"}</td>
      <td class="num">${k.today.costUsd || k.dailyUsd !== null ? money(k.today.costUsd) : ""}${k.dailyUsd === null ? "" : ` of ${money(k.dailyUsd)}`}</td><td>${k.rate || ""}</td>
      <td>${k.lastUsed ? ago(k.lastUsed) : "never"}</td></tr>`)}
    </tbody></table></div>` : told ? html`<p class="empty">No key was made: only this machine may ask.</p>` : null}
    <div class="pad"><pre class="sample">lantern keys add editor --scope inference --rate 60/min
lantern keys add me --scope admin --scope inference
lantern keys revoke editor</pre></div></section>`;
}

const TABS = [["overview", "Overview"], ["models", "Models"], ["usage", "Usage"], ["keys", "Keys"], ["play", "Playground"], ["connect", "Connect"]];

function Gate() {
  const [key, setKey] = useState("");
  const enter = (e) => { e.preventDefault(); useKey(key.trim()); begin(); };
  return html`<form class="panel gate" onSubmit=${enter}><div class="brand"><img src="/page/favicon.svg" alt="" />Lantern</div>
    <p>This page needs a key that may manage Lantern.</p>
    <label class="field"><span>Key</span><input type="password" autocomplete="off" autofocus value=${key} onInput=${(e) => setKey(e.target.value)} placeholder="lantern_…" /></label>
    <button class="main" disabled=${!key.trim()}>Open</button>
    ${keyInUse() ? html`<p class="small" role="alert">${state.refused === 403 ? html`That key has no scope <code>admin</code>, or this address may not come in.` : "That key was refused: it is wrong, revoked or over."}</p>` : null}
    <p class="small soft">Make one on the machine itself: <code>lantern keys add me --scope admin --scope inference</code>. It is kept until this tab is closed.</p></form>`;
}

function App() {
  if (state.locked) return html`<${Gate} />`;
  const here = TABS.some(([id]) => `#${id}` === location.hash) ? location.hash.slice(1) : "overview";
  const up = [...state.hosts.values()].filter((h) => (h.state === "up" || h.state === "draining") && h.silentSeconds === null).length;
  const now = state.speed.length ? state.speed[state.speed.length - 1][1] : 0;
  const requests = state.status?.requests || {};
  return html`<header class="top"><div class="brand"><img src="/page/favicon.svg" alt="" />Lantern</div>
    <nav class="tabs" aria-label="Pages">${TABS.map(([id, name]) => html`<a key=${id} href=${`#${id}`} aria-current=${here === id ? "page" : null}>${name}</a>`)}</nav>
    <div class="live" aria-live="polite"><span><b>${up}</b>/${state.hosts.size} hosts</span>${" "}<span><b>${state.requests.length}</b> under way</span>${" "}
      ${requests.turns ? html`<span><b>${requests.turns}</b> in chat</span>` : null}${" "}<span><b>${state.line === "lost" ? "–" : amount(now)}</b> tok/s</span>${" "}
      <span class="row"><span class=${`dot ${state.line === "live" ? "up" : "lost"}`} aria-hidden="true"></span>${state.line === "live" ? "live" : state.line}</span>
      ${keyInUse() ? html`<button class="bare small" onClick=${() => { forgetKey(); location.reload(); }}>Forget key</button>` : null}</div></header>
    <main>${state.line === "lost" ? html`<p class="banner" role="status">Lantern does not answer. What is shown may be old; it is tried again.</p>` : null}
      ${!state.status && state.line !== "lost" ? html`<p class="boot">Looking at the fleet …</p>` : null}
      ${state.status ? { overview: html`<${Overview} />`, models: html`<${Models} />`, usage: html`<${Usage} />`, keys: html`<${Keys} />`,
        play: html`<${Play} models=${state.models} personas=${state.status.personas} hosts=${state.hosts} />`, connect: html`<${Connect} models=${state.models} />` }[here] : null}</main>
    <div class="toasts" role="status" aria-live="polite">${state.toasts.map((t) => html`<div key=${t.id} class=${`toast ${t.bad ? "bad" : ""}`}><span class="words" title=${t.text}>${t.text}</span>
      <button class="bare" aria-label="Dismiss" onClick=${() => dismiss(t)}>✕</button></div>`)}</div>`;
}

const root = document.getElementById("app");
root.replaceChildren();
addEventListener("hashchange", () => { changed(); scrollTo(0, 0); });
// Ages and the plots' right edge move on by themselves.
setInterval(() => {
  if (document.hidden) return;
  if (!state.requests.length && state.line === "live") measure([]);
  changed();
}, 2000);
begin();
changed();
