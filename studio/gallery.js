"use strict";
// The data is {pieces, compared}: pieces with `nearest`, {name, bar, distance} or null, and what they were compared with.

const { pieces, compared } = pageData();
const repeat = element("input", { type: "checkbox", checked: true, change: () => player.repeat(repeat.checked) });
const scale = rollScale(pieces);

function nearestText({ name, bar, distance }) {
  const differs = distance ? `${Math.round(100 * distance)} % of the notes differ` : "the same notes";
  return `Nearest song: ${name}, bar ${bar} (${differs})`;
}

const cards = pieces.map((piece) => {
  const nearest = piece.nearest ? element("span", {}, nearestText(piece.nearest)) : element("span");
  const wide = piece.bars.length > 4;
  return { wide, made: card(piece, { scale, repeats: () => repeat.checked, aside: download(piece), below: [nearest] }) };
});

document.getElementById("page").append(
  element("div", { class: "bar" }, element("label", {}, repeat, "Repeat"), legend(pieces),
    element("span", { class: "note" }, "Keys: 1 to 9 play and stop a piece, Esc stops. Click a roll to play from there.")),
  element("div", { class: cards.some(({ wide }) => wide) ? "cards wide" : "cards" }, ...cards.map(({ made }) => made))
);
if (compared) {
  document.getElementById("page").append(element("p", { class: "note compared" },
    `The nearest piece is found among ${compared}. Of all notes of both, those differ that do not start with the same ` +
    "pitch on the same step, in the key that fits best."));
}
listenToKeys(() => cards.map(({ made }) => made));
