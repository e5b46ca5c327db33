// The page: asks /answer and marks the answer in the text. Text from outside is only ever set as
// textContent, so nothing in a text or an answer can become markup.
"use strict";

const TOP_K = 5;
const HISTORY = 20;
const CHUNK = 4000; // characters of a block at least; blocks out of sight are not laid out
const LARGEST_FILE = 16 * 2 ** 20;
const KEY = "spanqa-api-key";
const EXAMPLE = {
  question: "Who designed the lighthouse?",
  text: `The lighthouse of Kaldvik stands on a skerry two kilometres off the coast. It was designed \
by the engineer Ida Thorsen and built between 1868 and 1871, after eleven ships had been lost in \
a single winter. Its lamp burned rapeseed oil at first, then paraffin, and has been electric since \
1934.

Until 1978 two keepers and their families lived on the rock. The last of them, Jonas Hauge, kept a \
diary of the weather for forty years, which the museum in the old customs house now shows. The \
light can be seen from thirty-two kilometres away.`,
};

const get = (id) => document.getElementById(id);
const text = get("text");
const view = get("view");
const question = get("question");
const results = get("results");

let shown = ""; // the text that the results are about
let chunks = []; // its blocks: {start, end, element}, offsets in UTF-16 units
let marked = []; // blocks that hold a mark
let asking = null; // aborts the request under way

function make(name, className, content) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content;
  return element;
}

// The server counts code points, JavaScript counts UTF-16 units: two for an emoji.
function toUnits(whole, offsets) {
  if (!/[\ud800-\udfff]/.test(whole)) return offsets;
  const units = new Map();
  let points = 0;
  let unit = 0;
  for (const offset of [...offsets].sort((a, b) => a - b)) {
    for (; points < offset; points++) unit += whole.codePointAt(unit) > 0xffff ? 2 : 1;
    units.set(offset, unit);
  }
  return offsets.map((offset) => units.get(offset));
}

// Blocks of whole lines. The line end between two blocks is in neither.
function showText(whole) {
  shown = whole;
  chunks = [];
  marked = [];
  for (let start = 0; start <= whole.length; ) {
    let end = whole.indexOf("\n", start + CHUNK);
    while (end > start && whole[end - 1] === "\n") end--;
    if (end <= start) end = whole.indexOf("\n", start + CHUNK);
    if (end < 0) end = whole.length;
    chunks.push({ start, end, element: make("div", "", whole.slice(start, end)) });
    start = end + 1;
  }
  view.replaceChildren(...chunks.map((chunk) => chunk.element));
}

function mark(start, end) {
  for (const chunk of marked) chunk.element.textContent = shown.slice(chunk.start, chunk.end);
  marked = chunks.filter((chunk) => chunk.start < end && start < chunk.end);
  for (const chunk of marked) {
    const from = Math.max(start, chunk.start);
    const to = Math.min(end, chunk.end);
    chunk.element.replaceChildren(
      shown.slice(chunk.start, from),
      make("mark", "", shown.slice(from, to)),
      shown.slice(to, chunk.end),
    );
  }
  scrollToMark();
  // Blocks that come into sight get their real heights only now.
  requestAnimationFrame(() => requestAnimationFrame(scrollToMark));
}

function scrollToMark() {
  const target = view.querySelector("mark");
  if (!target) return;
  const place = target.getBoundingClientRect();
  const frame = view.getBoundingClientRect();
  view.scrollTop += place.top - frame.top - frame.height / 3;
}

function showView(on) {
  text.hidden = on;
  view.hidden = !on;
  get("edit").hidden = !on;
}

function percent(probability) {
  if (probability > 0 && probability < 0.001) return "< 0.1 %";
  if (probability < 1 && probability > 0.999) return "> 99.9 %";
  return `${(100 * probability).toFixed(1)} %`;
}

// Marks an answer; nothing for null.
function choose(button) {
  for (const other of results.querySelectorAll("[aria-current]")) {
    other.removeAttribute("aria-current");
  }
  button?.setAttribute("aria-current", "true");
  showView(true);
  mark(Number(button?.dataset.start), Number(button?.dataset.end));
}

function answerElement(answer, units, lead) {
  const given = answer.text !== "";
  const element = make(given ? "button" : "div", lead ? "answer lead" : "answer");
  const none = lead ? "No answer in this text" : "no answer";
  const words = given ? answer.text.replace(/\s+/g, " ") : none;
  const filled = make("span");
  filled.style.width = `${100 * answer.probability}%`;
  const scale = make("span", "scale");
  scale.append(filled);
  const chance = make("span", "chance", percent(answer.probability));
  element.append(make("span", "words", words), scale, chance);
  if (given) {
    [element.dataset.start, element.dataset.end] = units;
    element.type = "button";
    element.addEventListener("click", () => choose(element));
  }
  return element;
}

