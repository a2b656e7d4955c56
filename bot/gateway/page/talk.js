// The playground on the real /v1, and how to connect a client.
import { html, useEffect, useRef, useState } from "/page/preact.js";
import { events, headers, keyInUse, reach } from "/page/wire.js";
import { amount, brief, left, seconds } from "/page/words.js";

function Waiting({ state, hosts }) {
  if (!state) return html`<span class="soft">…</span>`;
  // A sign of life comes every ten seconds; the fleet's own events tell of the load meanwhile.
  const load = state.state === "loading" ? hosts.get(state.host)?.load : null;
  if (load) state = { ...state, progress: load.progress, seconds_left: load.secondsLeft };
  const percent = Math.round(100 * (state.progress || 0));
  if (state.state === "loading") return html`<div class="loading"><span class="small">Loading on ${state.host} · ${percent} %${state.seconds_left ? ` · ${left(state.seconds_left)}` : ""}</span>
    <div class="bar" role="progressbar" aria-label="Loading the model" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent}><i class="load" style=${{ width: `${percent}%` }}></i></div></div>`;
  if (state.state === "queued") return html`<span class="small">Place ${state.place} on ${state.host}</span>`;
  return html`<span class="small">${state.host ? `${state.host} is reading …` : "waiting …"}</span>`;
}

// Outlives its panel: whoever looked at another page meanwhile lost the whole chat, and its host wrote on.
const talk = { model: "", text: "", said: [], busy: null, shown: () => {} };
const put = (news) => { Object.assign(talk, news); talk.shown(); };

export function Play({ models, personas, hosts }) {
  const chats = models.filter((m) => m.kind !== "embedding");
  const { model, text, said, busy } = talk, [, draw] = useState(0), end = useRef(null);
  useEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [said]);
  useEffect(() => { talk.shown = () => draw((n) => n + 1); return () => { talk.shown = () => {}; }; }, []);

  async function send(event) {
    event.preventDefault();
    if (!talk.text.trim() || talk.busy) return;
    const stop = new AbortController(), began = performance.now();
    const asked = [...talk.said, { role: "user", content: talk.text.trim() }], model = talk.model;
    const reply = { role: "assistant", content: "", thought: "", by: "", wait: {}, wrong: "" };
    let first = 0, pieces = 0;
    const show = (news = {}) => put({ said: [...asked, { ...reply }], ...news });
    show({ text: "", busy: stop });
    try {
      const response = await reach("/v1/chat/completions", {
        method: "POST", signal: stop.signal, headers: { ...headers(), "Content-Type": "application/json" },
        body: JSON.stringify({ ...(model ? { model } : {}), stream: true, stream_options: { include_usage: true },
          messages: asked.filter((m) => m.content).map(({ role, content }) => ({ role, content })) }),
      });
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error?.message || `Lantern answered ${response.status}.`);
      for await (const { data } of events(response)) {
        if (data === "[DONE]") break;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message);
        if (chunk.lantern) reply.wait = chunk.lantern;
        const delta = chunk.choices?.[0]?.delta || {};
        reply.content += delta.content || "";
        reply.thought += delta.reasoning_content || delta.reasoning || "";
        if (delta.content || delta.reasoning_content || delta.reasoning) {
          pieces += 1; first ||= performance.now(); reply.wait = null; reply.model = chunk.model;
        }
        if (chunk.usage) pieces = chunk.usage.completion_tokens || pieces;
        show();
      }
    } catch (error) {
      reply.wrong = error.name === "AbortError" ? "Stopped." : error instanceof TypeError ? "The connection to Lantern broke." : error.message;
    }
    const span = (performance.now() - first) / 1000;
    reply.wait = null;
    reply.by = [reply.model, pieces && `${pieces} tokens`, first && span > 0.05 && `${amount(pieces / span)} tok/s`, first && `${seconds((first - began) / 1000)} to first token`].filter(Boolean).join(" · ");
    show({ busy: null });
  }

  const keys = (e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) send(e); };
  return html`<section class="panel" aria-label="Playground"><header><h2>Playground</h2><span class="aside">asks the real /v1; nothing is stored</span></header><div class="pad stack">
    ${said.length ? html`<div class="talk" aria-live="polite">${said.map((m, n) => html`<div key=${n} class=${`said ${m.role === "user" ? "user" : "model"}`}>
      ${m.thought ? html`<span class="thought">${m.thought}</span>` : null}${m.content}${m.wait ? html`<${Waiting} state=${m.wait} hosts=${hosts} />` : null}
      ${m.wrong ? html`<span class="by" role="alert">${m.wrong}</span>` : null}${m.by ? html`<span class="by">${m.by}</span>` : null}</div>`)}<div ref=${end}></div></div>` : null}
    <form class="stack" onSubmit=${send}>
      <label class="field"><span>Message</span><textarea value=${text} onInput=${(e) => put({ text: e.target.value })} onKeyDown=${keys} placeholder="Say something. Enter sends, Shift+Enter begins a line."></textarea></label>
      <div class="row"><label class="field grow"><span class="sr">Model</span><select value=${model} onChange=${(e) => put({ model: e.target.value })} aria-label="Model or persona">
        <option value="">the active model, or the soonest</option><optgroup label="Models">${chats.map((m) => html`<option key=${m.modelKey} value=${m.modelKey}>${m.modelKey} (${brief(m.state, 48)})</option>`)}</optgroup>
        ${personas.length ? html`<optgroup label="Personas">${personas.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</optgroup>` : null}</select></label>
        ${busy ? html`<button type="button" onClick=${() => busy.abort()}>Stop</button>` : html`<button class="main" disabled=${!text.trim()}>Send</button>`}
        <button type="button" class="bare" disabled=${!said.length || busy} onClick=${() => put({ said: [] })}>Clear</button></div>
    </form></div></section>`;
}

