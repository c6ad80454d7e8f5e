// Looks how the payment stands without loading the page again: that would send whoever has it read aloud, or moves through it with
// the keyboard, back to its beginning, and put the browser's own page in its place while the network is away.
const shown = document.querySelector("main").dataset.state;
const longest = 15000;
let wait = 2000;
let leaving = false;

async function state() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return shown;
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  return found.querySelector("main").dataset.state;
}

async function look() {
  const now = await state().catch(() => shown);
  if (now !== shown && !leaving) return location.replace(location.pathname + location.search);
  wait = Math.min(wait * 1.1, longest);
  setTimeout(look, wait);
}

addEventListener("submit", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });
setTimeout(look, wait);
