// The counts of a batch, taken anew from its own page until it is done; then the page is loaded once more, whole.
const PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 10000;

async function follow() {
  const asked = performance.now();
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const live = page.getElementById("live");
    if (live?.dataset.done) return location.reload();
    if (live) document.getElementById("live").replaceWith(live);
  } catch {
    // The server may be restarting: ask again.
  }
  // Counting millions takes the database a second, which the import needs more.
  setTimeout(follow, Math.min(Math.max(PAUSE_MS, 10 * (performance.now() - asked)), LONGEST_PAUSE_MS));
}

setTimeout(follow, PAUSE_MS);
