"use strict";
// Plays and draws pieces. A piece is {name, ms, bars, parts, midi}: its length in milliseconds, the start of each bar in
// milliseconds, its parts {name, program, drums, notes} and its MIDI file in base64. A note is
// [start, length, pitch, velocity], both times in milliseconds. Every sound is synthesised here; no sample is played.

const AHEAD = 0.12; // seconds that notes are scheduled before they sound
const AHEAD_HIDDEN = 1.5; // the same in a hidden tab, whose timers run once per second
const TICK = 25; // milliseconds between two looks at what to schedule
const START_DELAY = 0.06; // seconds from the click to the first note
const FADE = 0.03; // seconds in which a stopped piece falls silent
const TAIL = 0.6; // seconds that the last notes of a piece may ring

const DRUMS = [ // name and MIDI pitches of each drum, from the lowest row of a roll up
  ["kick", [36, 35]],
  ["snare", [38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85]],
  ["closed hat", [42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 22]],
  ["open hat", [46, 67, 72, 74, 79, 81, 26]],
  ["low tom", [45, 29, 41, 43, 61, 64, 84]],
  ["mid tom", [48, 47, 60, 63, 77, 86, 87]],
  ["high tom", [50, 30, 62, 76, 83]],
  ["crash", [49, 52, 55, 57, 58]],
  ["ride", [51, 53, 59, 82]]
];
const DRUM_ROW = new Map(DRUMS.flatMap(([, pitches], row) => pitches.map((pitch) => [pitch, row])));
const drumRow = (pitch) => DRUM_ROW.get(pitch) ?? 2; // what is no drum of the table sounds as a closed hat

// ---- Sound ----

const frequency = (pitch) => 440 * 2 ** ((pitch - 69) / 12); // Hz
const isBass = (program) => program >= 32 && program < 40;
const isStruck = (program) => program < 16 || (program >= 24 && program < 40); // decays while it is held

function chain(...nodes) {
  nodes.reduce((from, to) => from.connect(to));
  return nodes[0];
}

// A gain that falls from `peak` to silence in `seconds`.
function decay(context, when, peak, seconds) {
  const gain = context.createGain();
  gain.gain.setValueAtTime(peak, when);
  gain.gain.exponentialRampToValueAtTime(0.0001, when + seconds);
  return gain;
}

function filter(context, type, hertz, q = 0.7) {
  return new BiquadFilterNode(context, { type, frequency: hertz, Q: q });
}

const noises = new WeakMap(); // one second of white noise per context

function noise(context) {
  if (!noises.has(context)) {
    const buffer = context.createBuffer(1, context.sampleRate, context.sampleRate);
    const samples = buffer.getChannelData(0);
    for (let k = 0; k < samples.length; ++k) samples[k] = 2 * Math.random() - 1;
    noises.set(context, buffer);
  }
  return new AudioBufferSourceNode(context, { buffer: noises.get(context), loop: true });
}

function hiss(context, output, when, peak, seconds, type, hertz) {
  const source = chain(noise(context), filter(context, type, hertz), decay(context, when, peak, seconds), output);
  source.start(when, Math.random());
  source.stop(when + seconds);
}

// A sine that falls from one frequency to another: the skin of a drum.
function skin(context, output, when, peak, seconds, high, low) {
  const oscillator = new OscillatorNode(context, { frequency: high });
  oscillator.frequency.setValueAtTime(high, when);
  oscillator.frequency.exponentialRampToValueAtTime(low, when + seconds / 3);
  chain(oscillator, decay(context, when, peak, seconds), output);
  oscillator.start(when);
  oscillator.stop(when + seconds);
}

const KIT = [ // in the order of DRUMS; at: context, output and time
  (at, loud) => skin(...at, loud, 0.32, 150, 46),
  (at, loud) => { skin(...at, 0.5 * loud, 0.14, 240, 150); hiss(...at, 0.6 * loud, 0.2, "highpass", 1500); },
  (at, loud) => hiss(...at, 0.35 * loud, 0.06, "highpass", 7000),
  (at, loud) => hiss(...at, 0.35 * loud, 0.35, "highpass", 6500),
  (at, loud) => skin(...at, 0.8 * loud, 0.35, 140, 85),
  (at, loud) => skin(...at, 0.8 * loud, 0.3, 190, 120),
  (at, loud) => skin(...at, 0.8 * loud, 0.26, 260, 170),
  (at, loud) => hiss(...at, 0.4 * loud, 1.1, "highpass", 4000),
  (at, loud) => hiss(...at, 0.22 * loud, 0.5, "bandpass", 8500)
];