const SAMPLES = {
  curl: (b, k, m) => `curl ${b}/chat/completions \\\n  -H "Authorization: Bearer ${k}" -H "Content-Type: application/json" \\\n  -d '{"model": "${m}", "messages": [{"role": "user", "content": "Hello"}], "stream": true}'`,
  "openai-python": (b, k, m) => `from openai import OpenAI\n\nclient = OpenAI(base_url="${b}", api_key="${k}")\nanswer = client.chat.completions.create(\n    model="${m}", messages=[{"role": "user", "content": "Hello"}]\n)\nprint(answer.choices[0].message.content)`,
  "Open WebUI": (b, k) => `Admin Panel > Settings > Connections > OpenAI API > +\nURL   ${b}\nKey   ${k}`,
  SillyTavern: (b, k) => `API Connections > Chat Completion > Custom (OpenAI-compatible)\nCustom Endpoint   ${b}\nCustom API Key    ${k}`,
  Continue: (b, k, m) => `# ~/.continue/config.yaml\nmodels:\n  - name: Lantern\n    provider: openai\n    model: ${m}\n    apiBase: ${b}\n    apiKey: ${k}`,
  Codex: (b, k, m) => `# ~/.codex/config.toml\nmodel = "${m}"\nmodel_provider = "lantern"\n\n[model_providers.lantern]\nname = "Lantern"\nbase_url = "${b}"\nenv_key = "LANTERN_KEY"   # export LANTERN_KEY=${k}\nwire_api = "responses"`,
  "Claude Code": (b, k, m) => `export ANTHROPIC_BASE_URL=${b.replace(/\/v1$/, "")}\nexport ANTHROPIC_AUTH_TOKEN=${k}\nexport ANTHROPIC_MODEL="${m}" ANTHROPIC_DEFAULT_HAIKU_MODEL="${m}"\nexport ANTHROPIC_DEFAULT_SONNET_MODEL="${m}" ANTHROPIC_DEFAULT_OPUS_MODEL="${m}"\nclaude`,
};

export function Connect({ models }) {
  const [which, setWhich] = useState("curl"), [copied, setCopied] = useState(false);
  const base = `${location.origin}/v1`, key = keyInUse() ? "YOUR_KEY" : "none";
  const model = (models.find((m) => m.loaded.length && m.kind !== "embedding") || models.find((m) => m.kind !== "embedding"))?.modelKey || "auto";
  const text = SAMPLES[which](base, key, model);
  const copy = async () => { await navigator.clipboard?.writeText(text).catch(() => {}); setCopied(true); setTimeout(() => setCopied(false), 1500); };
  return html`<section class="panel" aria-label="Connect a client"><header><h2>Connect a client</h2><span class="aside">any program that speaks OpenAI's API</span></header><div class="pad stack">
    <dl class="pairs"><dt class="soft">Base URL</dt><dd class="mono">${base}</dd><dt class="soft">Key</dt><dd>${keyInUse() ? html`one with the scope <code>inference</code>` : "none is needed on this machine"}</dd></dl>
    <div><div class="samples" role="group" aria-label="Client">${Object.keys(SAMPLES).map((name) => html`<button key=${name} aria-pressed=${which === name} onClick=${() => setWhich(name)}>${name}</button>`)}</div>
      <pre class="sample" tabindex="0" aria-label=${`How to connect ${which}`}>${text}</pre></div>
    <div class="row"><button onClick=${copy}>${copied ? "Copied" : "Copy"}</button><span class="small soft">A model's key, a persona's name, or no model at all: then the active one answers.</span></div>
  </div></section>`;
}
