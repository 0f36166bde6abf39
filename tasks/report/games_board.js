// The board: one game, stepped through.

const SVG = "http://www.w3.org/2000/svg";
const CELL = 100;
const LEFT = 50;
const TOP = 155;
const BEAT_MS = 700;
const REST_MS = 200;
const MARK_OF_SIDE = { [BLACK]: "▲", [WHITE]: "△" };

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Whether this machine has letters for the pieces: missing ones are all drawn alike, or as boxes with numbers.
function hasKanji() {
  const drawn = ["歩", "香", "飛"].map(inkOf);
  return new Set(drawn.map((ink) => ink.pixels)).size === drawn.length && !drawn.some((ink) => ink.isBoxed);
}

function inkOf(letter) {
  const size = 40;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const paper = canvas.getContext("2d", { willReadFrequently: true });
  paper.font = `${size - 10}px serif`;
  paper.fillText(letter, 3, size - 9);
  const { data } = paper.getImageData(0, 0, size, size);
  const columns = Array.from({ length: size }, () => 0);
  let pixels = "";
  for (let place = 0; place < size * size; place += 1) {
    const isInk = data[4 * place + 3] > 100;
    pixels += isInk ? "1" : "0";
    if (isInk) columns[place % size] += 1;
  }
  const inked = columns.filter((count) => count > 0);
  const isTall = (count) => count > 0.6 * size;
  return { pixels, isBoxed: inked.length < 3 || (inked.slice(0, 3).some(isTall) && inked.slice(-3).some(isTall)) };
}

// A game as it is stepped through: every position from the start on.
class Course {
  constructor(sfen, moves) {
    this.moves = moves;
    const start = Position.ofSfen(sfen);
    this.positions = start ? [start] : [];
    for (const move of moves) {
      const position = this.positions[this.positions.length - 1].copy();
      position.play(move);
      this.positions.push(position);
    }
  }
}

class Board {
  constructor(root, games, packed) {
    this.dialog = root.querySelector(".games-dialog");
    this.games = games;
    this.packed = packed;
    this.table = null;
    this.row = null;
    this.course = new Course("", []);
    this.clock = null;
    this.ply = 0;
    this.isFlipped = false;
    this.timer = null;
    this.resting = null;
    this.address = "";
    this.isOpening = false;
    this.waiting = [];
    this.choose();
    this.listen();
  }

  find(selector) {
    return this.dialog.querySelector(selector);
  }

  choose() {
    const kanji = hasKanji();
    this.find("[name=pieces]").value = kanji ? "kanji" : "letters";
    if (kanji) return;
    // A reader without the letters can still ask for them.
    this.find("[name=notation] [value=kif]").textContent = "KIF (no font here)";
    this.find("[name=pieces] [value=kanji]").textContent = "kanji (no font here)";
  }

  listen() {
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    this.dialog.addEventListener("click", (event) => this.click(event));
    this.find("[name=notation]").addEventListener("change", () => this.list());
    this.find("[name=pieces]").addEventListener("change", () => this.draw());
    this.find(".games-strip svg").addEventListener("click", (event) => this.pointAt(event));
  }

  click(event) {
    if (event.target === this.dialog) return this.close();
    const button = event.target.closest("button");
    if (!button) return undefined;
    if (button.dataset.ply) this.inTurn(() => this.show(Number(button.dataset.ply)));
    else this.inTurn(() => this[button.dataset.do]());
    // So that the next key is the board's, not the button's; what is to be copied by hand stays selected.
    if (button.closest(".games-copies")) return undefined;
    if (event.detail > 0 && this.dialog.open) this.find(".games-board").focus({ preventScroll: true });
    return undefined;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input")) return;
    if (event.key === " " && event.target.closest("button")) return;
    const act = {
      ArrowLeft: "back", ArrowRight: "on", Home: "toStart", End: "toEnd", " ": "run",
      f: "flip", n: "gameAfter", p: "gameBefore",
    }[event.key];
    if (!act) return;
    event.preventDefault();
    this.inTurn(() => this[act]());
  }

  // While a game is unpacked, what is asked for waits: it is meant for that game.
  inTurn(act) {
    if (this.isOpening) this.waiting.push(act);
    else act();
  }

