"use strict";
// The data is {pieces}: pieces with `real`, true for music and false for a sample, and `source`, the name of the song.

const { pieces } = pageData();
const scale = rollScale(pieces), page = document.getElementById("page");
let cards = [], round = 0;

function shuffled(items) {
  const order = [...items];
  for (let k = order.length - 1; k > 0; --k) {
    const other = Math.floor(Math.random() * (k + 1));
    [order[k], order[other]] = [order[other], order[k]];
  }
  return order;
}

function question(piece, k) {
  const choice = (text, real) => element("label", {},
    element("input", { type: "radio", name: `guess-${round}-${k}`, value: String(real), change: () => guess(made, real) }), text);
  const answer = element("fieldset", {}, element("legend", { class: "only-read" }, `Piece ${k + 1} is`),
    choice("real", true), choice("sampled", false));
  const made = card({ ...piece, name: `Piece ${k + 1}` }, { scale, below: [answer] });
  made.roll.classList.add("hidden-notes");
  return Object.assign(made, { real: piece.real, source: piece.source, answer, guess: null });
}

function guess(made, real) {
  made.guess = real;
  const open = cards.filter((one) => one.guess === null).length;
  done.disabled = open > 0;
  left.textContent = open ? `${open} of ${cards.length} still to guess` : "All guessed.";
}

// Shows the notes, the answers and the score.
function reveal() {
  for (const made of cards) {
    const right = made.guess === made.real, what = made.real ? "real" : "sampled";
    made.roll.classList.remove("hidden-notes");
    made.classList.add(right ? "right" : "wrong");
    made.answer.disabled = true;
    made.querySelector("footer").append(element("span", {},
      element("span", { class: "verdict" }, right ? "Right: " : "Wrong: "), made.source ? `${what}, ${made.source}` : what));
  }
  const score = cards.filter((made) => made.guess === made.real).length;
  result.textContent = `You recognised ${score} of ${cards.length}. By chance one recognises ${cards.length / 2}.`;
  done.hidden = left.hidden = true;
  again.hidden = false;
  again.focus();
}

const list = element("div", { class: "cards" }), left = element("span", { class: "note", role: "status" });
const result = element("p", { class: "score", role: "status" });
const done = element("button", { class: "main", type: "button", click: reveal }, "Show the score");
const again = element("button", { class: "main", type: "button", click: begin }, "Play again");

function begin() {
  player.stop();
  round += 1;
  cards = shuffled(pieces).map(question);
  list.replaceChildren(...cards);
  list.classList.toggle("wide", pieces.some((piece) => piece.bars.length > 4));
  result.textContent = "";
  left.textContent = `${cards.length} of ${cards.length} still to guess`;
  done.disabled = true;
  done.hidden = left.hidden = false;
  again.hidden = true;
}

begin();
page.append(list, result, element("div", { class: "bar end" }, done, again, left));
listenToKeys(() => cards);