// A pitched note: struck instruments decay while they are held, others keep their level.
function tone(context, output, when, seconds, pitch, loud, program) {
  const hertz = frequency(pitch), end = when + Math.max(seconds, 0.05), release = 0.09;
  const level = 0.34 * loud, envelope = context.createGain(), gain = envelope.gain;
  gain.setValueAtTime(0.0001, when);
  gain.exponentialRampToValueAtTime(level, when + 0.008);
  if (isStruck(program)) gain.setTargetAtTime(0.25 * level, when + 0.008, 0.35);
  gain.setTargetAtTime(0, end, release / 3);
  const low = filter(context, "lowpass", Math.min(12000, hertz * (isBass(program) ? 3 : 6) + 400));
  const waves = isBass(program) ? [["sawtooth", 1, 0.8]] : [["triangle", 1, 1], ["sine", 2, 0.25], ["square", 1, 0.07]];
  chain(low, envelope, output);
  for (const [type, ratio, share] of waves) {
    const oscillator = new OscillatorNode(context, { type, frequency: hertz * ratio });
    chain(oscillator, new GainNode(context, { gain: share }), low);
    oscillator.start(when);
    oscillator.stop(end + release);
  }
}

// Schedules one note of a part at a time of the context, in seconds.
function sound(context, output, part, [, length, pitch, velocity], when) {
  const loud = (velocity / 127) ** 1.5;
  if (part.drums) KIT[drumRow(pitch)]([context, output, when], loud);
  else tone(context, output, when, length / 1000, pitch, loud, part.program);
}

// ---- The player: one piece at a time ----

function createPlayer() {
  let context = null, bus = null, timer = null; // a bus carries the notes of one run, so that a stop silences them
  let piece = null, start = 0, done = 0, repeats = true, ended = null; // start, done: seconds of the context
  let route = null; // {pieces, from, reached, at}: pieces that follow one another from the repetition `from` on; now `at`

  function open() {
    if (!context) {
      context = new AudioContext();
      const limiter = new DynamicsCompressorNode(context, { threshold: -14, ratio: 8 });
      chain(limiter, new GainNode(context, { gain: 0.9 }), context.destination);
      context.limiter = limiter;
    }
    if (context.state === "suspended") context.resume();
  }

  const onRoute = (k) => route && k >= route.from;
  const inTurn = (k) => (onRoute(k) ? route.pieces[(k - route.from) % route.pieces.length] : piece);

  // Takes notice of the piece of the route that repetition k plays.
  function arrive(k) {
    if (!onRoute(k) || k === route.at) return;
    route.at = k;
    piece = inTurn(k);
    route.reached((k - route.from) % route.pieces.length);
  }

  function schedule() {
    const now = context.currentTime, until = now + (document.hidden ? AHEAD_HIDDEN : AHEAD), cycle = piece.ms / 1000;
    const from = Math.max(done, now);
    const last = repeats ? Math.floor((until - start) / cycle) : 0;
    for (let k = Math.max(0, Math.floor((from - start) / cycle)); k <= last; ++k) {
      const own = inTurn(k);
      for (const part of own.parts) {
        for (const note of part.notes) {
          const when = start + k * cycle + note[0] / 1000;
          if (when >= from && when < until && note[0] < own.ms) sound(context, bus, part, note, when);
        }
      }
    }
    done = Math.max(done, until);
    arrive(Math.floor((now - start) / cycle));
    if (!repeats && now > start + cycle) stop(TAIL);
  }

  function stop(fade = FADE) {
    if (!piece) return;
    clearInterval(timer);
    const old = bus, tell = ended;
    old.gain.setTargetAtTime(0, context.currentTime, fade / 3);
    setTimeout(() => old.disconnect(), 2000 * fade);
    piece = ended = route = null;
    if (tell) tell();
  }

  // Plays a piece from a place in milliseconds; `whenEnded` is called once, at its end or when it is stopped.
  function play(next, { repeat = true, from = 0, whenEnded = null } = {}) {
    open();
    stop();
    [piece, repeats, ended] = [next, repeat, whenEnded];
    bus = new GainNode(context);
    bus.connect(context.limiter);
    done = context.currentTime + START_DELAY;
    start = done - from / 1000;
    schedule();
    timer = setInterval(schedule, TICK);
  }

  document.addEventListener("visibilitychange", () => { if (piece) schedule(); });

  return {
    play,
    stop: () => stop(),
    swap(next) { // goes on in time with another piece of the same length
      route = null;
      if (piece) piece = next;
    },
    travel(pieces, reached) { // from the next repetition on one piece after another; `reached` is told the index of each
      if (piece) route = { pieces, reached, from: Math.floor((done - start) / (piece.ms / 1000)) + 1 };
    },
    repeat(on) { // from now on; without, a piece ends with the cycle that it is in
      if (piece && !on) start = context.currentTime - this.position / 1000;
      repeats = on;
    },
    get piece() { return piece; },
    get state() { return context ? context.state : "closed"; },
    get time() { return context ? context.currentTime : 0; },
    get position() { // milliseconds in the piece
      const passed = Math.max(0, 1000 * (context.currentTime - start));
      return repeats ? passed % piece.ms : Math.min(passed, piece.ms);
    }
  };
}