  opened(row) {
    if (this.row !== row) return;
    this.isOpening = false;
    while (this.waiting.length && !this.isOpening) this.waiting.shift()();
  }

  back() {
    this.show(this.ply - 1);
  }

  on() {
    this.show(this.ply + 1);
  }

  toStart() {
    this.show(0);
  }

  toEnd() {
    this.show(this.course.moves.length);
  }

  flip() {
    this.isFlipped = !this.isFlipped;
    this.players();
    this.draw();
  }

  run() {
    if (this.timer) return this.halt();
    if (this.ply >= this.course.moves.length) this.show(0);
    this.timer = setInterval(() => this.beat(), BEAT_MS);
    return this.find("[data-do=run]").setAttribute("aria-pressed", "true");
  }

  beat() {
    this.ply += 1;
    if (this.ply >= this.course.moves.length) this.halt();
    this.draw();
  }

  halt() {
    clearInterval(this.timer);
    this.timer = null;
    this.find("[data-do=run]").setAttribute("aria-pressed", "false");
  }

  gameBefore() {
    return this.neighbour(-1);
  }

  gameAfter() {
    return this.neighbour(1);
  }

  neighbour(step) {
    const row = this.table.neighbour(this.row, step);
    return row === undefined ? undefined : this.goTo(row, 0);
  }

  goTo(row, ply) {
    this.table.showPageOf(row);
    return this.open(row, ply)
      .catch((error) => trouble(`This game cannot be unpacked: ${error.message}.`))
      .finally(() => this.opened(row));
  }

