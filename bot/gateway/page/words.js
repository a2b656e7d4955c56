// Numbers as people read them.
export const amount = (n) => (n >= 100 ? Math.round(n).toLocaleString("en") : n >= 10 ? n.toFixed(0) : n ? n.toFixed(1) : "0");
export const count = (n) => Number(n).toLocaleString("en");
export const bytes = (n) => (n === null || n === undefined ? "?" : n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.round(n / 1e6)} MB`);
export const money = (usd) => (usd >= 1 || usd === 0 ? `$${usd.toFixed(2)}` : `$${usd.toPrecision(2)}`);
export function seconds(s) {
  if (s === null || s === undefined) return "";
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  return `${Math.floor(s / 60)} min ${String(Math.round(s % 60)).padStart(2, "0")} s`;
}
export const left = (s) => `${s < 1 ? "<1" : Math.round(s)} s left`;
export function ago(moment) {
  const s = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  if (s < 60) return `${Math.round(s)} s ago`;
  if (s < 3600) return `${Math.round(s / 60)} min ago`;
  return s < 86400 ? `${Math.round(s / 3600)} h ago` : moment.slice(0, 10);
}
/** A moment on this machine's clock, to the minute. */
export const moment = (iso) => new Date(iso).toLocaleString("sv", { dateStyle: "short", timeStyle: "short" });
/** So much of a text as has room; why a host refused a load may be ten lines long. */
export const brief = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);
/** One colour for a model, wherever it stands. */
export function hue(key) {
  let sum = 7;
  for (const c of key) sum = (sum * 31 + c.codePointAt(0)) >>> 0;
  return `var(--seg${sum % 6})`;
}
