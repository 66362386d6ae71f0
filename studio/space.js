"use strict";
// The data is {loops, corners, grid, plane}: loops are pieces of one length; grid and plane are square tables of indices
// of loops; corners are the names of the grid's corners, in reading order.

const { loops, corners, grid, plane } = pageData();
const scale = rollScale(loops);
let chosen = null; // the pad that plays, see `pad`

const notesOf = (loop) => loop.parts.reduce((sum, part) => sum + part.notes.length, 0);

// ---- The loop that plays ----

const button = playButton("the loop", toggle), title = element("h2", { "aria-live": "polite" });
const link = element("span"), place = element("div");

function show(loop, name) {
  title.textContent = name;
  link.replaceChildren(download({ ...loop, name }));
  place.replaceChildren(pianoRoll(loop, scale, begin));
  if (player.piece) follow(place.firstChild);
}

function begin(from = 0) {
  const whenEnded = () => { showPlaying(button, "the loop", false); follow(null); };
  player.play(chosen.loop, { from, whenEnded });
  showPlaying(button, "the loop", true);
  follow(place.firstChild);
  chosen.made.travel();
}

function toggle() {
  if (player.piece) player.stop();
  else begin();
}

// ---- Pads ----

// A square of loops with a point that one drags, or moves with the arrow keys. x and y run from 0 to 1. The point goes
// along a path of fields that one draws, a field per repetition of the loop.
function pad(name, table, className, cells) {
  const size = table.length, at = { x: 0.5, y: 0.5 };
  const point = element("div", { class: "point" });
  const line = drawn("polyline", {}), trace = drawn("svg", { viewBox: "0 0 1 1", class: "trace", "aria-hidden": "true" }, line);
  let path = [], isDrawing = false; // fields [column, row]
  const label = `${name}. Drag, or use the arrow keys; the space bar plays and stops. A button draws a path.`;
  const made = element("div", { class: `pad ${className}`, role: "application", tabindex: 0, "aria-label": label });
  made.style.gridTemplate = `repeat(${size}, 1fr) / repeat(${size}, 1fr)`;
  made.append(...cells, trace, point);

  const index = (value) => Math.min(size - 1, Math.floor(value * size));
  const middle = (field) => field.map((k) => (k + 0.5) / size);
  const loopAt = ([column, row]) => loops[table[row][column]];
  const button = element("button", { type: "button", click: press });

  function setPath(fields) {
    path = fields;
    line.setAttribute("points", path.map((field) => middle(field).join()).join(" "));
    button.textContent = isDrawing ? "Finish the path" : path.length ? "Remove the path" : "Draw a path";
    button.setAttribute("aria-label", `${button.textContent}: ${name}`);
  }

  function press() {
    if (isDrawing) return finish();
    isDrawing = !path.length;
    setPath([]);
    if (chosen.made === made) player.swap(chosen.loop);
  }

  function finish() {
    isDrawing = false;
    setPath(path.length > 1 ? path : []);
    travel();
  }

  function travel() {
    if (path.length && !isDrawing) player.travel(path.map(loopAt), (k) => goTo(...middle(path[k])));
  }

  function leave() {
    if (!isDrawing && !path.length) return;
    isDrawing = false;
    setPath([]);
  }

  // Moves the point by hand: it draws a path, or leaves its own; the points of other pads leave theirs.
  function move(x, y) {
    for (const other of document.querySelectorAll(".pad")) if (other !== made) other.leave();
    goTo(x, y);
    const field = [index(at.x), index(at.y)];
    if (!isDrawing) leave();
    else if (field.join() !== path.at(-1)?.join()) setPath([...path, field]);
    player.swap(chosen.loop);
  }

  function goTo(x, y) {
    Object.assign(at, { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) });
    point.style.left = `${100 * at.x}%`;
    point.style.top = `${100 * at.y}%`;
    const column = index(at.x), row = index(at.y), loop = loopAt([column, row]);
    const before = chosen;
    chosen = { made, loop };
    for (const other of document.querySelectorAll(".pad")) other.classList.toggle("away", other !== made);
    if (before?.loop === loop && before.made === made) return;
    show(loop, `${name}, column ${column + 1}, row ${row + 1}`);
  }

  const drag = (event) => {
    const box = made.getBoundingClientRect();
    move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  made.addEventListener("pointerdown", (event) => {
    made.setPointerCapture(event.pointerId);
    drag(event);
    if (!player.piece) begin();
  });
  made.addEventListener("pointerup", () => { if (isDrawing) finish(); });
  made.addEventListener("pointermove", (event) => { if (made.hasPointerCapture(event.pointerId)) drag(event); });
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  made.addEventListener("keydown", (event) => {
    const by = steps[event.key];
    if (by) move((index(at.x) + 0.5 + by[0]) / size, (index(at.y) + 0.5 + by[1]) / size);
    else if (event.key === " " || event.key === "Enter") toggle();
    else return;
    event.preventDefault();
  });
  setPath([]);
  return Object.assign(made, { move, travel, leave, button });
}

function firstBars(loop) { // two of them, which show in a small field
  const drawing = rollDrawing(loop, scale, 2);
  drawing.setAttribute("viewBox", `0 0 ${loop.bars[2] ?? loop.ms} ${rollLayout(scale).height}`);
  return element("div", { class: "cell" }, drawing);
}

const blend = pad("Blend", grid, "blend", grid.flat().map((k) => firstBars(loops[k])));
["top left", "top right", "bottom left", "bottom right"].forEach((where, k) => {
  blend.append(element("span", { class: `corner ${where}` }, "ABCD"[k]));
});

const counts = plane.flat().map((k) => notesOf(loops[k]));
const fewest = Math.min(...counts), range = Math.max(1, Math.max(...counts) - fewest);
const map = pad("Plane", plane, "map", counts.map((count) => {
  const cell = element("div", { class: "cell shaded" });
  cell.style.setProperty("--shade", `${Math.round((75 * (count - fewest)) / range)}%`);
  return cell;
}));

const names = corners.some((name) => name) ? ` ${corners.map((name, k) => `${"ABCD"[k]}: ${name}`).join(", ")}.` : "";
const section = (title, square, text) => element("section", {}, element("h2", {}, title), square,
  element("p", { class: "bar" }, square.button), element("p", { class: "note" }, text));
document.getElementById("page").append(
  element("article", { class: "card stays" }, element("header", {}, button, title, link), place, legend(loops)),
  element("div", { class: "pads" },
    section("Blend four pieces", blend, `Each field is a piece between those in the corners.${names}`),
    section("Walk a plane", map, "A plane of the latent space. The stronger the colour, the more notes."))
);
map.move(0.5, 0.5);
blend.move(0.5, 0.5);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") player.stop(); });
