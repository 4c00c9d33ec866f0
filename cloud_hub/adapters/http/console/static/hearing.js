// The one stream from the hub that all open pages of this browser share: a browser holds few connections to one hub, and
// every page that listened by itself would keep one. It runs as a shared worker, or as a page's own where there is none.
const TOPICS = ["fleet", "device", "cases", "review", "packs"];
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60000;
const pages = new Set();
let source = null;
let last = 0;
let waitMs = FIRST_WAIT_MS;
let waiting = 0;

function tell(message) {
  for (const page of pages) page.postMessage(message);
}

function listen() {
  source = new EventSource(`/live?topics=${TOPICS}&after=${last}`);
  source.onopen = () => {
    waitMs = FIRST_WAIT_MS;
    tell({ state: "on" });
  };
  source.onerror = () => {
    tell({ state: "off" });
    if (source.readyState !== EventSource.CLOSED) return;
    waiting = setTimeout(listen, waitMs * (0.7 + 0.6 * Math.random()));
    waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
  };
  for (const topic of [...TOPICS, "reload"]) {
    source.addEventListener(topic, (event) => {
      last = Math.max(last, Number(event.lastEventId));
      tell({ topic, last, data: JSON.parse(event.data) });
    });
  }
}

function leave(page) {
  pages.delete(page);
  if (pages.size) return;
  clearTimeout(waiting);
  source?.close();
  source = null;
}

function join(page, after) {
  pages.add(page);
  if (!source) {
    last = after;
    listen();
    return;
  }
  if (source.readyState === EventSource.OPEN) page.postMessage({ state: "on" });
  if (after < last) page.postMessage({ topic: "reload", last, data: {} });
}

function take(page) {
  page.onmessage = ({ data }) => (data.isHere ? join(page, data.after) : leave(page));
}

if ("onconnect" in self) self.onconnect = (event) => take(event.ports[0]);
else take(self);
