// The table: which rows are shown, in which order, a page of them at a time.

const PAGE = 20;
const MOST_OFFERED = 500;
const RESULTS = { first: "1–0", second: "0–1", draw: "½–½", none: "void" };

const shown = (word) => word.replaceAll("_", " ");

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function isolated(text) {
  return element("bdi", "", text);
}

// What agents are called and how games ended, row by row.
class Games {
  constructor(table) {
    this.table = table;
    this.rows = table.rows;
    this.agents = [...new Set([...table.texts.first_agent, ...table.texts.second_agent])].sort(compare);
    this.sides = { first: this.numbered("first_agent"), second: this.numbered("second_agent") };
    this.results = Uint8Array.from(table.status, (_, row) => ["first", "second", "draw", "none"].indexOf(this.result(row)));
    this.rowOf = new Map();
    for (let row = 0; row < this.rows; row += 1) {
      const number = this.table.game_no[row];
      this.rowOf.set(`${number}-${table.attempt[row]}`, row);
      // The result, or the latest attempt where there is none.
      const before = this.rowOf.get(String(number));
      if (before === undefined || this.isVoid(before)) this.rowOf.set(String(number), row);
    }
  }

  numbered(name) {
    const places = this.table.texts[name].map((text) => this.agents.indexOf(text));
    return Int32Array.from(this.table[name], (index) => places[index]);
  }

  text(name, row) {
    return this.table.texts[name][this.table[name][row]] ?? "";
  }

  isVoid(row) {
    return this.text("status", row) === "void";
  }

  result(row) {
    return this.isVoid(row) ? "none" : this.text("winner", row) || "draw";
  }

  name(side, row) {
    return this.text(`${side}_agent`, row);
  }

  culprit(row) {
    const fault = this.text("fault", row);
    return fault ? this.name(fault, row) : "";
  }

  link(row) {
    const number = String(this.table.game_no[row]);
    return this.rowOf.get(number) === row ? `#game-${number}` : `#game-${number}-${this.table.attempt[row]}`;
  }

