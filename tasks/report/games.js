// Puts the parts together: unpacks the table at once and moves when a game is opened; a link names each game.

const ROOT = document.querySelector(".games");
let CAME_FROM_TABLE = false;

// The moves, times and evaluations of rows, unpacked block by block.
class Packed {
  constructor(root, table) {
    this.table = table;
    this.size = Number(root.dataset.block);
    const order = neighbours(table);
    this.blocks = {
      moves: this.blocksOf(root, "moves", order.filter((row) => table.packed[row] >= 1)),
      clocks: this.blocksOf(root, "clocks", order.filter((row) => table.packed[row] === 2)),
    };
  }

  blocksOf(root, name, order) {
    const elements = [...root.querySelectorAll(`.games-packed-${name}`)];
    const place = new Map();
    order.forEach((row, number) => place.set(row, number));
    return { elements, order, place, unpacked: new Map() };
  }

  async moves(row) {
    return (await this.of("moves", movesOf, row)) ?? new Uint16Array(0);
  }

  async clock(row) {
    return (await this.of("clocks", clocksOf, row)) ?? null;
  }

  async of(name, read, row) {
    const { elements, order, place, unpacked: known } = this.blocks[name];
    const number = place.get(row);
    if (number === undefined) return undefined;
    const block = Math.floor(number / this.size);
    if (!known.has(block)) {
      const rows = order.slice(block * this.size, (block + 1) * this.size);
      known.set(block, unpacked(elements[block]).then((bytes) => read(bytes, rows.map((each) => this.game(each)))));
    }
    return (await known.get(block))[number % this.size];
  }

  game(row) {
    return { start: this.table.texts.start_position[this.table.start_position[row]], plies: this.table.readable[row] };
  }
}

// The rows in the order in which they are packed.
function neighbours(table) {
  const keys = ["start_position", "opening_id", "first_agent", "second_agent"].map((name) => table[name]);
  return Array.from(table.game_no, (_, row) => row).sort((one, other) => {
    for (const key of keys) if (key[one] !== key[other]) return key[one] - key[other];
    return one - other;
  });
}

async function begin() {
  const bytes = await unpacked(ROOT.querySelector(".games-packed-table"));
  const table = tableOf(bytes);
  const games = new Games(table);
  const board = new Board(ROOT, games, new Packed(ROOT, table));
  board.table = new Table(ROOT, games);
  addEventListener("hashchange", (event) => {
    if (!isGame(new URL(event.oldURL).hash)) CAME_FROM_TABLE = true;
    follow(games, board);
  });
  follow(games, board);
  ROOT.dataset.ready = "yes";
}

// "#game-12", "#game-12-2" for its second attempt, each with "@40" for what it was after 40 plies.
const LINK = /^#game-(\d+)(?:-(\d+))?(?:@(\d+))?$/;
const isGame = (hash) => LINK.test(hash);

function linked(games) {
  const [, number, attempt, ply] = location.hash.match(LINK) ?? [];
  if (number === undefined) return null;
  const row = games.rowOf.get(attempt === undefined ? number : `${number}-${attempt}`);
  const name = `game ${Number(number).toLocaleString("en")}${attempt === undefined ? "" : `, attempt ${attempt},`}`;
  return { row, ply: Number(ply ?? 0), name };
}

function follow(games, board) {
  const wanted = linked(games);
  if (!wanted) {
    trouble("");
    return board.hide();
  }
  const { row, ply, name } = wanted;
  trouble(row === undefined ? `There is no ${name} in this page.` : "");
  if (row === undefined) return board.hide();
  return board.goTo(row, ply);
}

// Back to where the game was chosen; whoever came by a link from elsewhere stays on the page.
function leaveGame() {
  if (CAME_FROM_TABLE) history.back();
  else location.replace("#games");
  CAME_FROM_TABLE = false;
}

function trouble(text) {
  const line = ROOT.querySelector(".games-trouble");
  line.textContent = text;
  line.hidden = !text;
  // A link leads to it, not to the top of the page.
  if (text) line.scrollIntoView({ block: "center" });
}

if (ROOT.querySelector(".games-packed-table")) {
  begin().catch((error) => {
    ROOT.querySelector(".games-count").textContent = "";
    trouble(`This browser cannot unpack the games (${error.message}); one of the last few years can.`);
  });
} else if (isGame(location.hash)) {
  ROOT.scrollIntoView({ block: "center" });
}