  // The address of this ply, once it is looked at: browsers allow few changes in a short time.
  rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      // Whoever has gone elsewhere in the meantime is not called back.
      if (location.hash !== this.address || this.row === null) return;
      history.replaceState(null, "", this.link);
      this.address = location.hash;
    }, REST_MS);
  }

  get link() {
    return `${this.games.link(this.row)}${this.ply ? `@${this.ply}` : ""}`;
  }

  copyLink() {
    return this.copy("The link", new URL(this.link, location.href).href);
  }

  copyPosition() {
    return this.copy("The position", this.dialog.dataset.sfen);
  }

  copyMoves() {
    const position = `position sfen ${this.course.positions[0]?.sfen ?? ""}`;
    const moves = Array.from(this.course.moves, (move, place) => NOTATIONS.usi(this.course.positions[place], move));
    return this.copy("The game", moves.length ? `${position} moves ${moves.join(" ")}` : position);
  }

  // Pages that are files have no clipboard in some browsers.
  async copy(what, text) {
    const field = this.find(".games-copy-field");
    this.uncopied();
    try {
      await navigator.clipboard.writeText(text);
      this.find(".games-copied").textContent = `${what} is copied.`;
    } catch {
      this.find(".games-copied").textContent = `${what} is selected here, to be copied:`;
      field.value = text;
      field.hidden = false;
      field.focus();
      field.select();
    }
  }

  uncopied() {
    this.find(".games-copied").textContent = "";
    this.find(".games-copy-field").hidden = true;
  }

  close() {
    clearTimeout(this.resting);
    leaveGame();
  }

  hide() {
    this.halt();
    clearTimeout(this.resting);
    this.row = null;
    this.isOpening = false;
    this.waiting = [];
    if (this.dialog.open) this.dialog.close();
  }

  async open(row, ply) {
    this.halt();
    clearTimeout(this.resting);
    this.row = row;
    this.isOpening = true;
    this.address = location.hash;
    const isStill = () => this.row === row;
    const [moves, clock] = await Promise.all([this.packed.moves(row), this.packed.clock(row)]);
    if (!isStill()) return;
    this.course = new Course(this.games.text("start_position", row), moves);
    this.clock = clock;
    this.ply = Math.min(ply, moves.length);
    this.dialog.dataset.game = this.games.link(row).slice(1);
    this.players();
    this.about();
    this.list();
    this.strip();
    if (!this.dialog.open) this.dialog.showModal();
    this.draw();
    this.find(".games-board").focus({ preventScroll: true });
  }

  // Who has the move at the start is first, whatever its colour.
  get colourOfFirst() {
    return this.course.positions[0]?.turn ?? BLACK;
  }

  sideOf(colour) {
    return colour === this.colourOfFirst ? "first" : "second";
  }

  get bottom() {
    return this.isFlipped ? WHITE : BLACK;
  }

  players() {
    for (const [place, colour] of [["upper", WHITE - this.bottom], ["lower", this.bottom]]) {
      const line = this.find(`.games-${place}`);
      const side = this.sideOf(colour);
      line.querySelector(".games-mark").textContent = MARK_OF_SIDE[colour];
      line.querySelector("bdi").textContent = this.games.name(side, this.row);
      const thought = duration(this.games.table[`${side}_time_ms`][this.row]);
      line.querySelector(".games-clock").textContent = `${side}, thought ${thought}`;
      line.classList.toggle("games-winner", this.games.result(this.row) === side);
    }
  }

  about() {
    const { games, row } = this;
    const { table } = games;
    this.find(".games-title").textContent = `Game ${table.game_no[row].toLocaleString("en")}${table.attempt[row] > 1 ? `, attempt ${table.attempt[row]}` : ""}`;
    this.find(".games-verdict").replaceChildren(...this.verdict());
    const about = this.find(".games-about");
    const plies = table.plies[row];
    const book = table.opening_plies[row];
    about.replaceChildren(
      "Opening ", isolated(games.text("opening_id", row)),
      `${book ? `, ${book} plies of the book` : ""}. ${plies} plies. Begun ${games.started(row)} UTC.`,
    );
    for (const line of this.missing()) about.append(" ", element("strong", "", line));
  }

  // Who won and why, or why nobody did.
  verdict() {
    const { games, row } = this;
    const result = games.result(row);
    const ending = shown(games.text("termination", row));
    const culprit = games.culprit(row);
    const said = [];
    if (result === "none") said.push(`No result: ${ending}`, ...(culprit ? [" by ", isolated(culprit)] : []), ". It counts for nothing.");
    else if (result === "draw") said.push(`Drawn: ${ending}.`);
    else said.push(isolated(games.name(result, row)), ` (${result}) won: ${ending}`, ...(culprit ? [" by ", isolated(culprit)] : []), ".");
    const detail = games.text("detail", row);
    if (detail) said.push(" ", withClass("games-detail", isolated(detail)));
    return said;
  }

  missing() {
    const { table } = this.games;
    const { row } = this;
    const lines = [];
    const game = this.games.text("game", row);
    if (!this.course.positions.length) lines.push(`Its start position cannot be shown${game === "shogi" ? "" : `: this page knows shogi, not ${game}`}.`);
    else if (table.unreadable[row]) lines.push(`What was recorded cannot be played on a board after move ${table.readable[row]}.`);
    if (!table.packed[row] && table.readable[row]) lines.push("Its moves were left out to keep this file small.");
    return lines;
  }

  show(ply) {
    this.halt();
    this.ply = Math.min(Math.max(0, ply), this.course.moves.length);
    this.draw();
  }

  written(ply) {
    const { moves, positions } = this.course;
    const write = NOTATIONS[this.find("[name=notation]").value];
    return write(positions[ply - 1], moves[ply - 1], ply > 1 ? moves[ply - 2] : null);
  }

  list() {
    const lines = this.course.moves.length ? Array.from(this.course.moves, (_, place) => this.moveLine(place + 1)) : [];
    this.find(".games-moves").replaceChildren(...lines);
    this.now();
  }

  moveLine(ply) {
    const line = element("li");
    const button = element("button");
    button.type = "button";
    button.dataset.ply = ply;
    if (ply <= this.games.table.opening_plies[this.row]) button.classList.add("games-book");
    button.append(element("small", "", `${ply} `), this.written(ply), element("small", "", this.said(ply)));
    line.append(button);
    return line;
  }

  said(ply) {
    if (!this.clock || ply <= this.games.table.opening_plies[this.row]) return "";
    const score = this.clock.evals[ply - 1];
    return ` ${duration(this.clock.times[ply - 1])}${score === null ? "" : ` ${signed(score)}`}`;
  }

  draw() {
    const position = this.course.positions[this.ply];
    const board = this.find(".games-board");
    board.replaceChildren(...this.paper(), ...(position ? this.pieces(position) : []));
    this.dialog.dataset.sfen = position?.sfen ?? "";
    this.dialog.dataset.ply = this.ply;
    this.uncopied();
    this.rest();
    for (const name of ["back", "toStart"]) this.find(`[data-do=${name}]`).disabled = this.ply === 0;
    for (const name of ["on", "toEnd"]) this.find(`[data-do=${name}]`).disabled = this.ply >= this.course.moves.length;
    this.find("[data-do=gameBefore]").disabled = this.table.neighbour(this.row, -1) === undefined;
    this.find("[data-do=gameAfter]").disabled = this.table.neighbour(this.row, 1) === undefined;
    this.now();
  }

  now() {
    const position = this.course.positions[this.ply];
    const total = this.course.moves.length;
    const move = this.ply ? `Move ${this.ply} of ${total}: ${this.written(this.ply)}${this.said(this.ply)}` : `Start, ${total === 1 ? "1 move follows" : `${total} moves follow`}`;
    const check = position?.isCheck ? ", check" : "";
    this.find(".games-now").textContent = total || position ? `${move}${check}` : "";
    this.mark();
  }

  mark() {
    const list = this.find(".games-moves");
    list.querySelector("[aria-current]")?.removeAttribute("aria-current");
    const button = this.ply ? list.children[this.ply - 1]?.firstChild : null;
    button?.setAttribute("aria-current", "step");
    // scrollIntoView would move the page as well.
    list.scrollTop = button ? button.offsetTop - list.offsetTop - list.clientHeight / 2 : 0;
    const width = 600 / Math.max(1, this.course.moves.length);
    this.find(".games-strip-now")?.setAttribute("x", (this.ply - 1) * width);
  }

  // Column and row on the screen.
  seen(square) {
    const turned = this.bottom === BLACK ? square : 80 - square;
    return [LEFT + CELL * (turned % 9), TOP + CELL * Math.floor(turned / 9)];
  }

  paper() {
    const parts = [svg("rect", { x: LEFT, y: TOP, width: 9 * CELL, height: 9 * CELL, class: "games-wood" })];
    const move = this.ply ? this.course.moves[this.ply - 1] : null;
    for (const square of move === null ? [] : [fromOf(move), toOf(move)].filter((place) => place < 81)) {
      const [x, y] = this.seen(square);
      parts.push(svg("rect", { x, y, width: CELL, height: CELL, class: "games-last" }));
    }
    for (let line = 0; line <= 9; line += 1) {
      const [across, down] = [LEFT + CELL * line, TOP + CELL * line];
      parts.push(svg("line", { x1: across, x2: across, y1: TOP, y2: TOP + 9 * CELL, class: "games-line" }));
      parts.push(svg("line", { x1: LEFT, x2: LEFT + 9 * CELL, y1: down, y2: down, class: "games-line" }));
    }
    for (const [across, down] of [[3, 3], [6, 3], [3, 6], [6, 6]]) {
      parts.push(svg("circle", { cx: LEFT + CELL * across, cy: TOP + CELL * down, r: 7, class: "games-star" }));
    }
    return [...parts, ...this.coordinates()];
  }

  coordinates() {
    const isKanji = this.find("[name=pieces]").value === "kanji";
    return Array.from({ length: 9 }, (_, place) => {
      const square = this.bottom === BLACK ? place : 8 - place;
      const file = svg("text", { x: LEFT + CELL * place + 50, y: TOP - 12, class: "games-coordinate" }, 9 - square);
      const rank = (isKanji ? RANKS : "abcdefghi")[square];
      return [file, svg("text", { x: LEFT + 9 * CELL + 22, y: TOP + CELL * place + 60, class: "games-coordinate" }, rank)];
    }).flat();
  }

  pieces(position) {
    const parts = [];
    position.squares.forEach((piece, square) => {
      if (piece) parts.push(this.piece(piece, ...this.seen(square), position.isCheck && piece === (8 | position.turn)));
    });
    return [...parts, ...this.hand(position, WHITE - this.bottom, 15), ...this.hand(position, this.bottom, TOP + 9 * CELL + 20)];
  }

  hand(position, side, y) {
    const parts = [svg("text", { x: LEFT, y: y + 62, class: "games-coordinate games-hand" }, MARK_OF_SIDE[side])];
    const held = HAND_ORDER.filter((kind) => position.hands[side][kind]);
    held.forEach((kind, place) => {
      const x = LEFT + 55 + 118 * place;
      parts.push(this.piece(kind | side, x, y, false));
      const count = position.hands[side][kind];
      if (count > 1) parts.push(svg("text", { x: x + 93, y: y + 85, class: "games-count-held" }, count));
    });
    if (!held.length) parts.push(svg("text", { x: LEFT + 55, y: y + 62, class: "games-coordinate games-hand" }, "nothing in hand"));
    return parts;
  }

  piece(piece, x, y, isInCheck) {
    const isTurned = (piece & WHITE) !== this.bottom;
    const kind = piece & 15;
    const isKanji = this.find("[name=pieces]").value === "kanji";
    const classes = ["games-piece", kind > PROMOTED ? "games-promoted" : "", isInCheck ? "games-in-check" : ""];
    const group = svg("g", { transform: `translate(${x + 50} ${y + 50})`, class: classes.join(" ").trim() });
    const turn = isTurned ? "rotate(180)" : "";
    group.append(svg("path", { d: "M0 -43 L27 -32 L37 42 L-37 42 L-27 -32 Z", transform: turn }));
    // Kanji lie as the piece does; letters stay upright, the shape says whose they are.
    const label = isKanji ? KANJI[kind] : letterOf(kind);
    const style = isKanji ? { transform: turn, y: 22, class: "games-kanji" } : { y: isTurned ? 14 : 24, class: "games-letter" };
    group.append(svg("text", style, label));
    return group;
  }

  strip() {
    const figure = this.find(".games-strip");
    figure.hidden = !this.clock || !this.course.moves.length;
    if (figure.hidden) return;
    const { times, evals } = this.clock;
    const many = this.course.moves.length;
    const width = 600 / many;
    const longest = Math.max(1, ...times);
    const parts = [svg("rect", { width: Math.max(width, 2), height: 150, y: 0, x: -600, class: "games-strip-now" })];
    parts.push(svg("line", { x1: 0, x2: 600, y1: 50, y2: 50, class: "games-zero" }));
    for (let place = 0; place < many; place += 1) {
      const side = place % 2 ? "second" : "first";
      const height = (45 * times[place]) / longest;
      parts.push(svg("rect", { x: place * width, width: 0.8 * width, y: 150 - height, height, class: `games-of-${side}` }));
    }
    for (const [offset, side] of [[0, "first"], [1, "second"]]) {
      const points = [];
      for (let place = offset; place < many; place += 2) {
        if (evals[place] === null) continue;
        // From the first one's point of view; beyond some pieces all is lost alike.
        const score = Math.tanh(evals[place] / 1000) * (offset ? -1 : 1);
        points.push(`${((place + 0.5) * width).toFixed(1)},${(50 - 48 * score).toFixed(1)}`);
      }
      parts.push(svg("polyline", { points: points.join(" "), class: `games-by-${side}` }));
    }
    figure.querySelector("svg").replaceChildren(...parts);
    figure.querySelector("figcaption").replaceChildren(...this.legend(evals, longest));
  }

  legend(evals, longest) {
    const said = evals.some((score) => score !== null) ? "Lines: how each side said it stood, up is good for the first. " : "Neither side said how it stood. ";
    return [
      said, `Bars: time of each move, the longest ${duration(longest)}. Beside the moves: both, in pawns. `,
      element("span", "games-is-first", "■ "), isolated(this.games.name("first", this.row)),
      element("span", "games-is-second", " ■ "), isolated(this.games.name("second", this.row)),
    ];
  }

  pointAt(event) {
    const box = event.currentTarget.getBoundingClientRect();
    this.show(Math.ceil(((event.clientX - box.left) / box.width) * this.course.moves.length));
  }
}

function withClass(name, made) {
  made.className = name;
  return made;
}

function signed(centipawns) {
  const pawns = (Math.abs(centipawns) / 100).toFixed(Math.abs(centipawns) < 10_000 ? 2 : 0);
  return `${centipawns < 0 ? "−" : "+"}${pawns}`;
}