  started(row) {
    return new Date(1000 * this.table.started_at[row]).toISOString().slice(0, 16).replace("T", " ");
  }
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

// For each row a number by which it is ordered: texts by their alphabet.
function ranks(table, name) {
  const sorted = [...table.texts[name]].sort(compare);
  const place = new Map(sorted.map((text, rank) => [text, rank]));
  const rankOf = table.texts[name].map((text) => place.get(text));
  return (row) => rankOf[table[name][row]] ?? -1;
}

function columnsOf(games) {
  const { table } = games;
  const number = (name) => (row) => table[name][row];
  const time = (row) => table.first_time_ms[row] + table.second_time_ms[row];
  return [
    { name: "game", title: "Game", key: number("game_no"), cell: (row) => gameLink(games, row) },
    { name: "first", title: "First", key: ranks(table, "first_agent"), cell: (row) => agentCell(games, row, "first") },
    { name: "second", title: "Second", key: ranks(table, "second_agent"), cell: (row) => agentCell(games, row, "second") },
    { name: "result", title: "Result", key: (row) => games.results[row], cell: (row) => element("span", "", RESULTS[games.result(row)]) },
    { name: "ending", title: "Ending", key: ranks(table, "termination"), cell: (row) => endingCell(games, row) },
    { name: "plies", title: "Plies", key: number("plies"), cell: (row) => element("span", "", table.plies[row].toLocaleString("en")) },
    { name: "time", title: "Thought", key: time, cell: (row) => timeCell(games, row) },
    { name: "opening", title: "Opening", key: ranks(table, "opening_id"), cell: (row) => isolated(games.text("opening_id", row)) },
    { name: "when", title: "Begun (UTC)", key: number("started_at"), cell: (row) => element("time", "", games.started(row)) },
  ];
}

function gameLink(games, row) {
  const link = element("a", "", games.table.game_no[row].toLocaleString("en"));
  link.href = games.link(row);
  if (games.table.attempt[row] > 1) link.append(element("small", "", ` attempt ${games.table.attempt[row]}`));
  return link;
}

function agentCell(games, row, side) {
  const name = isolated(games.name(side, row));
  if (games.result(row) !== side) return name;
  const strong = element("strong");
  strong.append(name);
  return strong;
}

function endingCell(games, row) {
  const cell = element("span", "", shown(games.text("termination", row)));
  const culprit = games.culprit(row);
  if (culprit) cell.append(" by ", isolated(culprit));
  return cell;
}

function timeCell(games, row) {
  const { first_time_ms: first, second_time_ms: second } = games.table;
  return element("span", "", `${duration(first[row])} / ${duration(second[row])}`);
}

function duration(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (parts[0] >= 100) return `${Math.round(seconds / 86_400).toLocaleString("en")} d`;
  const [hours, ...rest] = parts.map((part, place) => (place ? String(part).padStart(2, "0") : String(part)));
  return hours === "0" ? `${Number(rest[0])}:${rest[1]}` : [hours, ...rest].join(":");
}

// Which rows fit what the form says, ascending.
function fitting(games, wanted) {
  const agent = wanted.agent === "" ? -1 : Number(wanted.agent);
  const opponent = wanted.opponent === "" ? -1 : Number(wanted.opponent);
  const tests = [];
  if (agent >= 0 || opponent >= 0) tests.push((row) => seatOf(games, row, agent, opponent, wanted.seat) !== null);
  if (wanted.result) tests.push((row) => hasResult(games, row, wanted, agent, opponent));
  if (wanted.termination) tests.push((row) => games.text("termination", row) === wanted.termination);
  if (wanted.status) tests.push((row) => hasStatus(games.text("status", row), wanted.status));
  if (wanted.opening.trim()) tests.push(textsWith(games, ["opening_id"], wanted.opening.trim()));
  for (const word of wanted.text.split(/\s+/).filter(Boolean)) tests.push(anyText(games, word));
  const found = [];
  for (let row = 0; row < games.rows; row += 1) if (tests.every((fits) => fits(row))) found.push(row);
  return Int32Array.from(found);
}

// Where the agent sits against the opponent; null where they do not meet so.
function seatOf(games, row, agent, opponent, seat) {
  const { first, second } = games.sides;
  const meets = (here, there) => (agent < 0 || here === agent) && (opponent < 0 || there === opponent);
  if (seat !== "second" && meets(first[row], second[row])) return "first";
  return seat !== "first" && meets(second[row], first[row]) ? "second" : null;
}

function hasResult(games, row, wanted, agent, opponent) {
  const result = games.result(row);
  if (wanted.result !== "won" && wanted.result !== "lost") return result === wanted.result;
  if (agent < 0 || (result !== "first" && result !== "second")) return false;
  const seat = seatOf(games, row, agent, opponent, wanted.seat);
  return (result === seat) === (wanted.result === "won");
}

function hasStatus(status, wanted) {
  return wanted === "counts" ? status !== "void" : status === wanted;
}

function textsWith(games, names, word) {
  const needle = word.toLowerCase();
  const hits = names.map((name) => games.table.texts[name].map((text) => shown(text).toLowerCase().includes(shown(needle))));
  return (row) => names.some((name, place) => hits[place][games.table[name][row]]);
}

function anyText(games, word) {
  const inTexts = textsWith(games, ["first_agent", "second_agent", "termination", "status", "opening_id", "detail"], word);
  // Also as the page writes it: 1,439.
  const number = /^#?\d[\d,]*$/.test(word) ? Number(word.replace(/[#,]/g, "")) : NaN;
  return (row) => games.table.game_no[row] === number || inTexts(row);
}

class Table {
  constructor(root, games) {
    this.root = root;
    this.games = games;
    this.columns = columnsOf(games);
    this.form = root.querySelector(".games-filters");
    this.order = { name: "game", descends: false };
    this.page = 0;
    this.found = new Int32Array(0);
    this.offer();
    this.head();
    this.listen();
    this.filter();
  }

  offer() {
    const { games, form } = this;
    const { texts } = games.table;
    for (const name of ["agent", "opponent"]) games.agents.forEach((agent, place) => addOption(form.elements[name], place, agent));
    for (const word of [...texts.termination].sort(compare)) addOption(form.elements.termination, word, shown(word));
    const openings = [...texts.opening_id].sort(compare).slice(0, MOST_OFFERED);
    for (const opening of openings) addOption(this.root.querySelector("datalist"), opening, opening);
    for (const { name, title } of this.columns) {
      addOption(form.elements.order, `${name} up`, `${title} ↑`);
      addOption(form.elements.order, `${name} down`, `${title} ↓`);
    }
  }

  head() {
    const row = this.root.querySelector(".games-table thead tr");
    for (const { name, title } of this.columns) {
      const heading = element("th", `games-${name}`);
      heading.scope = "col";
      const button = element("button", "", title);
      button.type = "button";
      button.addEventListener("click", () => this.sortBy(name, this.order.name === name && !this.order.descends));
      heading.append(button);
      row.append(heading);
    }
  }

