"use strict";
const $ = (id) => document.getElementById(id);
let last = null; // the query that the slider and the filter ask again
let number = 0; // of the newest request: an older answer is not shown
let token = sessionStorage.getItem("token") || "";

async function call(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  if (answer.status === 401) {
    token = prompt("The token of this service:") || "";
    sessionStorage.setItem("token", token);
    if (token) return call(path, body);
  }
  return answer;
}

function tell(text, wrong) {
  $("status").textContent = text;
  $("status").className = wrong ? "error" : "";
}

async function ask(query) {
  last = query;
  const mine = ++number;
  tell("Searching …");
  const body = { k: 24, ...query };
  if ($("split").value) body.split = $("split").value;
  if (!body.by && !body.sketch) body.alpha = Number($("alpha").value);
  try {
    const answer = await call("v1/search", body);
    const found = await answer.json();
    if (mine !== number) return;
    if (!answer.ok) return tell(typeof found.detail === "string" ? found.detail : "This cannot be searched for.", true);
    tell(`${found.hits.length} images`);
    $("hits").replaceChildren(...found.hits.map(card));
  } catch (error) {
    if (mine === number) tell(`The service does not answer (${error.message}).`, true);
  }
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function card(hit) {
  const article = element("article"), below = element("div"), footer = element("footer");
  const picture = element("img");
  picture.alt = hit.captions[0] || hit.id;
  const name = hit.id.split("/").map(encodeURIComponent).join("/");
  const load = (kind) => call(`v1/${kind}/${name}`).then((answer) => answer.ok ? answer.blob() : null).then((blob) => blob && URL.createObjectURL(blob));
  let own = "", lines = "";
  load("images").then((url) => { own = picture.src = url || ""; });
  if (!$("alpha").disabled) { // hover, focus or a tap shows the edges
    picture.tabIndex = 0;
    picture.onmouseenter = picture.onfocus = async () => { lines = lines || await load("edges"); if (lines && picture.matches(":hover, :focus")) picture.src = lines; };
    picture.onmouseleave = picture.onblur = () => { if (own) picture.src = own; };
  }
  const caption = element("p", hit.captions.join(" "));
  caption.title = hit.captions.join("\n");
  for (const by of $("alpha").disabled ? ["content"] : ["content", "structure"]) {
    const more = element("button", `like its ${by}`);
    more.onclick = () => ask({ id: hit.id, by });
    footer.append(more);
  }
  below.append(element("span", `${hit.rank}. ${hit.score.toFixed(3)} · ${hit.id}`, "about"), caption, footer);
  article.append(picture, below);
  return article;
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

const canvas = $("canvas"), pen = canvas.getContext("2d");
let drawn = false;
function blank() {
  drawn = false;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}
function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * canvas.width, (event.clientY - box.top) / box.height * canvas.height];
}
canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  pen.beginPath();
  pen.moveTo(...place(event));
};
canvas.onpointermove = (event) => {
  if (!event.buttons) return;
  drawn = true;
  pen.lineTo(...place(event));
  pen.stroke();
};
pen.lineWidth = 5;
pen.lineCap = pen.lineJoin = "round";
blank();

$("words").onsubmit = (event) => {
  event.preventDefault();
  if ($("text").value.trim()) ask({ text: $("text").value });
};
$("file").onchange = async () => {
  if ($("file").files[0]) ask({ image: await base64($("file").files[0]) });
  $("file").value = "";
};
$("draw").onclick = () => {
  $("sketch").hidden = !$("sketch").hidden;
  $("draw").setAttribute("aria-expanded", String(!$("sketch").hidden));
};
$("clear").onclick = blank;
$("find").onclick = () => drawn ? ask({ sketch: canvas.toDataURL("image/png").split(",")[1] }) : tell("Draw some lines first.", true);
$("alpha").oninput = () => { $("weight").textContent = `α ${Number($("alpha").value).toFixed(2)}`; };
$("alpha").onchange = $("split").onchange = () => { if (last) ask(last); };

call("v1/dataset").then((answer) => answer.json()).then((found) => {
  $("dataset").textContent = `${found.name}, ${found.images.toLocaleString("en")} images`;
  $("alpha").value = found.alpha;
  $("alpha").oninput();
  $("alpha").disabled = !found.has_edges;
  for (const part of document.querySelectorAll(".edges")) part.hidden = !found.has_edges;
  for (const split of found.splits) $("split").append(new Option(split, split));
  const text = new URLSearchParams(location.search).get("q"); // a search that can be linked to
  if (text) { $("text").value = text; ask({ text }); }
});
