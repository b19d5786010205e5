// The status page: one state comes in over server-sent events, the page is drawn from it.
// Every value goes in as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const clock = (seconds, more = {}) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...more });
const plural = (count, one, many) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
    const digits = format.resolvedOptions().maximumFractionDigits;
    return format.format(minor / 10 ** digits);
  } catch {
    return `${(minor / 100).toFixed(2)} ${currency}`.trim();
  }
}

// Keep one node a key, so that what a person is typing or looking at stays when the state changes.
function keep(list, items, keyOf, create, update) {
  const known = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let place = list.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    known.delete(key);
    if (!node) {
      node = create(item);
      node.dataset.key = key;
    }
    const text = JSON.stringify(item);
    if (node.seen !== text) {
      update(node, item);
      node.seen = text;
    }
    if (node === place) place = place.nextSibling;
    else list.insertBefore(node, place);
  }
  for (const node of known.values()) {
    node.dispatchEvent(new Event("gone"));
    node.remove();
  }
}

async function ask(path, fields) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(fields),
    signal: AbortSignal.timeout(10000),
  });
  if (answer.ok) return;
  const body = await answer.json().catch(() => ({}));
  throw new Error(body.error || `The box answered ${answer.status}.`);
}

async function attempt(problem, buttons, act) {
  for (const button of buttons) button.disabled = true;
  problem.hidden = true;
  try {
    await act();
    return true;
  } catch (error) {
    problem.textContent = error.name === "TimeoutError" ? "The box did not answer in time." : error.message;
    problem.hidden = false;
    return false;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

// ---- top ----------------------------------------------------------------

const LINK_WORDS = { off: "not set up", connecting: "connecting", up: "linked", down: "no link" };
const LINK_TONES = { off: "", connecting: "warn", up: "good", down: "bad" };

function fact(term, value, small = "", tone = "") {
  const definition = make("dd", { class: tone });
  if (tone) definition.append(make("span", { class: "dot" }));
  definition.append(value);
  if (small) definition.append(" ", make("small", { text: small }));
  return make("div", {}, make("dt", { text: term }), definition);
}

function hubNote(sync) {
  const until = sync.certificate_until;
  const words = until ? `certificate until ${new Date(until * 1000).toISOString().slice(0, 10)}` : "";
  return [sync.note, words].filter(Boolean).join(", ");
}

function drawTop(state) {
  byId("site").textContent = state.site;
  byId("device").textContent = state.device;
  document.title = `${state.reviews.length ? `(${state.reviews.length}) ` : ""}${state.site}, shelfgate`;
  const alive = state.cameras.filter((camera) => ["ok", "ended"].includes(camera.health)).length;
  const open = state.carts.filter((cart) => cart.is_open).length;
  const dead = state.cameras.some((camera) => toneOf(camera.health) === "bad");
  byId("facts").replaceChildren(
    fact("Cameras", `${alive} of ${state.cameras.length}`, "", dead ? "bad" : "good"),
    fact("In the store", String(open), open === 1 ? "shopper" : "shoppers"),
    fact("Waiting for you", String(state.reviews.length), "", state.reviews.length ? "warn" : ""),
    fact("Hub", LINK_WORDS[state.sync.link], hubNote(state.sync), LINK_TONES[state.sync.link]),
    fact("Outbox", state.sync.waiting.toLocaleString(), state.sync.waiting ? "to send" : "all sent"),
    fact("Bundle", state.bundle.bundle_id, `version ${state.bundle.version}, ${plural(state.bundle.products, "product", "products")}${state.bundle.note ? `. ${state.bundle.note}` : ""}`, /^(Refused|Took)/.test(state.bundle.note) ? "warn" : ""),
  );
  byId("warnings").replaceChildren(...state.warnings.map((text) => make("li", { text })));
  byId("warnings").hidden = state.warnings.length === 0;
}

// ---- cameras ------------------------------------------------------------

const toneOf = (health) =>
  ({ ok: "good", ended: "calm", starting: "calm", resized: "warn" })[health] || "bad";

// A camera over a long shelf has dozens of zones: their names stand in the picture.
const ZONES_NAMED = 3;
function shelvesOf(zones) {
  const more = zones.length - ZONES_NAMED;
  return zones.slice(0, ZONES_NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function createCamera(camera) {
  const image = make("img", { alt: `Camera ${camera.camera}` });
  const node = make("figure", { class: "camera" },
    make("div", { class: "screen" }, image,
      make("div", { class: "veil" }, make("strong"), make("span"))),
    make("figcaption", {}, make("span", { class: "name" }), make("span", { class: "words" }), make("span", { class: "more" }), make("span", { class: "more times" })));
  followPicture(node, image, camera.camera);
  return node;
}

function updateCamera(node, camera) {
  const tone = toneOf(camera.health);
  node.className = `camera ${tone}`;
  node.health = camera.health;
  const [width, height] = camera.size;
  if (width && height) node.querySelector(".screen").style.aspectRatio = `${width} / ${height}`;
  const since = camera.since ? `since ${clock(camera.since)}` : "";
  const veil = node.querySelector(".veil");
  veil.hidden = ["ok", "ended", "resized"].includes(camera.health);
  veil.querySelector("strong").textContent = camera.words[0].toUpperCase() + camera.words.slice(1);
  veil.querySelector("span").textContent = [since, camera.note].filter(Boolean).join(" · ");
  node.querySelector(".name").textContent = camera.camera;
  const calm = camera.health === "ok";
  node.querySelector(".words").replaceChildren(
    make("span", { class: "dot" }), calm ? `${camera.capture_fps.toFixed(1)} frames/s` : [camera.words, since].filter(Boolean).join(" "));
  const busy = Object.entries(camera.stage_ms).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`);
  const size = width ? `${width}×${height}` : "";
  node.querySelector(".more").textContent =
    [shelvesOf(camera.zones), size, veil.hidden ? camera.note : ""].filter(Boolean).join(" · ");
  node.querySelector(".times").textContent = busy.join(" · ");
}

function followPicture(node, image, camera) {
  let gone = false;
  let shown = "";
  let tag = "";
  node.addEventListener("gone", () => { gone = true; });
  const look = async () => {
    if (gone) return;
    let pause = ["ok", "starting", undefined].includes(node.health) ? 250 : 2000;
    if (!document.hidden) {
      try {
        const answer = await fetch(`cameras/${encodeURIComponent(camera)}.jpg`, {
          headers: tag ? { "if-none-match": tag } : {}, cache: "no-store", signal: AbortSignal.timeout(5000),
        });
        if (answer.status === 200) {
          tag = answer.headers.get("etag") || "";
          const next = URL.createObjectURL(await answer.blob());
          image.src = next;
          await image.decode().catch(() => {});
          if (shown) URL.revokeObjectURL(shown);
          shown = next;
        } else if (answer.status !== 304) {
          pause = 2000;
        }
      } catch {
        pause = 2000;
      }
    }
    setTimeout(look, pause);
  };
  look();
}

// ---- evidence -----------------------------------------------------------

const pathOf = (file) => `evidence/${file.split("/").map(encodeURIComponent).join("/")}`;

function picturesOf(event) {
  const pictures = event.crops.slice(0, 3).map((file, index) => [file, index ? `item, view ${index + 1}` : "item"]);
  if (event.before) pictures.push([event.before, "before"]);
  if (event.after) pictures.push([event.after, "after"]);
  return pictures;
}

function showEvent(event) {
  byId("closer-title").textContent = `${deed(event)}: ${nameOf(event)}`;
  const near = event.nearest.map((candidate) => make("tr", {},
    make("td", { text: candidate.name }), make("td", { text: candidate.distance.toFixed(3) })));
  byId("closer-body").replaceChildren(
    make("div", { class: "large" }, ...picturesOf(event).map(([file, caption]) => make("figure", {},
      make("img", { src: pathOf(file), alt: caption }), make("figcaption", { text: caption })))),
    near.length ? make("p", { class: "quiet", text: "Nearest products, with their distance" }) : "",
    make("table", { class: "near" }, make("tbody", {}, ...near)),
    make("p", { class: "quiet", text: `${event.camera} · ${event.zone} · at ${event.at_s.toFixed(1)} s of the stream · ${event.event_id}` }));
  byId("closer").showModal();
}

// ---- events -------------------------------------------------------------

const deed = (event) => (event.kind === "pick" ? "Taken" : "Put back");
const VERDICT_WORDS = { accept: "sure", refine: "sure, looked twice", review: "needs an eye", reject: "not a product we know",
  settled: "settled by a person", dismissed: "it was nothing" };

function nameOf(event) {
  if (event.name) return event.name;
  if (event.verdict === "review" && event.nearest.length) return `perhaps ${event.nearest[0].name}`;
  return "unknown item";
}

function createEvent() {
  return make("li", {});
}

function updateEvent(node, event) {
  const thumbs = [event.crops[0], event.before, event.after].filter(Boolean);
  const strip = make("button", { class: "strip", type: "button", "aria-label": "Show the evidence", onclick: () => showEvent(event) },
    ...thumbs.map((file) => make("img", { src: pathOf(file), alt: "", loading: "lazy" })));
  const many = event.quantity > 1 ? `${event.quantity} × ` : "";
  node.className = [event.kind, event.sku ? "" : "unknown", started ? "fresh" : ""].join(" ");
  const where = [event.booked ? clock(event.booked, { second: "2-digit" }) : "", event.camera, event.zone].filter(Boolean).join(" · ");
  node.replaceChildren(strip,
    make("div", {},
      make("p", { class: "what" }, make("span", { class: "sign", text: `${deed(event)} ` }), many + nameOf(event)),
      make("p", { class: "where", text: event.session ? `${where} · cart of ${event.session}` : where })),
    make("div", { class: `verdict ${event.verdict}` }, VERDICT_WORDS[event.verdict],
      make("span", { class: "quiet", text: `distance ${event.distance.toFixed(3)}` })));
}

// ---- carts --------------------------------------------------------------

function createCart(cart) {
  return make("article", { class: "cart" });
}

function updateCart(node, cart) {
  node.className = cart.is_open ? "cart" : "cart left";
  const when = cart.is_open ? cart.opened && `since ${clock(cart.opened)}` : cart.closed ? `left ${clock(cart.closed)}` : "left";
  const problem = make("p", { class: "problem", role: "alert", hidden: true });
  const leave = make("button", { type: "button", text: "Close",
    "aria-label": `Close the session ${cart.session}`,
    onclick: () => attempt(problem, [leave], () => ask(`api/sessions/${encodeURIComponent(cart.session)}/close`, {})) });
  const rows = cart.lines.map((line) => make("tr", {},
    make("td", { class: "many", text: `${line.quantity} ×` }),
    make("td", {}, line.name, line.quantity > 1 ? make("small", { text: ` at ${money(line.price_minor, cart.currency)}` }) : null),
    make("td", { class: "amount", text: money(line.amount_minor, cart.currency) })));
  node.replaceChildren(
    make("header", {}, make("h3", { text: cart.session }),
      make("span", { class: "quiet", text: when || "" }),
      cart.is_open ? leave : null),
    rows.length
      ? make("table", {}, make("tbody", {}, ...rows),
          make("tfoot", {}, make("tr", {}, make("td"), make("td", { text: "Total" }),
            make("td", { class: "amount", text: money(cart.total_minor, cart.currency) }))))
      : make("p", { class: "quiet", text: "nothing taken" }),
    cart.waiting ? make("p", { class: "waits", text: `${plural(cart.waiting, "item waits", "items wait")} for a person` }) : "",
    problem);
}

// ---- reviews ------------------------------------------------------------

function choice(group, value, label, far, checked) {
  return make("label", { class: "choice" },
    make("input", { type: "radio", name: group, value, checked }),
    make("span", { text: label }), far === "" ? null : make("span", { class: "far", text: far }));
}

function createReview(review) {
  const event = review.event;
  const problem = make("p", { class: "problem", role: "alert", hidden: true });
  const another = make("input", { class: "another", list: "products", maxlength: 128, placeholder: "another product…", "aria-label": "Another product" });
  const product = make("fieldset", {}, make("legend", { text: "Which product is it?" }),
    ...event.nearest.slice(0, 3).map((candidate, index) =>
      choice(`product-${event.event_id}`, candidate.sku, candidate.name, candidate.distance.toFixed(3), index === 0)), another);
  another.addEventListener("input", () => {
    for (const radio of product.querySelectorAll("input[type=radio]")) radio.checked = false;
    suggest(another.value);
  });
  product.addEventListener("change", (change) => { if (change.target.type === "radio") another.value = ""; });
  const whose = make("fieldset", { class: "whose" }, make("legend", { text: "Whose cart?" }));
  const book = make("button", { type: "button", class: "main", text: event.kind === "pick" ? "Put it in the cart" : "Take it off the cart" });
  const drop = make("button", { type: "button", text: "It was nothing" });
  const at = `api/reviews/${encodeURIComponent(event.event_id)}`;
  const settled = (path, fields) => attempt(problem, [book, drop], () => ask(path, fields));
  book.addEventListener("click", () => {
    const picked = product.querySelector("input[type=radio]:checked");
    const sku = another.value.trim() || (picked ? picked.value : "");
    const session = whose.querySelector("input:checked");
    problem.textContent = sku ? "Say whose cart it is." : "Say which product it is.";
    problem.hidden = Boolean(sku && session);
    if (sku && session) settled(`${at}/settle`, { sku, session_id: session.value });
  });
  drop.addEventListener("click", () => settled(`${at}/dismiss`, {}));
  const summary = make("summary", {},
    event.crops.length ? make("img", { src: pathOf(event.crops[0]), alt: "" }) : make("span"),
    make("h3"), make("p", { class: "why" }));
  const first = !byId("reviews").querySelector("[open]");
  return make("details", { class: "question", open: first }, summary,
    make("div", { class: "ask" }, make("div", { class: "evidence" }), product, whose,
      make("div", { class: "acts" }, book, drop), problem));
}

function updateReview(node, review) {
  const event = review.event;
  const many = event.quantity > 1 ? `${event.quantity} items` : "an item";
  node.querySelector("h3").textContent =
    event.kind === "pick" ? `Somebody took ${many} from ${event.zone}` : `Somebody put ${many} on ${event.zone}`;
  node.querySelector(".why").textContent = review.reason;
  node.querySelector(".evidence").replaceChildren(...picturesOf(event).slice(0, 5).map(([file, caption]) =>
    make("button", { type: "button", "aria-label": `Show ${caption}`, onclick: () => showEvent(event) },
      make("img", { src: pathOf(file), alt: caption }), make("span", { class: "caption", text: caption }))));
  const whose = node.querySelector(".whose");
  const chosen = whose.querySelector("input:checked")?.value ?? event.session;
  const group = `session-${event.event_id}`;
  whose.replaceChildren(make("legend", { text: "Whose cart?" }),
    ...review.sessions.map((session) => choice(group, session, session, "", session === chosen || review.sessions.length === 1)));
  if (!review.sessions.length) whose.append(make("p", { class: "quiet", text: "No session to charge." }));
}

let suggesting = 0;
function suggest(text) {
  clearTimeout(suggesting);
  suggesting = setTimeout(async () => {
    try {
      const answer = await fetch(`api/products?q=${encodeURIComponent(text.slice(0, 60))}`);
      const { products } = await answer.json();
      byId("products").replaceChildren(...products.map((product) => make("option", { value: product.sku, label: product.name })));
    } catch { /* suggestions are a comfort; what is typed still counts */ }
  }, 150);
}

// ---- the whole page -----------------------------------------------------

let started = false;
let asked = 0;

function draw(state) {
  drawTop(state);
  keep(byId("cameras"), state.cameras, (camera) => camera.camera, createCamera, updateCamera);
  keep(byId("carts"), state.carts, (cart) => cart.session, createCart, updateCart);
  keep(byId("reviews"), state.reviews, (review) => review.event.event_id, createReview, updateReview);
  const questions = byId("reviews");
  if (!questions.querySelector("[open]") && state.reviews.length !== asked) {
    questions.firstElementChild?.setAttribute("open", "");
  }
  asked = state.reviews.length;
  keep(byId("events"), state.events, (event) => event.event_id, createEvent, updateEvent);
  byId("carts-empty").hidden = state.carts.length > 0;
  byId("reviews-empty").hidden = state.reviews.length > 0;
  byId("events-empty").hidden = state.events.length > 0;
  byId("reviews-count").textContent = state.reviews.length || "";
  byId("carts-count").textContent = state.carts.filter((cart) => cart.is_open).length || "";
  started = true;
  document.body.dataset.ready = "yes";
}

// The box says something at least every five seconds; a box that was unplugged says nothing at all.
const SILENCE_MS = 15000;
const RETRY_MS = 1500;

function follow() {
  const source = new EventSource("api/stream");
  let watchdog = 0;
  const lost = () => {
    clearTimeout(watchdog);
    source.close();
    byId("away").hidden = false;
    setTimeout(follow, RETRY_MS);
  };
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(lost, SILENCE_MS);
    byId("away").hidden = true;
  };
  source.addEventListener("state", (message) => {
    heard();
    draw(JSON.parse(message.data));
  });
  source.addEventListener("still", heard);
  source.addEventListener("error", lost);
  watchdog = setTimeout(lost, SILENCE_MS);
}

byId("open-session").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const form = submit.target;
  const input = byId("session-id");
  const done = await attempt(form.querySelector(".problem"), [form.querySelector("button")],
    () => ask("api/sessions", { session_id: input.value.trim() }));
  if (done) input.value = "";
});

follow();