  listen() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => this.chosen(event.target));
    this.root.querySelector(".games-reset").addEventListener("click", () => this.reset());
    this.root.querySelector(".games-pager").addEventListener("click", (event) => this.turn(event.target.dataset.page));
    this.root.querySelector(".games-table tbody").addEventListener("keydown", (event) => this.key(event));
    this.root.querySelector(".games-table tbody").addEventListener("click", (event) => this.click(event));
  }

  chosen(field) {
    if (field.name !== "order") return this.filter();
    const [name, way] = field.value.split(" ");
    return this.sortBy(name, way === "down");
  }

  reset() {
    this.form.reset();
    this.filter();
  }

  filter() {
    const wanted = Object.fromEntries(new FormData(this.form));
    this.found = fitting(this.games, wanted);
    this.root.querySelector(".games-reset").hidden = this.found.length === this.games.rows;
    this.sort();
  }

  sortBy(name, descends) {
    this.order = { name, descends };
    this.sort();
  }

  sort() {
    const { name, descends } = this.order;
    const { key } = this.columns.find((column) => column.name === name);
    const keys = new Float64Array(this.games.rows);
    for (const row of this.found) keys[row] = descends ? -key(row) : key(row);
    this.found.sort((one, other) => keys[one] - keys[other] || one - other);
    this.form.elements.order.value = `${name} ${descends ? "down" : "up"}`;
    this.page = 0;
    this.draw();
  }

  get pages() {
    return Math.max(1, Math.ceil(this.found.length / PAGE));
  }

  turn(where) {
    const to = { first: 0, back: this.page - 1, on: this.page + 1, last: this.pages - 1 }[where];
    if (to === undefined) return;
    this.page = Math.min(Math.max(0, to), this.pages - 1);
    this.draw();
  }

  draw() {
    const begin = this.page * PAGE;
    const rows = this.found.subarray(begin, begin + PAGE);
    this.root.querySelector(".games-table tbody").replaceChildren(...[...rows].map((row) => this.line(row)));
    this.root.querySelector(".games-table").hidden = rows.length === 0;
    this.say(begin, rows.length);
    for (const heading of this.root.querySelectorAll(".games-table th")) {
      const isIt = heading.classList.contains(`games-${this.order.name}`);
      heading.setAttribute("aria-sort", isIt ? (this.order.descends ? "descending" : "ascending") : "none");
    }
  }

  say(begin, many) {
    const all = this.games.rows.toLocaleString("en");
    const found = this.found.length.toLocaleString("en");
    const isAll = this.found.length === this.games.rows;
    this.root.querySelector(".games-count").textContent = isAll ? `All ${all} listed` : `${found} of ${all} listed match`;
    const [from, to] = [begin + 1, begin + many].map((number) => number.toLocaleString("en"));
    this.root.querySelector(".games-place").textContent = many ? `${from}–${to} of ${found}` : "";
    this.root.querySelector(".games-pager").hidden = this.pages === 1;
    for (const button of this.root.querySelectorAll(".games-pager button")) {
      const isBack = button.dataset.page === "first" || button.dataset.page === "back";
      button.disabled = isBack ? this.page === 0 : this.page === this.pages - 1;
    }
  }

  line(row) {
    const line = element("tr", this.games.isVoid(row) ? "games-void" : "");
    line.dataset.row = row;
    for (const { name, cell } of this.columns) {
      const data = element("td", `games-${name}`);
      data.append(cell(row));
      line.append(data);
    }
    return line;
  }

  click(event) {
    const line = event.target.closest("tr");
    if (event.target.closest("a") || !line || !getSelection().isCollapsed) return;
    line.querySelector("a").click();
  }

  key(event) {
    const links = [...this.root.querySelectorAll(".games-table tbody a")];
    const place = links.indexOf(document.activeElement);
    const to = { ArrowUp: place - 1, ArrowDown: place + 1 }[event.key];
    if (to !== undefined && links[to]) links[to].focus();
    else if (event.key === "PageUp" || event.key === "PageDown") this.turnByKey(event.key === "PageDown" ? "on" : "back");
    else return;
    event.preventDefault();
  }

  turnByKey(where) {
    this.turn(where);
    this.root.querySelector(".games-table tbody a")?.focus();
  }

  // The row that comes so many after this one in the table as it is filtered and sorted now.
  neighbour(row, distance) {
    return this.found[this.found.indexOf(row) + distance];
  }

  showPageOf(row) {
    const place = this.found.indexOf(row);
    if (place < 0 || Math.floor(place / PAGE) === this.page) return;
    this.page = Math.floor(place / PAGE);
    this.draw();
  }
}

function addOption(list, value, text) {
  const option = element("option", "", text);
  option.value = value;
  list.append(option);
}