function listOf(elements) {
  const list = make("ol");
  for (const element of elements) {
    const item = make("li");
    item.append(element);
    list.append(item);
  }
  return list;
}

function showAnswers(asked, answers) {
  const units = toUnits(shown, answers.flatMap((answer) => [answer.start, answer.end]));
  const elements = answers.map((answer, n) =>
    answerElement(answer, units.slice(2 * n, 2 * n + 2), n === 0),
  );
  const article = make("article");
  article.append(make("h2", "", asked), elements[0]);
  if (elements.length > 1) {
    const heading = answers[0].text ? "Runners-up" : "If there were one, it would be";
    const others = make("details");
    others.append(make("summary", "", heading), listOf(elements.slice(1)));
    for (const earlier of results.querySelectorAll("details")) earlier.open = false;
    others.open = true;
    article.append(others);
  }
  results.prepend(article);
  while (results.children.length > HISTORY) results.lastChild.remove();
  const [best] = answers;
  const found = best.text ? `Answer: ${best.text}` : "No answer in this text";
  say(`${found}, probability ${percent(best.probability)}.`, true);
  choose(best.text ? article.querySelector("button.answer") : null);
}

function say(sentence, spokenOnly = false) {
  const status = get("status");
  status.classList.toggle("spoken", spokenOnly);
  status.textContent = sentence;
}

function complain(sentence) {
  say("");
  get("error").textContent = sentence && sentence[0].toUpperCase() + sentence.slice(1);
}

async function post(body, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { method: "POST", headers, body: JSON.stringify(body), signal };
  const response = await fetch("answer", options);
  const content = await response.json().catch(() => ({}));
  if (response.ok && content.results) return content.results;
  const error = new Error(content.error || `the server answered with status ${response.status}`);
  error.status = response.status;
  throw error;
}

async function ask() {
  const asked = question.value.trim();
  const whole = text.value;
  if (!whole.trim()) return miss(text, "there is no text yet: paste one or open a file");
  if (!asked) return miss(question, "there is no question yet");
  asking?.abort();
  const mine = (asking = new AbortController());
  complain("");
  say("Reading …");
  document.body.setAttribute("aria-busy", "true");
  try {
    const [found] = await post({ question: asked, context: whole, top_k: TOP_K }, mine.signal);
    if (asking !== mine) return;
    if (whole !== shown) {
      results.replaceChildren();
      showText(whole);
    }
    get("empty").hidden = true;
    get("unlock").hidden = true;
    showAnswers(asked, found.answers);
    question.select();
  } catch (error) {
    if (asking !== mine) return;
    const offline = error instanceof TypeError;
    complain(offline ? "the server cannot be reached" : error.message);
    if (error.status === 401) {
      get("unlock").hidden = false;
      get("key").focus();
    }
  } finally {
    if (asking === mine) document.body.removeAttribute("aria-busy");
  }
}

function miss(field, sentence) {
  if (field === text) showView(false);
  field.focus();
  complain(sentence);
}

function count() {
  const pairs = text.value.match(/[\ud800-\udbff][\udc00-\udfff]/g) || [];
  const length = text.value.length - pairs.length; // as the server counts
  get("count").textContent = length ? `${length.toLocaleString("en")} characters` : "";
}

async function openFile(file) {
  if (!file) return;
  if (file.size > LARGEST_FILE) return complain(`the file ${file.name} is too large to be shown here`);
  try {
    setText(new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()));
    complain("");
    question.focus();
  } catch (error) {
    complain(error instanceof TypeError ? `the file ${file.name} is not UTF-8 text` : error.message);
  }
}

function setText(content) {
  text.value = content;
  text.scrollTop = 0;
  showView(false);
  count();
}

function moveBetweenAnswers(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const all = [...results.querySelectorAll("button.answer")];
  const buttons = all.filter((button) => button.offsetParent); // not those folded away
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)].focus();
}

get("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
get("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, get("key").value.trim());
  get("key").value = "";
  ask();
});
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (question.value.trim()) ask();
  else question.focus();
});
text.addEventListener("input", count);
results.addEventListener("keydown", moveBetweenAnswers);
get("edit").addEventListener("click", () => {
  showView(false);
  text.focus();
});
get("open").addEventListener("click", () => get("file").click());
get("file").addEventListener("change", (event) => {
  openFile(event.target.files[0]);
  event.target.value = ""; // so that the same file can be opened again
});
get("example").addEventListener("click", () => {
  setText(EXAMPLE.text);
  question.value = EXAMPLE.question;
  ask();
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // or the browser would leave the page for the file
    document.querySelector(".source").classList.toggle("dropping", name === "dragover");
    if (name === "drop") openFile(event.dataTransfer.files[0]);
  });
}
count();