const player = createPlayer();

// ---- Elements ----

// An element with attributes and children; text is never parsed as HTML. Functions listen to events.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const ICONS = { play: "M3 1.5v13l11-6.5z", stop: "M2.5 2.5h11v11h-11z" };
const icon = (name) => drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, drawn("path", { d: ICONS[name] }));

function playButton(name, click) {
  return element("button", { class: "play", type: "button", "aria-label": `Play ${name}`, click }, icon("play"));
}

function showPlaying(button, name, on) {
  button.setAttribute("aria-label", `${on ? "Stop" : "Play"} ${name}`);
  button.replaceChildren(icon(on ? "stop" : "play"));
}

function download(piece) {
  const href = `data:audio/midi;base64,${piece.midi}`;
  return element("a", { href, download: `${piece.name.replace(/[^\p{L}\p{N}_-]+/gu, "_")}.mid` }, "MIDI file");
}

const pageData = () => JSON.parse(document.getElementById("data").textContent);

// ---- Piano rolls ----

const NOTE_PIXELS = 4; // least height of a note
const DRUM_PIXELS = 13; // height of a drum's row

const roleOf = (part) => (part.drums ? "drums" : isBass(part.program) ? "bass" : "melody");

// The class of each part: its role, or a spare colour where another part before has that role.
function partClasses(parts) {
  const taken = new Set();
  let spare = 0;
  return parts.map((part) => {
    const role = roleOf(part);
    if (role !== "drums" && taken.has(role)) return `other-${spare++ % 3}`;
    taken.add(role);
    return role;
  });
}

// What several rolls share: the lowest and highest pitch, and the drums that are hit.
function rollScale(pieces) {
  const parts = pieces.flatMap((piece) => piece.parts);
  const rows = parts.filter((part) => part.drums).flatMap((part) => part.notes.map((note) => drumRow(note[2])));
  const pitches = parts.filter((part) => !part.drums).flatMap((part) => part.notes.map((note) => note[2]));
  const drums = [...new Set(rows)].sort((a, b) => a - b);
  if (!pitches.length && drums.length) return { drums, low: 0, high: 0 };
  const low = Math.min(127, ...new Set(pitches)), high = Math.max(0, ...new Set(pitches));
  const margin = pitches.length ? Math.max(2, (18 - (high - low)) / 2) : 0;
  return pitches.length ? { drums, low: low - margin, high: high + margin } : { drums, low: 54, high: 72 };
}

// Places in a roll, in pixels from the top: pitches, then a row for each drum.
function rollLayout({ drums, low, high }) {
  const span = high - low, semitone = span ? Math.min(6, Math.max(2.5, 140 / span)) : 0;
  const pitched = span * semitone, gap = span && drums.length ? 6 : 0;
  const height = pitched + gap + DRUM_PIXELS * drums.length;
  return {
    height,
    note: Math.max(semitone, NOTE_PIXELS),
    ofPitch: (pitch) => (high - pitch) * semitone, // its middle
    ofDrum: (row) => height - DRUM_PIXELS * (drums.indexOf(row) + 0.5)
  };
}

