// What is said to the server and heard from it. The key is kept for this tab alone.
const KEPT = "lantern.key";
export const keyInUse = () => sessionStorage.getItem(KEPT) || "";
export const useKey = (key) => sessionStorage.setItem(KEPT, key);
export const forgetKey = () => sessionStorage.removeItem(KEPT);
export const headers = () => (keyInUse() ? { Authorization: `Bearer ${keyInUse()}` } : {});

async function told(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error?.message || `Lantern answered ${response.status}.`);
  return body;
}
/** As `fetch`, but that a server which is gone is told in our own words: a browser's say nothing of whom. */
export async function reach(path, how) {
  try {
    return await fetch(path, how);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("Lantern does not answer: nothing was done.");
  }
}
export const ask = async (path) => told(await reach(path, { headers: headers() }));
export const act = async (path, body) =>
  told(await reach(path, { method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body) }));

/** The data of each event of a stream. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n");
        const data = lines.filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trim()).join("\n");
        const id = lines.find((l) => l.startsWith("id:"))?.slice(3).trim();
        if (data) yield { data, id };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

let line = 0;
/** Listens for ever; a line that breaks is made again, with growing pauses. */
export async function connect({ hear, line: say }) {
  const mine = ++line;
  let last = "", pause = 500;
  while (mine === line) {
    try {
      const response = await fetch("/admin/events", { headers: { ...headers(), ...(last ? { "Last-Event-ID": last } : {}) } });
      if (response.status === 401 || response.status === 403) return say("locked", response.status);
      if (!response.ok) throw new Error();
      say("live");
      pause = 500;
      for await (const { data, id } of events(response)) {
        if (mine !== line) return;
        if (id) last = id;
        const event = JSON.parse(data);
        // The key was revoked, is over, or is needed since the first one was made.
        if (event.type === "closed") return say("locked");
        hear(event);
      }
    } catch { /* said below */ }
    if (mine !== line) return;
    say("lost");
    await new Promise((r) => setTimeout(r, document.hidden ? 8000 : pause));
    pause = Math.min(8000, pause * 2);
  }
}