function rollDrawing(piece, scale, thickness = 1) {
  const layout = rollLayout(scale), { height } = layout;
  const svg = drawn("svg", { viewBox: `0 0 ${piece.ms} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const bar of piece.bars.slice(1)) svg.append(drawn("line", { x1: bar, x2: bar, y1: 0, y2: height }));
  for (const pitch of octaves(scale)) {
    const y = layout.ofPitch(pitch);
    svg.append(drawn("line", { x1: 0, x2: piece.ms, y1: y, y2: y, class: "octave" }));
  }
  const classes = partClasses(piece.parts), hit = piece.ms / piece.bars.length / 24;
  piece.parts.forEach((part, k) => {
    const tall = part.drums ? 0.7 * DRUM_PIXELS : thickness * layout.note;
    for (const [start, length, pitch, velocity] of part.notes) {
      const y = (part.drums ? layout.ofDrum(drumRow(pitch)) : layout.ofPitch(pitch)) - tall / 2;
      const width = part.drums ? hit : Math.max(0.85 * length, length - piece.ms / 400);
      const opacity = (0.45 + (0.55 * velocity) / 127).toFixed(2);
      svg.append(drawn("rect", { x: start, y, width, height: tall, class: classes[k], opacity }));
    }
  });
  return svg;
}

const octaves = ({ low, high }) => [0, 12, 24, 36, 48, 60, 72, 84, 96, 108, 120].filter((c) => low < c && c < high);

// The names of the Cs and of the drums, left of a roll.
function rollNames(scale) {
  const layout = rollLayout(scale), wide = scale.drums.length ? "names wide" : "names";
  const name = (text, y) => element("span", { style: `top: ${(100 * y) / layout.height}%` }, text);
  return element("div", { class: wide, "aria-hidden": "true" },
    ...octaves(scale).map((pitch) => name(`C${pitch / 12 - 1}`, layout.ofPitch(pitch))),
    ...scale.drums.map((row) => name(DRUMS[row][0], layout.ofDrum(row))));
}

function describe(piece) {
  const notes = piece.parts.reduce((sum, part) => sum + part.notes.length, 0);
  return `Piano roll of ${piece.name}: ${piece.bars.length} bars, ${notes} notes`;
}

// A roll with a playhead. `seek` is called with the place, in milliseconds, that is pressed.
function pianoRoll(piece, scale, seek) {
  const time = element("div", { class: "time", click: (event) => {
    const box = time.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * piece.ms);
  } }, rollDrawing(piece, scale), element("div", { class: "head" }));
  const roll = element("div", { class: "roll", role: "img", "aria-label": describe(piece) }, rollNames(scale), time);
  roll.style.height = `${rollLayout(scale).height / 16}rem`;
  return roll;
}

let followed = null; // the roll whose playhead moves

function follow(roll) {
  const idle = !followed;
  if (followed) followed.classList.remove("playing");
  followed = roll;
  if (!roll) return;
  roll.classList.add("playing");
  if (idle) movePlayhead();
}

function movePlayhead() {
  if (!followed) return;
  followed.querySelector(".head").style.left = `${(100 * player.position) / player.piece.ms}%`;
  requestAnimationFrame(movePlayhead);
}

function legend(pieces) {
  const named = new Map();
  for (const piece of pieces) {
    const classes = partClasses(piece.parts);
    piece.parts.forEach((part, k) => { if (!named.has(classes[k])) named.set(classes[k], part.drums ? "drums" : part.name || roleOf(part)); });
  }
  if (named.size < 2) return null;
  const square = (name) => drawn("svg", { viewBox: "0 0 1 1" }, drawn("rect", { width: 1, height: 1, class: name }));
  const entries = [...named].map(([name, text]) => element("span", {}, square(name), text));
  return element("p", { class: "legend" }, ...entries);
}

// ---- A card: one piece with a button, a roll and a line below ----

let current = null; // the card that plays

function card(piece, { scale, repeats = () => true, aside = null, below = [] }) {
  const show = (on) => {
    current = on ? made : null;
    showPlaying(button, piece.name, on);
    follow(on ? roll : null);
  };
  const start = (from = 0) => {
    player.play(piece, { repeat: repeats(), from, whenEnded: () => show(false) });
    show(true);
  };
  const toggle = () => (current === made ? player.stop() : start());
  const button = playButton(piece.name, toggle), roll = pianoRoll(piece, scale, start);
  const header = element("header", {}, button, element("h2", {}, piece.name), aside);
  const made = element("article", { class: "card" }, header, roll, element("footer", {}, ...below));
  return Object.assign(made, { toggle, roll });
}

// Number keys play and stop the cards, Escape stops.
function listenToKeys(cards) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text]")) return;
    if (event.key === "Escape") player.stop();
    else if (cards()[event.key - 1]) cards()[event.key - 1].toggle();
  });
}
